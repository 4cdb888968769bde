//! AWS error codes and what they stand for.

use std::sync::Arc;

use berth_aws_wire::{DecodeError, EndpointError, InputError, ModelError, PaginationError, WireError};
use berth_core::Problem;

/// What an AWS error code stands for in a fetch plan's `errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Access is denied, or the account has no access to the service in the region.
    Denied,
    /// What was asked for does not exist.
    Missing,
    /// Anything else.
    Other,
}

/// Codes of denied access, the spellings of all services.
///
/// Those of the last group are how a service answers an account that may not use it or its
/// region at all: to an operator this is the same state, fixed in the same place.
const DENIED: [&str; 21] = [
    "AccessDenied",
    "AccessDeniedException",
    "AccessDeniedFault",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
    "AuthorizationError",
    "AuthorizationErrorException",
    "NotAuthorized",
    "NotAuthorizedException",
    "Unauthorized",
    "UnauthorizedException",
    "ForbiddenException",
    "Forbidden",
    "403",
    "AuthFailure",
    "OptInRequired",
    "SubscriptionRequiredException",
    "SubscriptionRequired",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AWSOrganizationsNotInUseException",
];

/// Codes of things that do not exist which the patterns of [`class`] do not cover.
const MISSING: [&str; 4] =
    ["404", "ResourceNotFoundFault", "AWS.SimpleQueueService.NonExistentQueue", "PipelineNotFoundException"];

/// Tells the class of a code.
pub(crate) fn class(code: &str) -> Class {
    let missing = || {
        ["NotFound", "NotFoundException", "NotFoundFault", "NotFoundError"]
            .iter()
            .any(|end| code.ends_with(end))
            || code.starts_with("NoSuch")
            || code.contains("DoesNotExist")
            || MISSING.contains(&code)
    };
    if DENIED.contains(&code) {
        Class::Denied
    } else if missing() {
        Class::Missing
    } else {
        Class::Other
    }
}

/// Whether an answer asks to slow down. The codes are those of AWS's own SDKs.
pub(crate) fn is_throttling(status: u16, code: &str) -> bool {
    const CODES: [&str; 14] = [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottledException",
        "RequestThrottled",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "TransactionInProgressException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
    ];
    status == 429 || CODES.contains(&code)
}

/// Whether the same request may succeed a little later.
pub(crate) fn is_transient(status: u16, code: &str) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
        || [
            "RequestTimeout",
            "RequestTimeoutException",
            "InternalError",
            "InternalFailure",
            "ServiceUnavailable",
        ]
        .contains(&code)
}

/// Whether the credentials have run out, so that fresh ones may do.
pub(crate) fn is_expired(code: &str) -> bool {
    ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"].contains(&code)
}

/// Whether a transport error says that the other side's certificate is not trusted: asking again is
/// of no use then.
pub(crate) fn is_mistrust(reason: &str) -> bool {
    reason.contains("invalid peer certificate")
}

/// Whether the answer may be due to a clock that is off.
pub(crate) fn is_skewed(code: &str) -> bool {
    [
        "RequestTimeTooSkewed",
        "RequestExpired",
        "RequestInTheFuture",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "AuthFailure",
    ]
    .contains(&code)
}

/// Why a call failed for good, all repeats included.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// AWS answered with an error.
    #[error("{}: {}", error.code, error.message)]
    Service {
        error: WireError,
        /// Whether it says that AWS could not answer now, and nothing about what was asked.
        busy: bool,
    },
    /// No answer came.
    #[error("no answer from {host} after {attempts} attempts: {reason}")]
    Transport { host: String, reason: String, attempts: u32, unresolved: bool },
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
    /// The pages go in circles.
    #[error(transparent)]
    Pages(#[from] PaginationError),
    /// A list was cut off, and the model does not say how to go on.
    #[error("the answer holds `{0}`, so there is more to list, but nothing says how to ask for it")]
    CutOff(&'static str),
    /// The service is not offered there.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Signing failed.
    #[error("the request could not be signed: {0}")]
    Signing(String),
}

impl CallError {
    /// The error that an answer of this status tells.
    pub(crate) fn of_answer(status: u16, error: WireError) -> Self {
        let busy = is_throttling(status, &error.code) || is_transient(status, &error.code);
        Self::Service { error, busy }
    }

    /// Whether AWS was only too busy to answer.
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

    pub(crate) fn class(&self) -> Class {
        self.code().map_or(Class::Other, class)
    }

    /// Whether the service does not exist in the region.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Endpoint(_) | Self::Transport { unresolved: true, .. })
    }
}
