//! `AWS::EKS::Cluster`.
//!
//! The list knows names only; all else comes from the `describe` step. A cluster that is gone by
//! then never gets here.

berth_plugin::plugin!();
