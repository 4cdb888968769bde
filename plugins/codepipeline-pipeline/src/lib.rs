//! `AWS::CodePipeline::Pipeline`.
//!
//! A document has what `GetPipeline` tells of the pipeline, and over it what the list tells.

berth_plugin::plugin!();
