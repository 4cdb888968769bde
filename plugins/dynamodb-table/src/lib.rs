//! `AWS::DynamoDB::Table`.
//!
//! The list knows names only; all else comes from the `describe` step. A table that is gone by
//! then never gets here.

berth_plugin::plugin!();
