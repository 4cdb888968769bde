//! `AWS::CodePipeline::PipelineExecution`.
//!
//! A document has what the list tells of an execution, and over it what `GetPipelineExecution` tells.

berth_plugin::plugin!();
