//! `AWS::SSM::ManagedInstance`.

berth_plugin::plugin!();
