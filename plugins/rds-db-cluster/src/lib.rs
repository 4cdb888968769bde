//! `AWS::RDS::DBCluster`.

berth_plugin::plugin!();
