//! `AWS::ElasticLoadBalancingV2::LoadBalancer`.

berth_plugin::plugin!();
