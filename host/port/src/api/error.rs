//! Why a call to Port failed, and the remedy.

use std::fmt;

use berth_core::{CatalogError, Problem, ProblemCode};
use berth_http::{Peer, TransportError};
use serde::Deserialize;
use serde_json::Value;

/// A failed call. Never holds a secret or a token.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PortError {
    /// No response, or an incomplete one.
    #[error("could not {call}: no response from Port: {error}")]
    Transport { call: CallName, error: TransportError },
    /// A refusal.
    #[error("{0}")]
    Refused(PortErrorResponse),
    /// A response that violates the contract.
    #[error("could not {call}: Port's response is not understood: {reason}")]
    Malformed { call: CallName, reason: String },
    /// The token call was refused: nothing else can work.
    #[error("Port refused the client id or the client secret: {0}")]
    Credentials(PortErrorResponse),
    /// The resync was stopped first.
    #[error("could not {call}: stopped before Port responded")]
    Stopped { call: CallName },
    /// Another problem, with its own message.
    #[error("{0}")]
    Other(Problem),
}

/// The action of a call, for messages: `upsert entities of ec2Instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallName {
    pub(crate) name: &'static str,
    pub(crate) subject: Option<String>,
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match &self.subject {
            Some(subject) => write!(f, " `{subject}`"),
            None => Ok(()),
        }
    }
}

/// Port's refusal.
#[derive(Debug, Clone)]
pub(crate) struct PortErrorResponse {
    pub(crate) call: CallName,
    pub(crate) status: u16,
    /// Port's `error`: a word such as `not_found`.
    pub(crate) error: Option<String>,
    /// Port's `message`: a sentence.
    pub(crate) message: Option<String>,
    /// Whether it says that a newer resync has replaced this one.
    pub(crate) stale: bool,
    pub(crate) trace_id: Option<String>,
}

impl fmt::Display for PortErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: Port returned {}", self.call, self.status)?;
        if let Some(error) = &self.error {
            write!(f, " {error}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(trace_id) = &self.trace_id {
            write!(f, " [trace {trace_id}]")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ErrorReply {
    #[serde(default)]
    pub(crate) error: Value,
    #[serde(default)]
    pub(crate) message: Value,
    #[serde(default)]
    pub(crate) code: Value,
}

impl ErrorReply {
    /// Returns whether it is about a resync that a newer one has replaced. The word is in one of several
    /// places.
    pub(crate) fn is_stale(&self) -> bool {
        let places = [&self.error["code"], &self.error["name"], &self.code, &self.error];
        places.into_iter().any(|word| word == "resync_stale")
    }
}

const CREDENTIALS_REMEDY: &str = "Check OCEAN__PORT__CLIENT_ID and OCEAN__PORT__CLIENT_SECRET (in Port: the \
     … menu, Credentials), and that OCEAN__PORT__BASE_URL names the region of your organization: \
     https://api.getport.io for the EU, https://api.us.getport.io for the US.";

/// Port, for remedies.
const PORT: Peer = Peer {
    name: "Port",
    address: "`OCEAN__PORT__BASE_URL`",
    roots: "`SSL_CERT_FILE`",
    unreachable: ProblemCode::PortUnreachable,
    untrusted: ProblemCode::PortTlsUntrusted,
};

impl PortError {
    /// Returns the HTTP status, if Port refused the call.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// Returns whether Port rejects a query, as opposed to having no time or no valid token for it.
    pub(crate) fn refuses_the_query(&self) -> bool {
        self.status().is_some_and(|status| (400..500).contains(&status) && !matches!(status, 401 | 408 | 429))
    }

    /// Returns the code of the problem.
    fn code(&self) -> ProblemCode {
        match self {
            Self::Transport { error, .. } => error.code(PORT),
            Self::Refused(refusal) => refusal.code(),
            Self::Malformed { .. } => ProblemCode::PortInvalidAnswer,
            Self::Credentials(_) => ProblemCode::PortUnauthorized,
            Self::Stopped { .. } => ProblemCode::ResyncStopped,
            Self::Other(problem) => problem.code,
        }
    }

    /// Converts the failure for the operator.
    pub(crate) fn into_problem(self) -> Problem {
        let problem = Problem::new(self.code(), self.to_string());
        match self {
            Self::Other(problem) => problem,
            Self::Stopped { .. } => problem.remedy("Run the sync again."),
            Self::Credentials(_) => problem.remedy(CREDENTIALS_REMEDY),
            Self::Transport { error, .. } => problem.remedy(error.remedy(PORT)).caused_by(error),
            Self::Malformed { .. } => problem
                .remedy("Check that OCEAN__PORT__BASE_URL is Port's API and that no proxy responds instead."),
            Self::Refused(refusal) => match refusal.remedy() {
                Some(remedy) => problem.remedy(remedy),
                None => problem,
            },
        }
    }
}

impl PortErrorResponse {
    /// Returns the code of the problem, by status.
    fn code(&self) -> ProblemCode {
        match self.status {
            _ if self.stale => ProblemCode::ResyncSuperseded,
            _ if self.error.as_deref() == Some("has_dependents") => ProblemCode::PortHasDependents,
            401 => ProblemCode::PortUnauthorized,
            403 => ProblemCode::PortForbidden,
            404 | 410 => ProblemCode::PortNotFound,
            408 | 429 | 500..=599 => ProblemCode::PortUnavailable,
            _ => ProblemCode::PortRefused,
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        if self.error.as_deref() == Some("has_dependents") {
            return Some(
                "Another entity relates to it: set `deleteDependentEntities: true` in the mapping, or \
                delete the other entity in Port first.",
            );
        }
        let unfit =
            [&self.error, &self.message].into_iter().flatten().any(|text| text.contains("match pattern"));
        match self.status {
            400 | 422 if unfit => Some(
                "Change the value in the mapping, as in `<expression> | gsub(\"[^A-Za-z0-9@_.+:/=-]\"; \
                \"-\")`.",
            ),
            401 => Some(CREDENTIALS_REMEDY),
            403 => Some(
                "The credentials of OCEAN__PORT__CLIENT_ID lack the permission; use those of the \
                organization, or have its admin grant the permission.",
            ),
            404 => Some(
                "Check in Port's builder that the blueprint and the integration in this message \
                exist.",
            ),
            400 | 422 => {
                Some("Compare the mapping's values with the blueprint's properties in Port's builder.")
            }
            408 | 429 | 500..=599 => {
                Some("Run the sync again later; see Port's status at https://status.port.io.")
            }
            _ => None,
        }
    }
}

impl From<PortError> for CatalogError {
    fn from(error: PortError) -> Self {
        Self(error.into_problem())
    }
}
