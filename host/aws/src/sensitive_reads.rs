//! Reads that return secrets or bulk data instead of properties of resources.

use std::collections::BTreeSet;

use berth_core::{Problem, ProblemCode};

/// Operations that are refused unless granted by name. An entry covers the operation with all its inputs.
const REFUSED: [&str; 53] = [
    "apigateway:GetApiKey",
    "apigateway:GetApiKeys",
    "athena:GetQueryResults",
    "codeartifact:GetAuthorizationToken",
    "codeartifact:GetPackageVersionAsset",
    "codecommit:GetBlob",
    "codecommit:GetFile",
    "cognito-identity:GetCredentialsForIdentity",
    "cognito-identity:GetOpenIdToken",
    "cognito-identity:GetOpenIdTokenForDeveloperIdentity",
    "connect:GetFederationToken",
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodbstreams:GetRecords",
    "ebs:GetSnapshotBlock",
    "ec2:GetConsoleOutput",
    "ec2:GetConsoleScreenshot",
    "ec2:GetPasswordData",
    "ecr:GetAuthorizationToken",
    "ecr-public:GetAuthorizationToken",
    "gamelift:GetComputeAuthToken",
    "gamelift:GetInstanceAccess",
    "glacier:GetJobOutput",
    "glue:GetConnection",
    "glue:GetConnections",
    "grafana:ListWorkspaceServiceAccountTokens",
    "iot-data:GetRetainedMessage",
    "iot-data:GetThingShadow",
    "kinesis:GetRecords",
    "kinesis-video-media:GetMedia",
    "kms:Decrypt",
    "kms:GetParametersForImport",
    "lakeformation:GetTemporaryGlueTableCredentials",
    "lightsail:GetInstanceAccessDetails",
    "lightsail:GetRelationalDatabaseMasterUserPassword",
    "logs:GetLogEvents",
    "logs:GetLogRecord",
    "logs:GetQueryResults",
    "mediastore-data:GetObject",
    "rds:DownloadDBLogFilePortion",
    "redshift:GetClusterCredentials",
    "redshift:GetClusterCredentialsWithIAM",
    "redshift-serverless:GetCredentials",
    "s3:GetObject",
    "s3:GetObjectTorrent",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:GetSecretValue",
    "ssm:GetAccessToken",
    "ssm:GetParameter",
    "ssm:GetParameterHistory",
    "ssm:GetParameters",
    "ssm:GetParametersByPath",
    "sso:GetRoleCredentials",
];

/// Refuses a read of secrets or bulk data that is not granted
/// ([`AwsConfig::granted_reads`](crate::AwsConfig::granted_reads)).
///
/// # Errors
/// A [`Problem`] that names the read and how to grant it.
pub fn check_read(service: &str, operation: &str, granted: &BTreeSet<String>) -> Result<(), Problem> {
    let name = format!("{service}:{operation}");
    // Operations of STS and SSO OIDC return only identities and tokens.
    let tokens = service == "sso-oidc" || (service == "sts" && operation != "GetCallerIdentity");
    if (REFUSED.contains(&name.as_str()) || tokens) && !granted.contains(&name) {
        return Err(Problem::new(
            ProblemCode::AwsReadNotGranted,
            format!("`{name}` returns secrets or bulk data and is not granted"),
        )
        .remedy(format!(
            "grant `{name}` by name (`granted_reads` in the settings) if the plugin may read this data"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_need_a_grant_by_name() {
        let granted = BTreeSet::from(["ssm:GetParameter".to_owned()]);
        for (service, operation, allowed) in [
            ("ec2", "DescribeInstances", true),
            ("secretsmanager", "ListSecrets", true),
            ("secretsmanager", "GetSecretValue", false),
            ("ssm", "GetParameter", true),
            ("ssm", "GetParameters", false),
            ("s3", "GetObject", false),
            ("s3", "GetBucketTagging", true),
            ("sts", "GetSessionToken", false),
            ("sts", "GetCallerIdentity", true),
        ] {
            assert_eq!(check_read(service, operation, &granted).is_ok(), allowed, "{service}:{operation}");
        }
    }
}
