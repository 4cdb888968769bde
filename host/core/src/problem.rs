//! A failure told to a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong and what to do about it, in words an operator can act on.
///
/// Libraries keep typed errors inside; where an error leaves a seam towards the report it becomes
/// a `Problem`, so that every failure in a summary has the same two parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// What happened, with the cause. Never holds a secret.
    pub message: String,
    /// What the operator can do. May span several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem without a remedy of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None }
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// An error with all its causes, joined by `: `.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
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
        Self::new(message)
    }
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

impl std::error::Error for Problem {}

/// The path of a field, as an error names it. That of a field without a name would be empty.
pub fn place(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    if path.is_empty() { ".".to_owned() } else { path }
}
