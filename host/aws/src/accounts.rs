//! Finds the accounts to read, and the role for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use berth_core::{
    Account, AccountId, ErrorClass, NO_ORGANIZATION, Partition, Problem, ProblemCode, Region, RoleArn,
    main_region,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    AwsConfig, ConfigError,
    client::{AwsClient, RegionalSession},
    credentials::{AccountSession, Identities, session_names},
    errors::{AWS, CallError},
};

/// The number of organizational units that are listed at once.
const UNITS_AT_ONCE: usize = 10;

/// The strategy for finding accounts.
#[derive(Debug, Clone)]
pub(crate) enum Strategy {
    /// The account of the base identity.
    Single,
    /// One role per account.
    Roles(Vec<RoleEntry>),
    /// All accounts of an organization, or of some of its units.
    Organization { role: RoleArn, units: Vec<String> },
}

/// One entry of `accountRoleArns`.
#[derive(Debug, Clone)]
pub(crate) enum RoleEntry {
    Role(RoleArn),
    /// Not a usable role. Its account is known, so its entities are protected.
    Unusable(AccountId, Problem),
}

/// An account and, if it can be read, its credentials.
pub(crate) struct ListedAccount {
    pub(crate) account: Arc<Account>,
    pub(crate) session: Result<Arc<AccountSession>, Problem>,
}

const ROLE_ARNS: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS";
const ROLE_ARN: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARN";

impl Strategy {
    /// Reads the strategy and the partition from the settings.
    pub(crate) fn of(config: &AwsConfig) -> Result<(Self, Partition), ConfigError> {
        if let Some(text) = config.account_role_arn.as_deref().map(str::trim).filter(|text| !text.is_empty())
        {
            let role = RoleArn::new(text)
                .map_err(|error| ConfigError { setting: ROLE_ARN, reason: error.to_string() })?;
            let partition = config.partition.unwrap_or(role.partition());
            let units: Vec<String> = config.ou_ids.iter().map(|unit| unit.trim().to_owned()).collect();
            return Ok((Self::Organization { role, units }, partition));
        }
        let texts: Vec<&str> =
            config.account_role_arns.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
        let first = texts.iter().find_map(|text| RoleArn::new(text).ok());
        let partition = config.partition.or(first.map(|role| role.partition())).unwrap_or_default();
        if texts.is_empty() {
            return Ok((Self::Single, partition));
        }
        let mut entries = Vec::new();
        let mut seen = BTreeMap::<AccountId, &str>::new();
        for text in texts {
            let (account, entry) = entry(text, partition)?;
            match seen.get(&account) {
                None => {
                    seen.insert(account, text);
                    entries.push(entry);
                }
                Some(first) if *first == text => {}
                Some(first) => tracing::warn!(
                    %account, used = first, ignored = text,
                    "account has several roles; its resources are read once, with the first"
                ),
            }
        }
        Ok((Self::Roles(entries), partition))
    }
}

fn entry(text: &str, partition: Partition) -> Result<(AccountId, RoleEntry), ConfigError> {
    match RoleArn::new(text) {
        Ok(role) if role.partition() == partition => Ok((role.account().clone(), RoleEntry::Role(role))),
        Ok(role) => {
            let problem = Problem::new(
                ProblemCode::SettingsInvalid,
                format!(
                    "{role} is in partition {}, but this deployment reads partition {partition}",
                    role.partition()
                ),
            )
            .remedy("deploy Berth once per partition");
            Ok((role.account().clone(), RoleEntry::Unusable(role.account().clone(), problem)))
        }
        Err(error) => {
            // The twelve digits name the account whose entities are protected, regardless of their
            // position.
            let account = text
                .split(|c: char| !c.is_ascii_digit())
                .find_map(|digits| AccountId::new(digits).ok())
                .ok_or_else(|| ConfigError { setting: ROLE_ARNS, reason: error.to_string() })?;
            let problem = Problem::new(ProblemCode::SettingsInvalid, error.to_string())
                .remedy(format!("correct it in `{ROLE_ARNS}`"));
            Ok((account.clone(), RoleEntry::Unusable(account, problem)))
        }
    }
}

/// The accounts that discovery found.
pub(crate) struct Discovered {
    pub(crate) members: Vec<ListedAccount>,
    /// The session that may query the organization, if there is one.
    pub(crate) management: Option<(AccountId, Arc<AccountSession>)>,
}

impl From<Vec<ListedAccount>> for Discovered {
    fn from(members: Vec<ListedAccount>) -> Self {
        Self { members, management: None }
    }
}

/// Finds the accounts and authenticates to each.
pub(crate) struct Discovery<'a> {
    pub(crate) identities: &'a Identities,
    pub(crate) client: &'a Arc<AwsClient>,
    pub(crate) strategy: &'a Strategy,
    pub(crate) partition: Partition,
    /// The number of roles that are assumed at once.
    pub(crate) at_once: usize,
}

impl Discovery<'_> {
    /// Returns all accounts, in the order of the settings or of the organization.
    ///
    /// # Errors
    /// A [`Problem`] if the accounts are unknown.
    pub(crate) async fn run(&self) -> Result<Discovered, Problem> {
        match self.strategy {
            Strategy::Single => self.single().await.map(|member| vec![member].into()),
            Strategy::Roles(entries) => {
                let members = stream::iter(entries.iter().cloned().map(|entry| self.explicit(entry)));
                Ok(members.buffered(self.at_once).collect::<Vec<_>>().await.into())
            }
            Strategy::Organization { role, units } => self.organization(role, units).await,
        }
    }

    async fn single(&self) -> Result<ListedAccount, Problem> {
        let caller = self.identities.caller().await?;
        Ok(ListedAccount {
            account: Arc::new(Account::unnamed(caller.account.clone(), caller.partition)),
            session: Ok(self.identities.base()?.clone()),
        })
    }

    async fn explicit(&self, entry: RoleEntry) -> ListedAccount {
        let (account, session) = match entry {
            RoleEntry::Unusable(account, problem) => (account, Err(problem)),
            RoleEntry::Role(role) => {
                (role.account().clone(), self.identities.assume(&role, session_names::ROLE).await)
            }
        };
        ListedAccount { account: Arc::new(Account::unnamed(account, self.partition)), session }
    }

    async fn organization(&self, role: &RoleArn, units: &[String]) -> Result<Discovered, Problem> {
        let management = self.identities.assume(role, session_names::ORGANIZATION).await?;
        let region = Region::new(main_region(self.partition))
            .map_err(|error| Problem::from_error(ProblemCode::AwsAccountsUnknown, &error))?;
        let target = RegionalSession {
            account: role.account().clone(),
            region,
            session: management.clone(),
            metrics: None,
        };
        let found = match self.list(&target, units).await {
            Ok(found) => found,
            // Without an organization, there is no other account to miss. Any other failure leaves the
            // accounts unknown: if only one of them were read, the entities of the others would look
            // deleted.
            Err(error) if error.code() == Some(NO_ORGANIZATION) && units.is_empty() => {
                tracing::info!(account = %role.account(), "no organization is in use; reading this account only");
                let account = Arc::new(Account::unnamed(role.account().clone(), self.partition));
                return Ok(vec![ListedAccount { account, session: Ok(management) }].into());
            }
            Err(error) => return Err(cannot_list(role, units, &error)),
        };
        if found.is_empty() {
            return Err(Problem::new(
                ProblemCode::AwsAccountsUnknown,
                "found no accounts in the organization",
            )
            .remedy("check `OCEAN__INTEGRATION__CONFIG__OU_ID`: these units contain no account"));
        }
        let members = stream::iter(found.into_values().map(|found| self.member(role, found)))
            .buffered(self.at_once)
            .collect()
            .await;
        Ok(Discovered { members, management: Some((role.account().clone(), management)) })
    }

    async fn member(&self, role: &RoleArn, found: Found) -> ListedAccount {
        let session = match found.state.as_str() {
            "ACTIVE" => self.identities.assume(&role.in_account(&found.account.id), session_names::MEMBER).await,
            state => Err(Problem::new(ProblemCode::AwsAccountInactive, format!("account {} is {state} in the organization", found.account.id))
                .remedy("Berth keeps its entities while it is in the organization; to have them deleted, remove the account from the organization, or exclude it by organizational units")),
        };
        ListedAccount { account: Arc::new(found.account), session }
    }

    async fn list(
        &self,
        target: &RegionalSession,
        units: &[String],
    ) -> Result<BTreeMap<AccountId, Found>, CallError> {
        let mut found = BTreeMap::new();
        if units.is_empty() {
            let listed =
                self.client.all(target, "organizations", "ListAccounts", json!({}), "Accounts").await?;
            self.keep(&mut found, listed)?;
            return Ok(found);
        }
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut level: Vec<String> = units.to_vec();
        while !level.is_empty() {
            level.retain(|unit| seen.insert(unit.clone()));
            let answers = stream::iter(level.drain(..).map(|unit| async move {
                let input = json!({"ParentId": unit});
                let list = |operation, items| {
                    self.client.all(target, "organizations", operation, input.clone(), items)
                };
                futures::try_join!(
                    list("ListAccountsForParent", "Accounts"),
                    list("ListOrganizationalUnitsForParent", "OrganizationalUnits")
                )
            }))
            .buffered(UNITS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
            for answer in answers {
                let (accounts, nested) = answer?;
                self.keep(&mut found, accounts)?;
                level.extend(nested.iter().filter_map(|unit| text(unit, "Id")).map(str::to_owned));
            }
        }
        Ok(found)
    }

    /// Each entry must be an account: a skipped entry would look like an account that left.
    fn keep(&self, found: &mut BTreeMap<AccountId, Found>, listed: Vec<Value>) -> Result<(), CallError> {
        for account in listed {
            let id =
                text(&account, "Id").and_then(|id| AccountId::new(id).ok()).ok_or(CallError::NoAccountId)?;
            // `State` replaces `Status`; until September 2026 a response may have both.
            let state = text(&account, "State").or(text(&account, "Status")).unwrap_or("in an unknown state");
            let account = match text(&account, "Name") {
                Some(name) => Account { id: id.clone(), name: name.to_owned(), partition: self.partition },
                None => Account::unnamed(id.clone(), self.partition),
            };
            found.insert(id, Found { account, state: state.to_owned() });
        }
        Ok(())
    }
}

/// An account of the organization.
struct Found {
    account: Account,
    state: String,
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

fn cannot_list(role: &RoleArn, units: &[String], error: &CallError) -> Problem {
    let problem = Problem::new(
        ProblemCode::AwsAccountsUnknown,
        format!("cannot list the accounts of the organization with {role}: {error}"),
    );
    if let Some(error) = error.transport() {
        return error.problem(AWS, problem.message);
    }
    if error.class() != ErrorClass::Denied {
        return problem;
    }
    let actions = match units {
        [] => "`organizations:ListAccounts`",
        _ => "`organizations:ListAccountsForParent` and `organizations:ListOrganizationalUnitsForParent`",
    };
    problem.remedy(format!(
        "allow {actions} for this role, which must be in the management account or in a delegated administrator account; or list the roles to read with in `{ROLE_ARNS}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(arns: &[&str]) -> Result<(Strategy, Partition), ConfigError> {
        let account_role_arns = arns.iter().map(ToString::to_string).collect();
        Strategy::of(&AwsConfig { account_role_arns, ..AwsConfig::default() })
    }

    #[test]
    fn invalid_and_duplicate_roles_do_not_affect_the_others() {
        let (found, partition) = strategy(&[
            "arn:aws-us-gov:iam::111111111111:role/Reader",
            "arn:aws-us-gov:iam::111111111111:role/Reader",
            "arn:aws-us-gov:iam::111111111111:role/Other",
            "arn:aws-us-gov:iam:222222222222:role/Reader",
            "arn:aws:iam::333333333333:role/Reader",
            " ",
        ])
        .unwrap();
        assert_eq!(partition, Partition::AwsUsGov);
        let Strategy::Roles(entries) = found else { panic!("{found:?}") };
        let found: Vec<String> = entries
            .iter()
            .map(|entry| match entry {
                RoleEntry::Role(role) => role.to_string(),
                RoleEntry::Unusable(account, problem) => format!("{account}: {}", problem.message),
            })
            .collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "arn:aws-us-gov:iam::111111111111:role/Reader");
        assert!(found[1].starts_with("222222222222: ") && found[1].contains("is not the ARN"), "{found:?}");
        assert!(found[2].starts_with("333333333333: ") && found[2].contains("partition aws,"), "{found:?}");
    }

    #[test]
    fn a_role_that_names_no_account_is_a_settings_error() {
        let error = strategy(&["PortOceanReadRole"]).unwrap_err().to_string();
        assert!(
            error.contains("ACCOUNT_ROLE_ARNS") && error.contains("`PortOceanReadRole` is not"),
            "{error}"
        );
    }
}
