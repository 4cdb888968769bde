//! AWS error codes and their classes. Fetch plans are validated and run by these classes.

/// The class of an AWS error code in a fetch plan's `errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Access is denied, or the account has no access to the service in the region.
    Denied,
    /// The requested thing does not exist.
    Missing,
    /// The service throttles the caller.
    Throttled,
    /// The service is temporarily unavailable.
    Unavailable,
    /// Anything else.
    Other,
}

/// The code with which Organizations answers an account that belongs to no organization. It is in
/// [`ErrorClass::Denied`], since another account may belong to one; if no account does, there is no
/// organization to read.
pub const NO_ORGANIZATION: &str = "AWSOrganizationsNotInUseException";

/// Codes of denied access, in the spellings of all services.
///
/// The last group are the codes for an account that may not use the service or its region at all. For an
/// operator this is the same state, with the same fix.
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

/// Codes of things that do not exist and that the patterns of [`ErrorClass::of`] do not cover.
const MISSING: [&str; 4] =
    ["404", "ResourceNotFoundFault", "AWS.SimpleQueueService.NonExistentQueue", "PipelineNotFoundException"];

/// Throttling codes, as AWS's own SDKs list them.
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
    /// Returns the class of a code.
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

    /// Returns whether an error of this class leaves open whether the resource exists.
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
