//! Signs requests (AWS Signature Version 4).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use berth_aws_protocol::Endpoint;

use crate::errors::CallError;

/// Adds the headers of the signature.
///
/// # Errors
/// [`CallError::Signing`] if a header is not text.
pub(super) fn sign_request(
    request: &mut http::Request<()>,
    body: &[u8],
    credentials: &Credentials,
    endpoint: &Endpoint,
    service: &str,
    time: SystemTime,
) -> Result<(), CallError> {
    let failed = |error: &dyn std::fmt::Display| CallError::Signing(error.to_string());
    let mut settings = SigningSettings::default();
    if service.starts_with("s3") {
        // Only S3 takes paths without double encoding and requires the hash of the body.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&endpoint.signing_region)
        .name(&endpoint.signing_name)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let uri = request.uri().to_string();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        headers.push((name.as_str(), value.to_str().map_err(|error| failed(&error))?));
    }
    let signable =
        SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), SignableBody::Bytes(body))
            .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}
