//! `AWS::OpenSearchService::Domain`.
//!
//! The list knows names only; all else comes from the `describe` step. A domain that it answered
//! nothing for is gone and never gets here.

berth_plugin::plugin!();
