//! `AWS::EC2::Volume`.

berth_plugin::plugin!();
