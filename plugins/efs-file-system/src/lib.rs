//! `AWS::EFS::FileSystem`.

berth_plugin::plugin!();
