//! A failure as people and programs read it: a stable code, the cause, and what to do.

use std::{error::Error, fmt, hash, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])+ $variant:ident = $text:literal,)+) => {
        /// What kind of failure a [`Problem`] is. Its text stands in JSON reports and metric labels, and is the
        /// anchor of the code in the troubleshooting guide. A code keeps its meaning from release to release;
        /// new ones may be added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ProblemCode {
            $($(#[$doc])+ $variant,)+
        }

        impl ProblemCode {
            /// All codes, by area.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its text: the area, a dot, the failure.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

codes! {
    /// AWS denies an operation to the role.
    AwsAccessDenied = "aws.access_denied",
    /// A role cannot be assumed.
    AwsCannotAssumeRole = "aws.cannot_assume_role",
    /// There are no AWS credentials, or AWS does not accept them.
    AwsCredentials = "aws.credentials",
    /// AWS was too busy, or throttled the account, until the retries ended.
    AwsThrottled = "aws.throttled",
    /// No answer came from AWS.
    AwsUnreachable = "aws.unreachable",
    /// The certificate that AWS showed is not trusted.
    AwsTlsUntrusted = "aws.tls_untrusted",
    /// The service does not exist in the region.
    AwsNotInRegion = "aws.not_in_region",
    /// An answer of AWS is cut off, incomplete or not what AWS's model says.
    AwsInvalidAnswer = "aws.invalid_answer",
    /// AWS answered with an error of another kind.
    AwsError = "aws.error",
    /// The accounts to read are not known.
    AwsAccountsUnknown = "aws.accounts_unknown",
    /// The account is suspended or pending in its organization.
    AwsAccountInactive = "aws.account_inactive",
    /// The enabled regions of an account are not known.
    AwsRegionsUnknown = "aws.regions_unknown",
    /// The selector leaves no region to read.
    AwsNoRegion = "aws.no_region",
    /// The operation returns secrets or bulk data, and the settings do not grant it.
    AwsReadNotGranted = "aws.read_not_granted",
    /// A unit took longer to read than it may.
    AwsDeadline = "aws.deadline",

    /// Port does not accept the client id or the client secret.
    PortUnauthorized = "port.unauthorized",
    /// Port denies a call to these credentials.
    PortForbidden = "port.forbidden",
    /// Something that a call names does not exist in Port.
    PortNotFound = "port.not_found",
    /// Port refuses what a call carries.
    PortRefused = "port.refused",
    /// Port is too busy or cannot answer now.
    PortUnavailable = "port.unavailable",
    /// No answer came from Port.
    PortUnreachable = "port.unreachable",
    /// The certificate that Port showed is not trusted.
    PortTlsUntrusted = "port.tls_untrusted",
    /// An answer of Port is not what its contract says.
    PortInvalidAnswer = "port.invalid_answer",
    /// The integration does not exist in Port, or is not what Berth expects.
    PortIntegration = "port.integration",
    /// Somebody else owns an entity of the same identifier.
    PortForeignOwner = "port.foreign_owner",
    /// An entity cannot be deleted, because others depend on it.
    PortHasDependents = "port.has_dependents",
    /// Port did not take raw data.
    PortRawData = "port.raw_data",
    /// Port has no Kafka for this organization.
    PortKafka = "port.kafka",
    /// The message broker cannot be used.
    KafkaUnavailable = "kafka.unavailable",

    /// The integration's mapping in Port is missing or not valid.
    MappingInvalid = "mapping.invalid",
    /// The mapping failed for a resource.
    MappingFailed = "mapping.failed",
    /// What the mapping makes cannot be written to Port.
    MappingUnfit = "mapping.unfit",
    /// The mapping needs the JQ component, which is not installed.
    MappingNeedsJq = "mapping.needs_jq",

    /// No plugin maps the kind.
    PluginMissing = "plugin.missing",
    /// The file is no plugin, or its manifest is wrong.
    PluginInvalid = "plugin.invalid",
    /// The plugin was built for another version of the contract, or imports what no plugin may import.
    PluginIncompatible = "plugin.incompatible",
    /// Two plugins map one kind.
    PluginDuplicate = "plugin.duplicate",
    /// The plugin is not approved, or not signed by a key that counts.
    PluginNotTrusted = "plugin.not_trusted",
    /// The plugin trapped.
    PluginTrap = "plugin.trap",
    /// The plugin ran too long, took too much memory or returned too much.
    PluginLimit = "plugin.limit",
    /// What the plugin returned cannot be read.
    PluginInvalidOutput = "plugin.invalid_output",
    /// The plugin's fetch plan asks for something impossible.
    PluginPlan = "plugin.plan",
    /// The plugin cannot run in the process that the settings ask for.
    PluginIsolation = "plugin.isolation",
    /// A component cannot be compiled, or its compiled code cannot be used.
    PluginCompile = "plugin.compile",
    /// A plugin's folder cannot be built.
    PluginBuild = "plugin.build",
    /// A registry does not give or take a plugin.
    RegistryFailed = "registry.failed",

    /// The state directory is in use by another process.
    StateInUse = "state.in_use",
    /// The state directory cannot be used.
    StateUnusable = "state.unusable",
    /// A newer version of Berth wrote the state directory.
    StateNewer = "state.newer",

    /// A deletion is kept back: it is not certain that the entities are gone.
    DeletionUnproven = "deletion.unproven",
    /// A deletion is kept back: it is larger than a limit allows.
    DeletionLimit = "deletion.limit",
    /// The resync was stopped.
    ResyncStopped = "resync.stopped",
    /// Another resync has taken this one's place.
    ResyncSuperseded = "resync.superseded",
    /// A plan cannot be applied.
    PlanUnusable = "plan.unusable",

    /// A setting is missing or not valid.
    SettingsInvalid = "settings.invalid",
    /// An argument of a command is not valid.
    CommandArgument = "command.argument",
    /// A file cannot be read.
    FileUnreadable = "file.unreadable",
    /// A file cannot be written.
    FileUnwritable = "file.unwritable",
    /// The service cannot listen at its address.
    ServiceAddress = "service.address",
    /// A recording does not hold what is asked of it, or is damaged.
    RecordingUnusable = "recording.unusable",
    /// A defect of Berth.
    Internal = "internal",
    /// None of these: a failure that an embedding program reports, or one of a version that knows more codes.
    Other = "other",
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProblemCode {
    type Err = std::convert::Infallible;

    /// The code of a text; [`Other`](Self::Other) for one that this version does not know.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Self::Other))
    }
}

impl Serialize for ProblemCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProblemCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(text.parse().unwrap_or(Self::Other))
    }
}

/// What went wrong and what to do about it, in words an operator can act on, with a code that programs can
/// match on.
///
/// Libraries keep typed errors inside; where an error leaves a trait of `berth_core` it becomes
/// a `Problem`, so that every failure in a summary has the same parts. Nothing is decided on the texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of failure it is.
    #[serde(default = "other")]
    pub code: ProblemCode,
    /// What happened, with the cause. Never holds a secret.
    pub message: String,
    /// What the operator can do. May span several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The typed error behind it, where one is at hand; its text is part of the message.
    #[serde(skip)]
    pub cause: Cause,
}

/// Of problems that were written before there were codes.
fn other() -> ProblemCode {
    ProblemCode::Other
}

impl Problem {
    /// A problem without a remedy of its own.
    pub fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None, cause: Cause::default() }
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same problem, with the typed error behind it.
    #[must_use]
    pub fn caused_by(mut self, error: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Cause(Some(Arc::new(error)));
        self
    }

    /// The same problem with another message, made of the one it has.
    #[must_use]
    pub fn map_message(mut self, message: impl FnOnce(&str) -> String) -> Self {
        self.message = message(&self.message);
        self
    }

    /// An error with all its causes for a message.
    pub fn from_error(code: ProblemCode, error: &dyn Error) -> Self {
        Self::new(code, error_chain(error))
    }
}

/// An error with all its causes, joined by `: `.
pub fn error_chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text; saying it twice helps nobody.
        if !message.contains(&cause_text) {
            message.push_str(": ");
            message.push_str(&cause_text);
        }
        source = cause.source();
    }
    message
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.error()
    }
}

/// The error behind a problem. It has no part in comparing problems, and is not written to reports.
#[derive(Debug, Clone, Default)]
pub struct Cause(Option<Arc<dyn Error + Send + Sync>>);

impl Cause {
    /// The error, for those who know its type.
    pub fn error(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|error| error as _)
    }
}

impl PartialEq for Cause {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cause {}

impl hash::Hash for Cause {
    fn hash<H: hash::Hasher>(&self, _: &mut H) {}
}

/// The path of a field, as an error names it. That of a field without a name would be empty.
pub fn place(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    if path.is_empty() { ".".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_texts_of_their_own_that_are_read_again() {
        let mut texts: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        for code in ProblemCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || "._".contains(c)), "{code}");
        }
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ProblemCode::ALL.len());
    }

    /// The guide is where people look a code up.
    #[test]
    fn each_code_has_its_place_in_the_troubleshooting_guide() {
        let guide = include_str!("../../../examples/guides/troubleshooting.md");
        let anchors: Vec<&str> =
            guide.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(anchors, codes);
    }

    #[test]
    fn a_problem_is_read_as_it_was_written() {
        let problem = Problem::new(ProblemCode::AwsAccessDenied, "denied").remedy("allow it");
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(json, r#"{"code":"aws.access_denied","message":"denied","remedy":"allow it"}"#);
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
        // By an older version, and by a newer one.
        for (json, message) in
            [(r#"{"message":"of old"}"#, "of old"), (r#"{"code":"aws.on_strike","message":"new"}"#, "new")]
        {
            let problem = serde_json::from_str::<Problem>(json).unwrap();
            assert_eq!((problem.code, problem.message.as_str()), (ProblemCode::Other, message));
        }
    }

    #[test]
    fn the_cause_can_be_asked_for_by_its_type() {
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let problem = Problem::new(ProblemCode::StateUnusable, "full").caused_by(error);
        let cause = problem.cause.error().and_then(|error| error.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
        assert_eq!(problem, Problem::new(ProblemCode::StateUnusable, "full"));
    }
}
