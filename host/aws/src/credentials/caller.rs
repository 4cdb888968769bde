//! The identity of credentials.

use berth_core::{AccountId, Partition};

/// The base identity, as STS reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerIdentity {
    pub(crate) account: AccountId,
    pub(crate) arn: String,
    pub(crate) partition: Partition,
}

impl CallerIdentity {
    /// Returns the principal as a trust policy names it: the role, not its session.
    pub(crate) fn principal(&self) -> String {
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        match parts[..] {
            ["arn", partition, "sts", _, account, resource] => {
                match resource.strip_prefix("assumed-role/").and_then(|rest| rest.split('/').next()) {
                    // The ARN of a session does not contain the path of the role; the name is enough to
                    // identify it.
                    Some(role) => format!("arn:{partition}:iam::{account}:role/{role}"),
                    None => self.arn.clone(),
                }
            }
            _ => self.arn.clone(),
        }
    }
}
