//! AWS error codes and what they stand for. Fetch plans are checked by it, and run by it.

/// What an AWS error code stands for in a fetch plan's `errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Access is denied, or the account has no access to the service in the region.
    Denied,
    /// What was asked for does not exist.
    Missing,
    /// The service asks to slow down.
    Throttled,
    /// The service could not answer now.
    Unavailable,
    /// Anything else.
    Other,
}

/// How Organizations answers an account that belongs to no organization. In [`ErrorClass::Denied`], since
/// another account may well belong to one; if none does, there is no organization to read.
pub const NO_ORGANIZATION: &str = "AWSOrganizationsNotInUseException";

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
    NO_ORGANIZATION,
];

/// Codes of things that do not exist which the patterns of [`ErrorClass::of`] do not cover.
const MISSING: [&str; 4] =
    ["404", "ResourceNotFoundFault", "AWS.SimpleQueueService.NonExistentQueue", "PipelineNotFoundException"];

/// Codes that ask to slow down, those of AWS's own SDKs.
const THROTTLED: [&str; 14] = [
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

/// Codes after which the same request may succeed a little later.
const UNAVAILABLE: [&str; 5] =
    ["RequestTimeout", "RequestTimeoutException", "InternalError", "InternalFailure", "ServiceUnavailable"];

impl ErrorClass {
    /// The class of a code.
    pub fn of(code: &str) -> Self {
        let missing = || {
            ["NotFound", "NotFoundException", "NotFoundFault", "NotFoundError"]
                .iter()
                .any(|end| code.ends_with(end))
                || code.starts_with("NoSuch")
                || code.contains("DoesNotExist")
                || MISSING.contains(&code)
        };
        if DENIED.contains(&code) {
            Self::Denied
        } else if THROTTLED.contains(&code) {
            Self::Throttled
        } else if UNAVAILABLE.contains(&code) {
            Self::Unavailable
        } else if missing() {
            Self::Missing
        } else {
            Self::Other
        }
    }

    /// Whether an error of this class says nothing about whether the resource exists.
    pub fn hides_the_resource(self) -> bool {
        matches!(self, Self::Denied | Self::Throttled | Self::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_a_class() {
        for (code, class) in [
            ("AccessDenied", ErrorClass::Denied),
            ("Client.UnauthorizedOperation", ErrorClass::Denied),
            ("InvalidVolume.NotFound", ErrorClass::Missing),
            ("NoSuchEntity", ErrorClass::Missing),
            ("ApplicationDoesNotExistException", ErrorClass::Missing),
            ("ThrottlingException", ErrorClass::Throttled),
            ("ServiceUnavailable", ErrorClass::Unavailable),
            ("DeploymentNotStartedException", ErrorClass::Other),
        ] {
            assert_eq!(ErrorClass::of(code), class, "{code}");
        }
    }
}
