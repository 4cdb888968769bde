//! `AWS::StepFunctions::StateMachine`.
//!
//! The list knows names and ARNs only; all else comes from the `describe` step. A state machine that is
//! gone by then never gets here.

berth_plugin::plugin!();
