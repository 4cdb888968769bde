//! Why one attempt at a call failed.

use std::time::Duration;

use berth_http::TransportError;
use reqwest::{StatusCode, header::HeaderMap};

use super::call::Call;
use crate::api::{
    error::{ErrorReply, PortError, PortErrorResponse},
    values::words,
};

/// Why one attempt failed.
pub(super) enum AttemptFailure {
    Transport(TransportError),
    Status(PortErrorResponse, Option<Duration>),
}

impl AttemptFailure {
    pub(super) fn into_error(self, call: &Call) -> PortError {
        match self {
            Self::Transport(error) => PortError::Transport { call: call.name(), error },
            Self::Status(refusal, _) => PortError::Refused(refusal),
        }
    }
}

/// Reads a response that is not a success.
pub(super) fn refusal(
    call: &Call,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> PortErrorResponse {
    let reply: ErrorReply = serde_json::from_slice(body).unwrap_or_default();
    let stale = status == StatusCode::CONFLICT && reply.is_stale();
    let ErrorReply { error, message, .. } = reply;
    PortErrorResponse {
        stale,
        call: call.name(),
        status: status.as_u16(),
        error: words(&error),
        message: words(&message),
        trace_id: headers.get("x-trace-id").and_then(|id| id.to_str().ok()).map(str::to_owned),
    }
}
