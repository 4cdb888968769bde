//! `AWS::EC2::SecurityGroup`.

berth_plugin::plugin!();
