//! `AWS::Backup::BackupVault`.

berth_plugin::plugin!();
