//! `AWS::CloudFormation::Stack`.

berth_plugin::plugin!();
