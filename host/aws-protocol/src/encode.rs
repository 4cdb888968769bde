//! Requests: encodes a checked input in the format of the service's protocol.

use http::HeaderMap;
use serde_json::Value;

use crate::{
    InputError, Operation,
    input::{self, Input},
    request::WireRequest,
};

impl Operation {
    /// Checks an input against the model and builds the request from it. `null` is an input without
    /// members. Blobs are base64, timestamps are ISO 8601, RFC 822 or seconds since 1970.
    ///
    /// S3's buckets are in the path (path style), which works for buckets of any name; see
    /// [`WireRequest::virtual_hosted`].
    ///
    /// # Errors
    /// [`InputError`] with the path of the first member that is unknown, missing or of another type.
    pub fn encode(&self, input: &Value) -> Result<WireRequest, InputError> {
        let input = input::check(self, input)?;
        let mut request = WireRequest {
            method: self.model().method.clone(),
            path: "/".to_owned(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            host_prefix: self.host_prefix(&input),
        };
        self.service().protocol().encode(self, &input, &mut request)?;
        for (name, value) in &self.service().model().headers {
            if !request.headers.contains_key(name.as_str()) {
                request.set_header(name, value);
            }
        }
        Ok(request)
    }

    fn host_prefix(&self, input: &Input<'_>) -> Option<String> {
        let mut prefix = self.model().host_prefix.clone()?;
        if let Input::Structure(members) = input {
            for (member, value) in members {
                if let (true, Input::Text(text)) = (member.reference.host_label, value) {
                    prefix = prefix.replace(&format!("{{{}}}", member.name), text);
                }
            }
        }
        Some(prefix)
    }
}
