//! `AWS::MSK::Cluster`: provisioned clusters. Serverless ones are a kind of their own.

berth_plugin::plugin!();
