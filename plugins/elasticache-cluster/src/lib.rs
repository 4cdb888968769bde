//! `AWS::ElastiCache::Cluster`.

berth_plugin::plugin!();
