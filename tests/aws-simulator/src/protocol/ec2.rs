//! The EC2 protocol's form of an error. Its requests are parsed like those of the query protocol.

use super::xml::escaped;
use crate::error::Refusal;

/// The body of an error.
pub(crate) fn error(refusal: &Refusal, id: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>{id}</RequestID></Response>",
        refusal.code,
        escaped(&refusal.message)
    )
    .into_bytes()
}
