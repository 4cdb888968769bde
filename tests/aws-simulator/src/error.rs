//! AWS's errors, with the codes and texts of each service.

use berth_aws_protocol::Protocol;
use http::StatusCode;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            code: code.into(),
            message: message.into(),
        }
    }

    /// The service asks to slow down.
    pub(crate) fn throttled(service: &str, protocol: Protocol) -> Self {
        let (status, code) = match (service, protocol) {
            ("ec2", _) => (503, "RequestLimitExceeded"),
            ("s3", _) => (503, "SlowDown"),
            ("lambda" | "apigateway" | "apigatewayv2" | "sesv2" | "kafka", _) => {
                (429, "TooManyRequestsException")
            }
            ("organizations", _) => (400, "TooManyRequestsException"),
            ("kinesis", _) => (400, "LimitExceededException"),
            ("sqs", _) => (403, "RequestThrottled"),
            (_, Protocol::RestJson) => (429, "ThrottlingException"),
            (_, Protocol::Json | Protocol::RpcV2Cbor) => (400, "ThrottlingException"),
            (_, Protocol::Ec2 | Protocol::Query | Protocol::RestXml) => (400, "Throttling"),
        };
        Self::new(status, code, "Rate exceeded")
    }

    /// Access is denied.
    pub(crate) fn denied(service: &str, protocol: Protocol, action: &str) -> Self {
        let code = match (service, protocol) {
            ("ec2", _) => "UnauthorizedOperation",
            (_, Protocol::Query | Protocol::RestXml | Protocol::Ec2) => "AccessDenied",
            _ => "AccessDeniedException",
        };
        let message = format!(
            "User is not authorized to perform: {action} with an explicit deny in a service control policy"
        );
        Self::new(if service == "sts" || protocol != Protocol::Json { 403 } else { 400 }, code, message)
    }

    /// What the input names does not exist.
    pub(crate) fn missing(service: &str, protocol: Protocol) -> Self {
        let (status, code) = match (service, protocol) {
            ("s3", _) => (404, "NoSuchBucket"),
            ("iam", _) => (404, "NoSuchEntity"),
            ("route53", _) => (404, "NoSuchHostedZone"),
            ("cloudfront", _) => (404, "NoSuchResource"),
            ("sqs", _) => (400, "AWS.SimpleQueueService.NonExistentQueue"),
            ("ecs", _) => (400, "ClusterNotFoundException"),
            ("ecr", _) => (400, "RepositoryNotFoundException"),
            ("codepipeline", _) => (400, "PipelineNotFoundException"),
            ("kms", _) => (400, "NotFoundException"),
            ("codedeploy", _) => (400, "ApplicationDoesNotExistException"),
            ("efs", _) => (404, "FileSystemNotFound"),
            ("elbv2", _) => (400, "LoadBalancerNotFound"),
            ("sns", _) => (404, "NotFound"),
            ("ec2", _) => (400, "InvalidID.NotFound"),
            ("elasticache", _) => (404, "CacheClusterNotFound"),
            (_, Protocol::RestJson | Protocol::RestXml) => (404, "ResourceNotFoundException"),
            _ => (400, "ResourceNotFoundException"),
        };
        Self::new(status, code, "The specified resource does not exist")
    }

    /// An input that the model does not allow.
    pub(crate) fn invalid(protocol: Protocol, reason: impl Into<String>) -> Self {
        let code = match protocol {
            Protocol::Ec2 => "InvalidParameterValue",
            Protocol::Query | Protocol::RestXml => "ValidationError",
            _ => "ValidationException",
        };
        Self::new(400, code, reason)
    }

    /// A code that an operator asked for.
    pub(crate) fn asked_for(code: &str) -> Self {
        let status = match code {
            _ if code.contains("AccessDenied") || code.contains("Unauthorized") => 403,
            "RequestLimitExceeded" | "SlowDown" | "ServiceUnavailable" => 503,
            "InternalError" | "InternalFailure" | "InternalServerError" => 500,
            "TooManyRequestsException" => 429,
            _ => 400,
        };
        Self::new(status, code, "Asked for by an option of the simulator")
    }
}
