//! The identity behind credentials.

use berth_core::{AccountId, Partition};

/// The base identity, as STS reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerIdentity {
    pub(crate) account: AccountId,
    pub(crate) arn: String,
    pub(crate) partition: Partition,
}

impl CallerIdentity {
    /// The principal as a trust policy names it: the role, not its session.
    pub(crate) fn principal(&self) -> String {
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        match parts[..] {
            ["arn", partition, "sts", _, account, resource] => {
                match resource.strip_prefix("assumed-role/").and_then(|rest| rest.split('/').next()) {
                    // The path of a role is not part of a session's ARN; the name is enough to find it.
                    Some(role) => format!("arn:{partition}:iam::{account}:role/{role}"),
                    None => self.arn.clone(),
                }
            }
            _ => self.arn.clone(),
        }
    }
}
