//! `AWS::CodePipeline::ActionExecution`.
//!
//! Documents do not name the pipeline, as those of the integration Berth replaces do not; an action's
//! execution belongs to its pipeline's execution.

berth_plugin::plugin!();
