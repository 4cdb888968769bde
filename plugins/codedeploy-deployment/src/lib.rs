//! `AWS::CodeDeploy::Deployment`.
//!
//! The list knows ids only; all else comes from the `describe` step. Ids of deployments are not unique
//! over accounts and regions, so entities are identified by all three.

berth_plugin::plugin!();
