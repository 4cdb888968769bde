//! `AWS::CodeDeploy::DeploymentGroup`.
//!
//! AWS gives deployment groups no ARN in its answers, so entities are identified by account, region,
//! application and name.

berth_plugin::plugin!();
