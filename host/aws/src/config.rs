//! The settings of the AWS source. Nothing here reads the environment: the composition root sets the
//! values.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use berth_core::{AccountId, Partition, RoleArn};
use berth_http::is_private;
use secrecy::SecretString;
use url::Url;

/// The settings of the AWS source.
///
/// The default reads only the account of the ambient credentials.
#[derive(Debug, Clone)]
pub struct AwsConfig {
    /// Explicit keys (`aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`). They are the
    /// *base identity*, with which roles are assumed.
    pub static_keys: Option<StaticKeys>,
    /// The web identity token (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`).
    pub web_identity: Option<WebIdentity>,
    /// Which source of the base identity is tried first (`credentialProviderPriority`). Empty: the
    /// order of [`CredentialProvider`].
    pub credential_provider_priority: Vec<CredentialProvider>,
    /// The external ID that is sent when a role is assumed, unless [`external_ids`](Self::external_ids) has
    /// one for the account.
    pub external_id: Option<SecretString>,
    /// External IDs of individual accounts.
    pub external_ids: BTreeMap<AccountId, SecretString>,
    /// One role per account to read (`accountRoleArns`). Unparsed texts: a text that is not a role ARN but
    /// names an account makes that account unreadable and does not affect the others.
    pub account_role_arns: Vec<String>,
    /// The role that lists the organization's accounts (`accountRoleArn`). The same role is then assumed in
    /// each account. Takes precedence over `account_role_arns`.
    pub account_role_arn: Option<String>,
    /// Organizational units to which discovery is limited (`ouId`), including nested ones.
    pub ou_ids: Vec<String>,
    /// A role between the base identity and the accounts' roles (base → hop → member).
    pub hop_role_arn: Option<RoleArn>,
    /// A session policy (JSON, at most 2,048 characters) that scopes down every role assumed in an
    /// account.
    pub session_policy: Option<String>,
    /// The lifetime of an assumed role's credentials. `None`: Berth sends no duration, and AWS's default of
    /// one hour applies.
    pub session_duration: Option<Duration>,
    /// The partition, if no role ARN names it.
    pub partition: Option<Partition>,
    /// Endpoints that replace AWS's own.
    pub endpoints: EndpointOverrides,
    /// Whether to use FIPS endpoints.
    pub fips: bool,
    /// Whether to use dual-stack (IPv4 and IPv6) endpoints.
    pub dual_stack: bool,
    /// Reads of secrets or bulk data that plugins may call, as `<service>:<Operation>`
    /// (`ssm:GetParameter`). All others are refused.
    pub granted_reads: BTreeSet<String>,
    /// Concurrency limits.
    pub concurrency: Concurrency,
    /// Retries of failed requests.
    pub retry: Retry,
    /// The maximum size of responses that are cached during a resync for kinds that make the same call, in
    /// bytes (default 64 MiB).
    pub shared_read_bytes: Option<usize>,
    /// The maximum size of responses that are not mapped yet, over all units, in bytes (default 8 MiB). At
    /// the limit, units that have read nothing yet wait. Units that have begun continue, so the limit is
    /// exceeded slightly.
    pub pending_bytes: Option<usize>,
    /// The maximum number of pages of one list (default 10,000). A longer list fails its unit instead of
    /// being read without end.
    pub max_pages_per_list: u32,
    /// The maximum size of one response after decompression, in bytes (default 256 MiB). A larger response
    /// fails its request, and is not read to its end.
    pub max_response_bytes: usize,
    /// The time limit of one unit, from the first poll of its stream to its end, including waits for memory
    /// and for the mapping (default 1 hour). A unit that takes longer fails.
    pub unit_deadline: Duration,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            static_keys: None,
            web_identity: None,
            credential_provider_priority: Vec::new(),
            external_id: None,
            external_ids: BTreeMap::new(),
            account_role_arns: Vec::new(),
            account_role_arn: None,
            ou_ids: Vec::new(),
            hop_role_arn: None,
            session_policy: None,
            session_duration: None,
            partition: None,
            endpoints: EndpointOverrides::default(),
            fips: false,
            dual_stack: false,
            granted_reads: BTreeSet::new(),
            concurrency: Concurrency::default(),
            retry: Retry::default(),
            shared_read_bytes: None,
            pending_bytes: None,
            max_pages_per_list: 10_000,
            max_response_bytes: 256 << 20,
            unit_deadline: Duration::from_hours(1),
        }
    }
}

/// Long-lived or temporary keys.
#[derive(Debug, Clone)]
pub struct StaticKeys {
    /// The id of the access key.
    pub access_key_id: SecretString,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// The session token of temporary keys.
    pub session_token: Option<SecretString>,
}

/// A token file that an identity provider refreshes, as on EKS.
#[derive(Debug, Clone)]
pub struct WebIdentity {
    /// The file with the token. Berth reads it again on every refresh.
    pub token_file: PathBuf,
    /// The role of the token (`AWS_ROLE_ARN`), if it is set. Berth reads its account if no account role is
    /// configured, and uses it to assume the roles that do not trust the identity provider.
    pub role_arn: Option<RoleArn>,
}

/// A source of the base identity, with Ocean's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialProvider {
    /// The web identity token assumes roles.
    AssumeRoleWithWebIdentity,
    /// The base identity is [`AwsConfig::static_keys`].
    StaticCredential,
    /// The base identity comes from the ambient chain: environment, profile, web identity, EKS pod identity
    /// or ECS task role, instance profile.
    AssumeRole,
}

impl CredentialProvider {
    /// The default order.
    pub(crate) const DEFAULT_PRIORITY: [Self; 3] =
        [Self::AssumeRoleWithWebIdentity, Self::StaticCredential, Self::AssumeRole];

    /// Returns the provider's name in `credentialProviderPriority`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::StaticCredential => "StaticCredential",
            Self::AssumeRole => "AssumeRole",
        }
    }

    /// Returns the provider with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::DEFAULT_PRIORITY.into_iter().find(|provider| provider.as_str() == name)
    }
}

/// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`.
#[derive(Debug, Clone, Default)]
pub struct EndpointOverrides {
    all: Option<Url>,
    services: BTreeMap<String, Url>,
}

impl EndpointOverrides {
    /// Creates an empty set of overrides.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends every service's requests to `url`.
    #[must_use]
    pub fn all(mut self, url: Url) -> Self {
        self.all = Some(url);
        self
    }

    /// Sends one service's requests to `url`. The service is written as in the suffix of the variable
    /// (`S3`, `DYNAMODB`, `ELASTIC_LOAD_BALANCING_V2`) or by its `botocore` name.
    #[must_use]
    pub fn service(mut self, service: &str, url: Url) -> Self {
        self.services.insert(fold(service), url);
        self
    }

    /// Returns an endpoint that is neither encrypted nor on this machine, if there is one.
    pub(crate) fn unprotected(&self) -> Option<&Url> {
        self.all.iter().chain(self.services.values()).find(|url| !is_private(url))
    }

    /// Returns the override for a service, by its `botocore` name or any other of its names.
    pub fn get(&self, names: &[&str]) -> Option<&Url> {
        let own = names.iter().find_map(|name| {
            let id = SERVICE_IDS.iter().find(|(service, _)| service == name).map(|(_, id)| id);
            [Some(name), id].into_iter().flatten().find_map(|name| self.services.get(&fold(name)))
        });
        own.or(self.all.as_ref())
    }
}

/// The services whose variable is not derived from their `botocore` name (botocore 1.44.5: the service id
/// of the models, if it differs by more than case and punctuation).
const SERVICE_IDS: [(&str, &str); 26] = [
    ("ce", "Cost Explorer"),
    ("cognito-idp", "Cognito Identity Provider"),
    ("config", "Config Service"),
    ("cur", "Cost and Usage Report Service"),
    ("discovery", "Application Discovery Service"),
    ("dms", "Database Migration Service"),
    ("ds", "Directory Service"),
    ("ds-data", "Directory Service Data"),
    ("elb", "Elastic Load Balancing"),
    ("elbv2", "Elastic Load Balancing v2"),
    ("es", "Elasticsearch Service"),
    ("events", "EventBridge"),
    ("iot-data", "IoT Data Plane"),
    ("iot-jobs-data", "IoT Jobs Data Plane"),
    ("lex-models", "Lex Model Building Service"),
    ("lex-runtime", "Lex Runtime Service"),
    ("lexv2-models", "Lex Models V2"),
    ("lexv2-runtime", "Lex Runtime V2"),
    ("logs", "CloudWatch Logs"),
    ("marketplace-entitlement", "Marketplace Entitlement Service"),
    ("meteringmarketplace", "Marketplace Metering"),
    ("mgh", "Migration Hub"),
    ("sdb", "SimpleDB"),
    ("serverlessrepo", "ServerlessApplicationRepository"),
    ("sms-voice", "Pinpoint SMS Voice"),
    ("stepfunctions", "SFN"),
];

/// Normalizes a name: `ELASTIC_LOAD_BALANCING_V2`, `Elastic Load Balancing v2` and
/// `elastic-load-balancing-v2` are the same.
fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Upper bounds of concurrency.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency {
    /// Roles assumed at once (default 20).
    pub roles: NonZeroUsize,
    /// Requests in flight to all of AWS (default 256).
    pub requests: NonZeroUsize,
    /// Requests in flight to one service (default 64).
    pub requests_per_service: NonZeroUsize,
    /// Enriching requests in flight for one unit (default 10).
    pub enrichments: NonZeroUsize,
    /// Parents of one unit whose children are listed at once (default 5).
    pub parents: NonZeroUsize,
}

impl Default for Concurrency {
    fn default() -> Self {
        let n = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Self {
            roles: n(20),
            requests: n(256),
            requests_per_service: n(64),
            enrichments: n(10),
            parents: n(5),
        }
    }
}

/// Retries of failed requests.
///
/// The wait before attempt `n + 1` is random between 0 and `base · 2ⁿ`, at most `cap`; longer if the
/// service requests it (`Retry-After`).
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The total number of attempts, including the first (default 10).
    pub attempts: u32,
    /// The scale of the first wait (default 200 ms; three times as long for throttled requests).
    pub base: Duration,
    /// The longest random wait (default 20 s).
    pub cap: Duration,
    /// The longest wait that a service may request (default 60 s).
    pub longest_retry_after: Duration,
    /// The time limit of one attempt, including the body (default 60 s).
    pub attempt_timeout: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(20),
            longest_retry_after: Duration::from_mins(1),
            attempt_timeout: Duration::from_mins(1),
        }
    }
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: {reason}")]
pub struct ConfigError {
    /// The setting, by the name of its environment variable.
    pub setting: &'static str,
    /// The given value, and what is expected.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_found_under_every_name_of_its_service() {
        let url = |text: &str| Url::parse(text).unwrap();
        let overrides = EndpointOverrides::new()
            .all(url("http://all:1"))
            .service("ELASTIC_LOAD_BALANCING_V2", url("http://elb:1"))
            .service("s3", url("http://s3:1"));
        let get = |service| overrides.get(&[service]).unwrap().host_str().unwrap();
        assert_eq!(get("elbv2"), "elb");
        assert_eq!(get("elb"), "all");
        assert_eq!(get("s3"), "s3");
        assert_eq!(get("ec2"), "all");
        assert!(EndpointOverrides::new().get(&["ec2"]).is_none());
    }

    #[test]
    fn no_secret_is_printed() {
        let config = AwsConfig {
            static_keys: Some(StaticKeys {
                access_key_id: "AKIAEXAMPLE".into(),
                secret_access_key: "hush-key".into(),
                session_token: Some("hush-token".into()),
            }),
            external_id: Some("hush-external".into()),
            ..AwsConfig::default()
        };
        let printed = format!("{config:?}");
        assert!(!printed.contains("hush") && !printed.contains("AKIA"), "{printed}");
    }
}
