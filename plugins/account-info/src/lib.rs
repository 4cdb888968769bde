//! `AWS::Account::Info`: the synced accounts themselves. The host tells them; nothing is read.

berth_plugin::plugin!();
