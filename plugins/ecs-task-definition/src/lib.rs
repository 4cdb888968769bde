//! `AWS::ECS::TaskDefinition`: the active revisions of each family.
//!
//! The list knows ARNs only. The description has the tags beside the task definition; documents
//! have them in it.

berth_plugin::plugin!();
