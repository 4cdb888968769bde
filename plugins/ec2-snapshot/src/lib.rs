//! `AWS::EC2::Snapshot`.

berth_plugin::plugin!();
