//! `AWS::KMS::Key`.
//!
//! The list knows id and ARN only. All else may be denied by the policy of a single key, so identity
//! comes from the list and the rest from whichever steps there are.

berth_plugin::plugin!();
