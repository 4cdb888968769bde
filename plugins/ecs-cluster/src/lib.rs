//! `AWS::ECS::Cluster`.
//!
//! The list knows ARNs only; all else comes from the `describe` step. A cluster that it answered
//! nothing for is gone and never gets here.

berth_plugin::plugin!();
