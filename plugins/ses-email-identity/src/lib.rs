//! `AWS::SES::EmailIdentity`.
//!
//! The same domain may be an identity in several accounts and regions, so entities are identified by
//! all three. A document has what the list tells, and over it what `GetEmailIdentity` tells.

berth_plugin::plugin!();
