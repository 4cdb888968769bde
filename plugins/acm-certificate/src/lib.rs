//! `AWS::ACM::Certificate`.

berth_plugin::plugin!();
