//! `AWS::EC2::RouteTable`.

berth_plugin::plugin!();
