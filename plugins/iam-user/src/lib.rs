//! `AWS::IAM::User`.

berth_plugin::plugin!();
