//! `AWS::Route53::HostedZone`.

berth_plugin::plugin!();
