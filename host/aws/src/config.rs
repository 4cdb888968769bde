//! The settings of the AWS source. Nothing here is read from the environment: the composition root
//! fills it in.

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
/// The default reads the one account that the ambient credentials belong to.
#[derive(Debug, Clone)]
pub struct AwsConfig {
    /// Keys given explicitly (`aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`).
    /// They are the *base identity*: roles are really assumed with them.
    pub static_keys: Option<StaticKeys>,
    /// The web identity token (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`).
    pub web_identity: Option<WebIdentity>,
    /// Which source of the base identity is tried first (`credentialProviderPriority`). Empty: the
    /// order of [`CredentialProvider`].
    pub credential_provider_priority: Vec<CredentialProvider>,
    /// The external ID sent when a role is assumed, where [`external_ids`](Self::external_ids) has
    /// none for the account.
    pub external_id: Option<SecretString>,
    /// External IDs of single accounts.
    pub external_ids: BTreeMap<AccountId, SecretString>,
    /// One role per account to read (`accountRoleArns`). Texts as they were given: one that is no
    /// role ARN but names an account makes that account unreadable and leaves the others alone.
    pub account_role_arns: Vec<String>,
    /// The role through which the organization's accounts are found (`accountRoleArn`). The same
    /// role is then assumed in each of them. Wins over `account_role_arns`.
    pub account_role_arn: Option<String>,
    /// Organizational units to which discovery is limited (`ouId`), nested ones included.
    pub ou_ids: Vec<String>,
    /// A role between the base identity and the accounts' roles (base → hop → member).
    pub hop_role_arn: Option<RoleArn>,
    /// A session policy (JSON, at most 2,048 characters) that scopes down every role assumed in an
    /// account.
    pub session_policy: Option<String>,
    /// The lifetime of an assumed role's credentials. `None` sends nothing: AWS then gives an hour.
    pub session_duration: Option<Duration>,
    /// The partition, where no role ARN names it.
    pub partition: Option<Partition>,
    /// Endpoints that stand in for AWS's own.
    pub endpoints: EndpointOverrides,
    /// Use FIPS endpoints.
    pub fips: bool,
    /// Use dual-stack (IPv4 and IPv6) endpoints.
    pub dual_stack: bool,
    /// Reads of secrets or bulk data that plugins may call all the same, as
    /// `<service>:<Operation>` (`ssm:GetParameter`).
    pub granted_reads: BTreeSet<String>,
    /// Limits of what runs at once.
    pub concurrency: Concurrency,
    /// Retries of failed requests.
    pub retry: Retry,
    /// The bytes of responses that are kept during a resync for kinds that ask the same
    /// (default 64 MiB).
    pub shared_read_bytes: Option<usize>,
    /// The bytes of responses that may be on their way to the mapping, over all units (default 8
    /// MiB). Units that read nothing yet wait then; those that have begun go on, so that it is
    /// exceeded a little.
    pub pending_bytes: Option<usize>,
    /// The most pages of one list (default 10,000). A list with more fails its unit, rather than
    /// being read without end.
    pub max_pages_per_list: u32,
    /// The most bytes of one answer, after decompression (default 256 MiB). A larger one fails what it
    /// was asked for; it is not read to its end.
    pub max_response_bytes: usize,
    /// The time limit of one unit, from the first poll of its stream to its end; waiting for memory and
    /// for the mapping counts (default 1 hour). A unit that takes longer fails.
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
    /// The access key's id.
    pub access_key_id: SecretString,
    /// The secret key.
    pub secret_access_key: SecretString,
    /// The session token of temporary keys.
    pub session_token: Option<SecretString>,
}

/// A token file that an identity provider keeps fresh, as on EKS.
#[derive(Debug, Clone)]
pub struct WebIdentity {
    /// The file with the token. Read again on every refresh.
    pub token_file: PathBuf,
    /// The role that the token is for (`AWS_ROLE_ARN`), if it is set. Its account is read where no account
    /// role is configured, and it assumes the roles that do not trust the identity provider.
    pub role_arn: Option<RoleArn>,
}

/// A source of the base identity, by the names of the integration Berth replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialProvider {
    /// Roles are assumed with the web identity token.
    AssumeRoleWithWebIdentity,
    /// The base identity is [`AwsConfig::static_keys`].
    StaticCredential,
    /// The base identity comes from the ambient chain: environment, profile, web identity, EKS
    /// pod identity or ECS task role, instance profile.
    AssumeRole,
}

impl CredentialProvider {
    /// The order that holds when none is configured.
    pub(crate) const DEFAULT_PRIORITY: [Self; 3] =
        [Self::AssumeRoleWithWebIdentity, Self::StaticCredential, Self::AssumeRole];

    /// The provider's name in `credentialProviderPriority`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::StaticCredential => "StaticCredential",
            Self::AssumeRole => "AssumeRole",
        }
    }

    /// The provider of that name.
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
    /// No override.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends every service's requests to `url`.
    #[must_use]
    pub fn all(mut self, url: Url) -> Self {
        self.all = Some(url);
        self
    }

    /// Sends one service's requests to `url`. The service is written as at the end of the
    /// variable (`S3`, `DYNAMODB`, `ELASTIC_LOAD_BALANCING_V2`) or by its `botocore` name.
    #[must_use]
    pub fn service(mut self, service: &str, url: Url) -> Self {
        self.services.insert(fold(service), url);
        self
    }

    /// An address to which nothing goes encrypted, and which is not this machine.
    pub(crate) fn unprotected(&self) -> Option<&Url> {
        self.all.iter().chain(self.services.values()).find(|url| !is_private(url))
    }

    /// The override for a service, by its `botocore` name or by any name that the caller knows it
    /// under.
    pub fn get(&self, names: &[&str]) -> Option<&Url> {
        let own = names.iter().find_map(|name| {
            let id = SERVICE_IDS.iter().find(|(service, _)| service == name).map(|(_, id)| id);
            [Some(name), id].into_iter().flatten().find_map(|name| self.services.get(&fold(name)))
        });
        own.or(self.all.as_ref())
    }
}

/// The services whose variable is not named after their `botocore` name (botocore 1.44.5: the
/// service id of the models, where it differs by more than case and punctuation).
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

/// `ELASTIC_LOAD_BALANCING_V2`, `Elastic Load Balancing v2` and `elastic-load-balancing-v2` are one
/// name.
fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Upper bounds of what runs at once.
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
/// The wait before attempt `n + 1` is random between nothing and `base · 2ⁿ`, at most `cap`;
/// longer where the service says so (`Retry-After`).
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all, the first included (default 10).
    pub attempts: u32,
    /// The scale of the first wait (default 200 ms; throttled requests wait on a scale three
    /// times as long).
    pub base: Duration,
    /// The longest random wait (default 20 s).
    pub cap: Duration,
    /// The longest wait that a service may ask for (default 60 s).
    pub longest_retry_after: Duration,
    /// The time limit of one attempt, its body included (default 60 s).
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

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: {reason}")]
pub struct ConfigError {
    /// The setting, by the name of its environment variable.
    pub setting: &'static str,
    /// The value that was found, and what is expected.
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
