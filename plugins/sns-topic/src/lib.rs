//! `AWS::SNS::Topic`.
//!
//! The list knows ARNs only; all else comes from the `attributes` step, where AWS writes every
//! value as text. A topic that is gone by then never gets here.

berth_plugin::plugin!();
