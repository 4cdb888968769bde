//! `AWS::Glue::Job`.

berth_plugin::plugin!();
