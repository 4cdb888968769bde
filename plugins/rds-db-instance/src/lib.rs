//! `AWS::RDS::DBInstance`.

berth_plugin::plugin!();
