//! `AWS::CodeDeploy::Application`.
//!
//! AWS gives applications no ARN in its answers, so entities are identified by account, region and
//! name.

berth_plugin::plugin!();
