//! `AWS::Lambda::Function`.

berth_plugin::plugin!();
