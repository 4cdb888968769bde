//! `AWS::Organizations::Account`.
//!
//! Documents have no `__ExtraContext`: an account is not of the account that lists it.

berth_plugin::plugin!();
