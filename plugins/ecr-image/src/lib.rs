//! `AWS::ECR::Image`.
//!
//! An image has no ARN of its own: its identifier is the repository's, and its digest.

berth_plugin::plugin!();
