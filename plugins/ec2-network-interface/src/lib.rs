//! `AWS::EC2::NetworkInterface`.

berth_plugin::plugin!();
