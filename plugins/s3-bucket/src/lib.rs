//! `AWS::S3::Bucket`.

berth_plugin::plugin!();
