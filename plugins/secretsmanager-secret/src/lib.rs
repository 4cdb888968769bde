//! `AWS::SecretsManager::Secret`.

berth_plugin::plugin!();
