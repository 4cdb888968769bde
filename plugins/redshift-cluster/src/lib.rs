//! `AWS::Redshift::Cluster`.

berth_plugin::plugin!();
