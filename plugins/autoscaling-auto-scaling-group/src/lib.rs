//! `AWS::AutoScaling::AutoScalingGroup`.

berth_plugin::plugin!();
