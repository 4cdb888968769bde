//! `AWS::SES::ConfigurationSet`.
//!
//! The list knows names only; all else comes from the `describe` step. Names are not unique over
//! accounts and regions, so entities are identified by all three.

berth_plugin::plugin!();
