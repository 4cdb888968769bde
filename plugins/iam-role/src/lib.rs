//! `AWS::IAM::Role`.

berth_plugin::plugin!();
