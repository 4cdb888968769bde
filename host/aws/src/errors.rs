//! AWS error codes and their meaning.

use std::sync::Arc;

use berth_aws_protocol::{
    DecodeError, EndpointError, IncompleteList, InputError, ModelError, PaginationError, WireError,
};
use berth_core::{ErrorClass, Problem, ProblemCode};
use berth_http::{Peer, TransportError};

/// AWS, for remedies.
pub(crate) const AWS: Peer = Peer {
    name: "AWS",
    address: "`AWS_ENDPOINT_URL` (where it is set)",
    roots: "`AWS_CA_BUNDLE` or `SSL_CERT_FILE`",
    unreachable: ProblemCode::AwsUnreachable,
    untrusted: ProblemCode::AwsTlsUntrusted,
};

/// Returns whether an answer asks to slow down.
pub(crate) fn is_throttling(status: u16, code: &str) -> bool {
    status == 429 || ErrorClass::of(code) == ErrorClass::Throttled
}

/// Returns whether the same request may succeed a little later.
pub(crate) fn is_transient(status: u16, code: &str) -> bool {
    matches!(status, 500 | 502 | 503 | 504) || ErrorClass::of(code) == ErrorClass::Unavailable
}

/// Returns whether the credentials expired, so that fresh ones may help.
pub(crate) fn is_expired(code: &str, message: &str) -> bool {
    ["ExpiredToken", "RequestExpired", "TokenRefreshRequired"].contains(&stem(code))
        || message.contains("security token included in the request is expired")
}

/// Returns whether AWS refuses the credentials or the signature. It does so for good where they are wrong or
/// the region is not enabled, and for a moment where a session is so new that AWS does not know it yet. Some
/// services do so where a session has ended.
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

/// Returns whether the answer may be due to a wrong clock: its `Date` then shows it. The codes are those of
/// AWS's SDKs; an answer without a body (to `HEAD`) has its status for a code.
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

/// A code without what some services put around it.
fn stem(code: &str) -> &str {
    let code = code.strip_prefix("Client.").unwrap_or(code);
    ["Exception", "Error", "Fault"].iter().find_map(|end| code.strip_suffix(end)).unwrap_or(code)
}

/// The remedy for a plan that asks for something impossible.
pub(crate) const PLAN_AT_FAULT: &str =
    "the plan of the plugin is at fault: update the plugin or report this to its author";

/// A call failed, after all retries.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// AWS answered with an error.
    #[error("{}: {}", error.code, error.message)]
    Service {
        error: WireError,
        /// The class of its code.
        class: ErrorClass,
        /// AWS could not answer now; the error says nothing about what was asked.
        busy: bool,
    },
    /// No answer came.
    #[error("no answer from {host} after {attempts} {}: {error}", if *attempts == 1 { "attempt" } else { "attempts" })]
    Transport { host: String, error: TransportError, attempts: u32 },
    /// The answer is larger than it may be.
    #[error("the answer is larger than {limit} bytes; raise `max_response_bytes` if it really is that large")]
    TooLarge { limit: usize },
    /// There are no credentials to sign with.
    #[error("{0}")]
    Credentials(Arc<Problem>),
    /// The request could not be made of the input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The answer is not what the model says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is no such operation.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The pages do not end, or end too soon.
    #[error(transparent)]
    Pages(#[from] PaginationError),
    /// The answer does not have the list that was asked for.
    #[error(transparent)]
    Incomplete(#[from] IncompleteList),
    /// An account of the organization is not named.
    #[error("the organization lists an account without a valid `Id`")]
    NoAccountId,
    /// The service is not offered there.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Signing failed.
    #[error("the request could not be signed: {0}")]
    Signing(String),
}

impl CallError {
    /// The error in an answer of this status. `has_body`: answers to this kind of request have a body.
    pub(crate) fn of_answer(status: u16, error: WireError, has_body: bool) -> Self {
        let busy = is_throttling(status, &error.code) || is_transient(status, &error.code);
        let class = match ErrorClass::of(&error.code) {
            // A service names its error where it can. A bare 404 may come from anything in between.
            ErrorClass::Missing if has_body && error.code == status.to_string() => ErrorClass::Other,
            class => class,
        };
        Self::Service { error, class, busy }
    }

    /// Returns whether AWS was only too busy to answer.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Service { busy: true, .. })
    }

    /// The AWS error code, where AWS answered.
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

    /// The cause, where no answer came.
    pub(crate) fn transport(&self) -> Option<&TransportError> {
        match self {
            Self::Transport { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The code of the problem.
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

    /// The remedy for a failure that is not about access, load or the network.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Service { .. } => {
                "the next resync tries again; if it fails in the same way, look the error up in the API reference of \
                 the service, and report it if the request itself is wrong"
            }
            Self::Decode(_)
            | Self::Pages(_)
            | Self::Incomplete(_)
            | Self::TooLarge { .. }
            | Self::NoAccountId => {
                "nothing is deleted on the word of such an answer, and the next resync asks again; if it lasts, check \
                 what answers in place of AWS (a proxy, an endpoint of your own), or report it"
            }
            Self::Credentials(_) => "check the credentials of the account",
            Self::Transport { .. } | Self::Endpoint(_) => "check the way from this machine to AWS",
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
    fn codes_have_relatives() {
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
