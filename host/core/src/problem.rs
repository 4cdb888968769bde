//! A failure for people and programs: a stable code, the cause, and a remedy.

use std::{error::Error, fmt, hash, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of failure of a [`Problem`]. Its text appears in JSON reports and metric labels, and is the
/// anchor of the code in the troubleshooting guide. A code keeps its meaning across releases; new codes may
/// be added.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[non_exhaustive]
pub enum ProblemCode {
    /// AWS denies an operation to the role.
    #[strum(serialize = "aws.access_denied")]
    AwsAccessDenied,
    /// A role cannot be assumed.
    #[strum(serialize = "aws.cannot_assume_role")]
    AwsCannotAssumeRole,
    /// There are no AWS credentials, or AWS rejects them.
    #[strum(serialize = "aws.credentials")]
    AwsCredentials,
    /// AWS was too busy or throttled the account, and the retries ended.
    #[strum(serialize = "aws.throttled")]
    AwsThrottled,
    /// AWS did not respond.
    #[strum(serialize = "aws.unreachable")]
    AwsUnreachable,
    /// The certificate that AWS presented is not trusted.
    #[strum(serialize = "aws.tls_untrusted")]
    AwsTlsUntrusted,
    /// The service does not exist in the region.
    #[strum(serialize = "aws.not_in_region")]
    AwsNotInRegion,
    /// A response of AWS is truncated, incomplete, or does not match AWS's model.
    #[strum(serialize = "aws.invalid_answer")]
    AwsInvalidAnswer,
    /// AWS returned an error of another kind.
    #[strum(serialize = "aws.error")]
    AwsError,
    /// The accounts to read are unknown.
    #[strum(serialize = "aws.accounts_unknown")]
    AwsAccountsUnknown,
    /// The account is suspended or pending in its organization.
    #[strum(serialize = "aws.account_inactive")]
    AwsAccountInactive,
    /// The enabled regions of an account are unknown.
    #[strum(serialize = "aws.regions_unknown")]
    AwsRegionsUnknown,
    /// The selector leaves no region to read.
    #[strum(serialize = "aws.no_region")]
    AwsNoRegion,
    /// The operation returns secrets or bulk data, and the settings do not grant it.
    #[strum(serialize = "aws.read_not_granted")]
    AwsReadNotGranted,
    /// Reading a unit exceeded the time limit.
    #[strum(serialize = "aws.deadline")]
    AwsDeadline,

    /// Port rejects the client id or the client secret.
    #[strum(serialize = "port.unauthorized")]
    PortUnauthorized,
    /// Port denies a call to these credentials.
    #[strum(serialize = "port.forbidden")]
    PortForbidden,
    /// Something that a call refers to does not exist in Port.
    #[strum(serialize = "port.not_found")]
    PortNotFound,
    /// Port rejects the content of a call.
    #[strum(serialize = "port.refused")]
    PortRefused,
    /// Port is too busy or temporarily unavailable.
    #[strum(serialize = "port.unavailable")]
    PortUnavailable,
    /// Port did not respond.
    #[strum(serialize = "port.unreachable")]
    PortUnreachable,
    /// The certificate that Port presented is not trusted.
    #[strum(serialize = "port.tls_untrusted")]
    PortTlsUntrusted,
    /// A response of Port does not match its contract.
    #[strum(serialize = "port.invalid_answer")]
    PortInvalidAnswer,
    /// The integration does not exist in Port, or is not what Berth expects.
    #[strum(serialize = "port.integration")]
    PortIntegration,
    /// Someone else owns an entity with the same identifier.
    #[strum(serialize = "port.foreign_owner")]
    PortForeignOwner,
    /// An entity cannot be deleted, because other entities depend on it.
    #[strum(serialize = "port.has_dependents")]
    PortHasDependents,
    /// Port did not accept raw data.
    #[strum(serialize = "port.raw_data")]
    PortRawData,
    /// Port has no Kafka for this organization.
    #[strum(serialize = "port.kafka")]
    PortKafka,
    /// The message broker cannot be used.
    #[strum(serialize = "kafka.unavailable")]
    KafkaUnavailable,

    /// The integration's mapping in Port is missing or invalid.
    #[strum(serialize = "mapping.invalid")]
    MappingInvalid,
    /// The mapping failed for a resource.
    #[strum(serialize = "mapping.failed")]
    MappingFailed,
    /// The output of the mapping cannot be written to Port.
    #[strum(serialize = "mapping.unfit")]
    MappingUnfit,
    /// The mapping needs the JQ component, which is not installed.
    #[strum(serialize = "mapping.needs_jq")]
    MappingNeedsJq,

    /// No plugin maps the kind.
    #[strum(serialize = "plugin.missing")]
    PluginMissing,
    /// The file is not a plugin, or its manifest is invalid.
    #[strum(serialize = "plugin.invalid")]
    PluginInvalid,
    /// The plugin was built for another version of the contract, or imports a forbidden interface.
    #[strum(serialize = "plugin.incompatible")]
    PluginIncompatible,
    /// Two plugins map the same kind.
    #[strum(serialize = "plugin.duplicate")]
    PluginDuplicate,
    /// The plugin is not approved, or not signed by a trusted key.
    #[strum(serialize = "plugin.not_trusted")]
    PluginNotTrusted,
    /// The plugin trapped.
    #[strum(serialize = "plugin.trap")]
    PluginTrap,
    /// The plugin ran too long, used too much memory or returned too much.
    #[strum(serialize = "plugin.limit")]
    PluginLimit,
    /// The output of the plugin is invalid.
    #[strum(serialize = "plugin.invalid_output")]
    PluginInvalidOutput,
    /// The plugin's fetch plan is not possible.
    #[strum(serialize = "plugin.plan")]
    PluginPlan,
    /// The plugin cannot run in the separate process that the settings require.
    #[strum(serialize = "plugin.isolation")]
    PluginIsolation,
    /// A component cannot be compiled, or its compiled code cannot be used.
    #[strum(serialize = "plugin.compile")]
    PluginCompile,
    /// The plugin's folder cannot be built.
    #[strum(serialize = "plugin.build")]
    PluginBuild,
    /// A registry could not serve or accept a plugin.
    #[strum(serialize = "registry.failed")]
    RegistryFailed,

    /// The state directory is in use by another process.
    #[strum(serialize = "state.in_use")]
    StateInUse,
    /// The state directory cannot be used.
    #[strum(serialize = "state.unusable")]
    StateUnusable,
    /// A newer version of Berth wrote the state directory.
    #[strum(serialize = "state.newer")]
    StateNewer,

    /// A deletion was skipped: it is not certain that the resources no longer exist.
    #[strum(serialize = "deletion.unproven")]
    DeletionUnproven,
    /// A deletion was skipped: it exceeds a limit.
    #[strum(serialize = "deletion.limit")]
    DeletionLimit,
    /// The resync was stopped.
    #[strum(serialize = "resync.stopped")]
    ResyncStopped,
    /// Another resync has replaced this one.
    #[strum(serialize = "resync.superseded")]
    ResyncSuperseded,
    /// A plan cannot be applied.
    #[strum(serialize = "plan.unusable")]
    PlanUnusable,

    /// A setting is missing or invalid.
    #[strum(serialize = "settings.invalid")]
    SettingsInvalid,
    /// An argument of a command is invalid.
    #[strum(serialize = "command.argument")]
    CommandArgument,
    /// A file cannot be read.
    #[strum(serialize = "file.unreadable")]
    FileUnreadable,
    /// A file cannot be written.
    #[strum(serialize = "file.unwritable")]
    FileUnwritable,
    /// The service cannot listen at its address.
    #[strum(serialize = "service.address")]
    ServiceAddress,
    /// A recording is damaged, or does not contain the requested data.
    #[strum(serialize = "recording.unusable")]
    RecordingUnusable,
    /// A bug in Berth.
    #[strum(serialize = "internal")]
    Internal,
    /// Any other failure: one that an embedding program reports, or a code that this version does not know.
    #[strum(serialize = "other")]
    Other,
}

impl ProblemCode {
    /// All codes, by area.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Returns its text: the area, a dot, the failure.
    pub fn as_str(self) -> &'static str {
        self.into()
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

/// What went wrong and what to do about it, in words that an operator can act on, with a code that programs
/// can match on.
///
/// Libraries use typed errors internally; an error that leaves a trait of `berth_core` becomes a `Problem`,
/// so that every failure in a summary has the same parts. No code makes decisions based on the texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of failure.
    #[serde(default = "other")]
    pub code: ProblemCode,
    /// What happened, with the cause. Never contains a secret.
    pub message: String,
    /// What the operator can do. May span several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The typed error behind it, if there is one; its text is part of the message.
    #[serde(skip)]
    pub cause: Cause,
}

/// The code of problems that were stored before codes existed.
fn other() -> ProblemCode {
    ProblemCode::Other
}

impl Problem {
    /// Creates a problem without a remedy.
    pub fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None, cause: Cause::default() }
    }

    /// Adds a remedy to the problem.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the typed error behind the problem.
    #[must_use]
    pub fn caused_by(mut self, error: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Cause(Some(Arc::new(error)));
        self
    }

    /// Changes the message of the problem.
    #[must_use]
    pub fn map_message(mut self, message: impl FnOnce(&str) -> String) -> Self {
        self.message = message(&self.message);
        self
    }

    /// Creates a problem whose message is an error with all its causes.
    pub fn from_error(code: ProblemCode, error: &dyn Error) -> Self {
        Self::new(code, error_chain(error))
    }
}

/// Returns an error with all its causes, joined by `: `.
pub fn error_chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries include the cause in their own text: do not repeat it.
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

/// The error behind a problem. Ignored when problems are compared, and not written to reports.
#[derive(Debug, Clone, Default)]
pub struct Cause(Option<Arc<dyn Error + Send + Sync>>);

impl Cause {
    /// Returns the error, for callers that know its type.
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

/// Returns the path of a field as errors show it. The path of a field without a name would be empty.
pub fn place(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    if path.is_empty() { ".".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_unique_texts_that_survive_a_round_trip() {
        let mut texts: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        for code in ProblemCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || "._".contains(c)), "{code}");
        }
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ProblemCode::ALL.len());
    }

    /// Users look a code up in the guide.
    #[test]
    fn each_code_is_in_the_troubleshooting_guide() {
        let guide = include_str!("../../../examples/guides/troubleshooting.md");
        let anchors: Vec<&str> =
            guide.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(anchors, codes);
    }

    #[test]
    fn a_problem_survives_a_round_trip() {
        let problem = Problem::new(ProblemCode::AwsAccessDenied, "denied").remedy("allow it");
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(json, r#"{"code":"aws.access_denied","message":"denied","remedy":"allow it"}"#);
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
        // Written by an older version, and by a newer one.
        for (json, message) in
            [(r#"{"message":"of old"}"#, "of old"), (r#"{"code":"aws.on_strike","message":"new"}"#, "new")]
        {
            let problem = serde_json::from_str::<Problem>(json).unwrap();
            assert_eq!((problem.code, problem.message.as_str()), (ProblemCode::Other, message));
        }
    }

    #[test]
    fn the_cause_is_available_by_its_type() {
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let problem = Problem::new(ProblemCode::StateUnusable, "full").caused_by(error);
        let cause = problem.cause.error().and_then(|error| error.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
        assert_eq!(problem, Problem::new(ProblemCode::StateUnusable, "full"));
    }
}
