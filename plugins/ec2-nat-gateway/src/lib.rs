//! `AWS::EC2::NatGateway`.

berth_plugin::plugin!();
