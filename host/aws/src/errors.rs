//! AWS error codes and their meaning.

use std::sync::Arc;

use berth_aws_protocol::{
    DecodeError, EndpointError, IncompleteList, InputError, ModelError, PaginationError, WireError,
};
use berth_core::{ErrorClass, Problem, ProblemCode};
use berth_http::{Peer, TransportError};

/// AWS, as remedies name it.
pub(crate) const AWS: Peer = Peer {
    name: "AWS",
    address: "`AWS_ENDPOINT_URL` (if it is set)",
    roots: "`AWS_CA_BUNDLE` or `SSL_CERT_FILE`",
    unreachable: ProblemCode::AwsUnreachable,
    untrusted: ProblemCode::AwsTlsUntrusted,
};

/// Returns whether the response is a throttling error.
pub(crate) fn is_throttling(status: u16, code: &str) -> bool {
    status == 429 || ErrorClass::of(code) == ErrorClass::Throttled
}

/// Returns whether the same request may succeed a little later.
pub(crate) fn is_transient(status: u16, code: &str) -> bool {
    matches!(status, 500 | 502 | 503 | 504) || ErrorClass::of(code) == ErrorClass::Unavailable
}

/// Returns whether the credentials expired, so that new ones may help.
pub(crate) fn is_expired(code: &str, message: &str) -> bool {
    ["ExpiredToken", "RequestExpired", "TokenRefreshRequired"].contains(&stem(code))
        || message.contains("security token included in the request is expired")
}

/// Returns whether AWS rejects the credentials or the signature. The rejection is permanent if they are
/// wrong or the region is not enabled, and temporary if the session is so new that AWS does not know it
/// yet. Some services also respond like this after a session has ended.
pub(crate) fn refuses_credentials(code: &str) -> bool {
    [
        "UnrecognizedClient",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidToken",
        "InvalidSecurity",
        "AuthFailure",
        "MissingAuthenticationToken",
        "IncompleteSignature",
        "SignatureDoesNotMatch",
        "InvalidSignature",
    ]
    .contains(&stem(code))
}

/// Returns whether the response may be due to a wrong clock; its `Date` then shows it. The codes are those
/// of AWS's SDKs; a response without a body (to `HEAD`) has its status as code.
pub(crate) fn is_skewed(code: &str, message: &str) -> bool {
    [
        "RequestTimeTooSkewed",
        "RequestExpired",
        "RequestInTheFuture",
        "InvalidSignature",
        "SignatureDoesNotMatch",
        "SignatureExpired",
        "AuthFailure",
        "AccessDenied",
        "400",
        "401",
        "403",
    ]
    .contains(&stem(code))
        || ["Signature expired", "Signature not yet current", "Request has expired"]
            .iter()
            .any(|text| message.contains(text))
}

/// Returns a code without the prefixes and suffixes that some services add.
fn stem(code: &str) -> &str {
    let code = code.strip_prefix("Client.").unwrap_or(code);
    ["Exception", "Error", "Fault"].iter().find_map(|end| code.strip_suffix(end)).unwrap_or(code)
}

/// The remedy for a plan that is not possible.
pub(crate) const PLAN_AT_FAULT: &str =
    "the plugin's plan is wrong: update the plugin, or report this to its author";

/// Why a call failed, after all retries.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// AWS returned an error.
    #[error("{}: {}", error.code, error.message)]
    Service {
        error: WireError,
        /// The class of its code.
        class: ErrorClass,
        /// Whether AWS was temporarily unable to respond; the error then says nothing about the requested
        /// resource.
        busy: bool,
    },
    /// There was no response.
    #[error("no response from {host} after {attempts} {}: {error}", if *attempts == 1 { "attempt" } else { "attempts" })]
    Transport { host: String, error: TransportError, attempts: u32 },
    /// The response exceeds the size limit.
    #[error("the response is larger than {limit} bytes; raise `max_response_bytes` if this size is expected")]
    TooLarge { limit: usize },
    /// There are no credentials to sign with.
    #[error("{0}")]
    Credentials(Arc<Problem>),
    /// The request could not be built from the input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The response does not match the model.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is no such operation.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The pages do not end, or end too early.
    #[error(transparent)]
    Pages(#[from] PaginationError),
    /// The response does not have the requested list.
    #[error(transparent)]
    Incomplete(#[from] IncompleteList),
    /// An account of the organization has no valid id.
    #[error("the organization lists an account without a valid `Id`")]
    NoAccountId,
    /// The service is not available there.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Signing failed.
    #[error("the request could not be signed: {0}")]
    Signing(String),
}

impl CallError {
    /// Returns the error in a response with this status. `has_body`: responses to this type of request have
    /// a body.
    pub(crate) fn of_answer(status: u16, error: WireError, has_body: bool) -> Self {
        let busy = is_throttling(status, &error.code) || is_transient(status, &error.code);
        let class = match ErrorClass::of(&error.code) {
            // A service names its error if it can. A bare 404 may come from anything between Berth and the
            // service.
            ErrorClass::Missing if has_body && error.code == status.to_string() => ErrorClass::Other,
            class => class,
        };
        Self::Service { error, class, busy }
    }

    /// Returns whether AWS was only too busy to respond.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Service { busy: true, .. })
    }

    /// Returns the AWS error code, if AWS responded.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Service { error, .. } => Some(&error.code),
            _ => None,
        }
    }

    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Service { class, .. } => *class,
            _ => ErrorClass::Other,
        }
    }

    /// Returns the cause, if there was no response.
    pub(crate) fn transport(&self) -> Option<&TransportError> {
        match self {
            Self::Transport { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Returns the code of the problem.
    pub(crate) fn problem_code(&self) -> ProblemCode {
        match self {
            Self::Credentials(problem) => problem.code,
            Self::Endpoint(_) => ProblemCode::AwsNotInRegion,
            Self::Transport { error, .. } if error.is_unknown_host() => ProblemCode::AwsNotInRegion,
            Self::Transport { error, .. } => error.code(AWS),
            Self::Service { error, .. } if refuses_credentials(&error.code) => ProblemCode::AwsCredentials,
            Self::Service { class: ErrorClass::Denied, .. } => ProblemCode::AwsAccessDenied,
            Self::Service { busy: true, .. } => ProblemCode::AwsThrottled,
            Self::Service { .. } => ProblemCode::AwsError,
            Self::Decode(_)
            | Self::Pages(_)
            | Self::Incomplete(_)
            | Self::TooLarge { .. }
            | Self::NoAccountId => ProblemCode::AwsInvalidAnswer,
            Self::Input(_) | Self::Model(_) | Self::Signing(_) => ProblemCode::PluginPlan,
        }
    }

    /// Returns the remedy for a failure that is not about access, load or the network.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Service { .. } => {
                "the next resync retries the call; if it fails in the same way, look up the error in the API reference of \
                 the service, and report it if the request itself is wrong"
            }
            Self::Decode(_)
            | Self::Pages(_)
            | Self::Incomplete(_)
            | Self::TooLarge { .. }
            | Self::NoAccountId => {
                "Berth deletes nothing because of such a response, and the next resync retries the call; if it persists, \
                 check whether a proxy or a custom endpoint responds in place of AWS, or report it"
            }
            Self::Credentials(_) => "check the credentials of the account",
            Self::Transport { .. } | Self::Endpoint(_) => {
                "check the network connection from this machine to AWS"
            }
            Self::Input(_) | Self::Model(_) | Self::Signing(_) => PLAN_AT_FAULT,
        }
    }

    /// Returns whether the service does not exist in the region.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Endpoint(_)) || self.transport().is_some_and(TransportError::is_unknown_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_their_variants() {
        for (code, skewed, expired, refused) in [
            ("RequestExpired", true, true, false),
            ("ExpiredToken", false, true, false),
            ("ExpiredTokenException", false, true, false),
            ("InvalidSignatureException", true, false, true),
            ("SignatureDoesNotMatch", true, false, true),
            ("RequestTimeTooSkewed", true, false, false),
            ("Client.AuthFailure", true, false, true),
            ("UnrecognizedClientException", false, false, true),
            ("InvalidClientTokenId", false, false, true),
            ("403", true, false, false),
            ("AccessDeniedException", true, false, false),
            ("UnauthorizedOperation", false, false, false),
        ] {
            let found = (is_skewed(code, ""), is_expired(code, ""), refuses_credentials(code));
            assert_eq!(found, (skewed, expired, refused), "{code}");
        }
        assert!(is_skewed("ForbiddenException", "Signature expired: 20260101T000000Z is now earlier than …"));
    }
}
