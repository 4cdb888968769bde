//! Logs what an answer held that could not be read.

use berth_aws_protocol::{Operation, Repairs};

use crate::once;

/// Logs repairs: as a warning the first time for an operation, at debug level after that.
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
            "an answer of AWS holds text that is malformed, or members of another type than AWS documents: \
             U+FFFD stands for the one, the other are left out; all else is read. Of this operation, more is \
             written at level debug only"
        );
    } else {
        tracing::debug!(operation = name, replaced, unreadable, "parts of an answer could not be read");
    }
}
