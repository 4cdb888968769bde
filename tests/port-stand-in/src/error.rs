//! Errors in Port's form.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

/// A refusal: `{"ok": false, "error", "message"}` with its status.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) error: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { status: 422, error: "invalid_request", message: message.into() }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self { status: 400, error: "bad_request", message: message.into() }
    }

    pub(crate) fn not_found(what: &str, identifier: &str) -> Self {
        let message = format!("{what} with identifier \"{identifier}\" was not found");
        Self { status: 404, error: "not_found", message }
    }

    pub(crate) fn taken(what: &str, identifier: &str) -> Self {
        let message = format!("{what} with identifier \"{identifier}\" already exists");
        Self { status: 409, error: "identifier_taken", message }
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        Self { status: 401, error: "unauthorized", message: message.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({"ok": false, "error": self.error, "message": self.message}))).into_response()
    }
}
