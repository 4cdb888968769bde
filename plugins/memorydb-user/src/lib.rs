//! `AWS::MemoryDB::User`.

berth_plugin::plugin!();
