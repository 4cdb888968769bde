//! `AWS::ElasticLoadBalancingV2::TargetGroup`.

berth_plugin::plugin!();
