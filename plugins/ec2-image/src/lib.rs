//! `AWS::EC2::Image`.

berth_plugin::plugin!();
