//! `AWS::EC2::Subnet`.

berth_plugin::plugin!();
