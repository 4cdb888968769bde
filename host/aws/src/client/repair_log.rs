//! Logs the parts of a response that could not be read.

use berth_aws_protocol::{Operation, Repairs};

use crate::once;

/// Logs repairs: the first time for an operation as a warning, later at debug level.
pub(super) fn write(operation: &Operation, repairs: Repairs) {
    if repairs.is_none() {
        return;
    }
    let name = operation.to_string();
    let Repairs { replaced, unreadable } = repairs;
    if once::is_first(format!("repairs of {name}")) {
        tracing::warn!(
            operation = name,
            replaced,
            unreadable,
            "an AWS response has malformed text, or members whose type differs from AWS's documentation; \
             Berth replaces malformed characters with U+FFFD, omits such members, and reads the rest. Further \
             messages about this operation are logged at debug level only"
        );
    } else {
        tracing::debug!(operation = name, replaced, unreadable, "parts of a response could not be read");
    }
}
