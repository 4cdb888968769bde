//! `AWS::EC2::VPC`.

berth_plugin::plugin!();
