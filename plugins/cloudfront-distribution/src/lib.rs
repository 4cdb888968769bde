//! `AWS::CloudFront::Distribution`.

berth_plugin::plugin!();
