//! `AWS::MSK::ServerlessCluster`.

berth_plugin::plugin!();
