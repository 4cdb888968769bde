//! `AWS::CloudWatch::Alarm`.

berth_plugin::plugin!();
