//! `AWS::ECS::Service`.
//!
//! The lists know ARNs only; all else comes from the `describe` step. A service that it answered
//! nothing for is gone and never gets here.

berth_plugin::plugin!();
