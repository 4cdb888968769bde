//! `AWS::EKS::Nodegroup`.
//!
//! The list knows names only; all else comes from the `describe` step. A node group that is gone by
//! then never gets here.

berth_plugin::plugin!();
