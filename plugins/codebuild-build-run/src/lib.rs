//! `AWS::CodeBuild::BuildRun`.
//!
//! The list knows ids only; all else comes from the `describe` step. A build that it answered nothing
//! for is past its retention and never gets here.

berth_plugin::plugin!();
