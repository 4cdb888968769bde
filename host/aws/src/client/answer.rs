//! The final response to a call, and its decoded form.

use std::sync::Arc;

use berth_aws_protocol::{Operation, Page};
use berth_core::Path;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::repair_log;
use crate::errors::CallError;

/// A response as received.
#[derive(Debug)]
pub(crate) struct AwsResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl AwsResponse {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A response that several callers may share.
pub(crate) type SharedAnswer = Result<Arc<AwsResponse>, CallError>;

/// Decodes a response.
///
/// # Errors
/// [`CallError`] if the response is an error or cannot be read.
pub(crate) fn decode(operation: &Operation, answer: &AwsResponse) -> Result<Value, CallError> {
    decode_list(operation, answer, &[])
}

/// Decodes a response, and requires that everything at `items` is readable.
///
/// # Errors
/// The same as [`decode`].
pub(crate) fn decode_list(
    operation: &Operation,
    answer: &AwsResponse,
    items: &[&Path],
) -> Result<Value, CallError> {
    accept(operation, answer)?;
    let (value, repairs) = operation.decode_list(answer.status, &answer.headers, &answer.body, items)?;
    repair_log::write(operation, repairs);
    Ok(value)
}

/// Decodes a page of a list, and leaves its items as text.
///
/// # Errors
/// The same as [`decode`].
pub(crate) fn decode_page(
    operation: &Operation,
    answer: &AwsResponse,
    items: &Path,
) -> Result<Page, CallError> {
    accept(operation, answer)?;
    let page = operation.decode_page(answer.status, &answer.headers, &answer.body, items)?;
    repair_log::write(operation, page.repairs);
    Ok(page)
}

/// Rejects a response that is an error.
fn accept(operation: &Operation, answer: &AwsResponse) -> Result<(), CallError> {
    if answer.is_success() {
        return Ok(());
    }
    let error = operation.decode_error(answer.status, &answer.headers, &answer.body);
    let has_body = operation.model().method != http::Method::HEAD;
    Err(CallError::of_answer(answer.status, error, has_body))
}
