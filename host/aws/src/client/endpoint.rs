//! The destination of a request.

use berth_aws_protocol::{Endpoint, EndpointOptions, Operation, WireRequest};
use berth_core::Region;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{AwsConfig, EndpointOverrides, errors::CallError};

/// The characters that AWS does not encode in a query.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The endpoint for which a request is signed, and its full URL.
pub(crate) struct RequestEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(super) url: Url,
}

/// Resolves endpoints by AWS's rules, or by the settings that override them.
pub(super) struct Endpoints {
    overrides: EndpointOverrides,
    options: EndpointOptions,
}

impl Endpoints {
    pub(super) fn new(config: &AwsConfig) -> Self {
        Self {
            overrides: config.endpoints.clone(),
            options: EndpointOptions { fips: config.fips, dual_stack: config.dual_stack },
        }
    }

    /// Returns the destination of a request in a region.
    ///
    /// # Errors
    /// [`CallError`] if the service has no endpoint there.
    pub(super) fn resolve(
        &self,
        operation: &Operation,
        wire: &WireRequest,
        region: &Region,
    ) -> Result<RequestEndpoint, CallError> {
        let service = operation.service();
        let resolved = operation.endpoint(region, self.options);
        let (endpoint, prefix) = match self.overrides.get(&[service.name()]) {
            // A test server answers under its own name, and may know regions that the models do not.
            Some(url) => {
                let (signing_region, signing_name) = match resolved {
                    Ok(resolved) => (resolved.signing_region, resolved.signing_name),
                    Err(_) => (region.to_string(), service.signing_name().to_owned()),
                };
                (Endpoint { url: url.clone(), signing_region, signing_name }, None)
            }
            None => (resolved?, wire.host_prefix.as_deref()),
        };
        let url = url_of(&endpoint.url, prefix, wire)?;
        Ok(RequestEndpoint { endpoint, url })
    }
}

fn url_of(base: &Url, host_prefix: Option<&str>, wire: &WireRequest) -> Result<Url, CallError> {
    let port = base.port().map_or_else(String::new, |port| format!(":{port}"));
    let host = base.host_str().unwrap_or_default();
    let mut url = format!("{}://{}{host}{port}", base.scheme(), host_prefix.unwrap_or_default());
    url.push_str(base.path().trim_end_matches('/'));
    url.push_str(&wire.path);
    for (index, (name, value)) in wire.query.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.extend(utf8_percent_encode(name, UNRESERVED));
        url.push('=');
        url.extend(utf8_percent_encode(value, UNRESERVED));
    }
    Url::parse(&url).map_err(|error| CallError::Signing(format!("`{url}`: {error}")))
}
