//! The sizes of the AWS organizations that resyncs are measured with.

/// The kinds of a fresh installation that AWS is asked for; the fourth is the account itself.
pub(crate) const DEFAULT_KINDS: [&str; 3] = ["AWS::S3::Bucket", "AWS::EC2::Instance", "AWS::ECS::Cluster"];

/// Which kinds are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Those of a fresh installation.
    Default,
    /// All that are bundled.
    All,
}

/// How large an AWS organization is, and how slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) accounts: u32,
    pub(crate) regions: u32,
    pub(crate) kinds: Kinds,
    /// Resources of each kind in each account and region that is not empty.
    pub(crate) resources: u32,
    /// The share of accounts, regions and kinds without any resources.
    pub(crate) empty: f32,
    /// Milliseconds that each answer of AWS takes.
    pub(crate) latency: u32,
}

/// Three accounts, as in the study of the integration that Berth replaces.
pub(crate) const S: Profile = Profile {
    name: "S",
    accounts: 3,
    regions: 2,
    kinds: Kinds::Default,
    resources: 3,
    empty: 0.0,
    latency: 0,
};

/// Some 11,000 entities.
pub(crate) const M: Profile = Profile { name: "M", accounts: 10, regions: 4, resources: 125, ..S };

/// Accounts that are mostly wait: many units with little in them, and answers that take long enough for
/// the processor to be idle meanwhile.
pub(crate) const SLOW: Profile =
    Profile { name: "slow", accounts: 40, regions: 17, resources: 1, latency: 100, ..S };

/// Every kind, some 490,000 entities.
pub(crate) const L: Profile =
    Profile { name: "L", accounts: 200, regions: 10, kinds: Kinds::All, resources: 4, ..S };

/// So many accounts that a resync is only begun; nine of ten accounts, regions and kinds are empty.
pub(crate) const X: Profile =
    Profile { name: "X", accounts: 10_000, regions: 17, resources: 2, empty: 0.9, ..S };

/// Every kind in so many accounts that Port cannot take it all at once.
pub(crate) const OVERLOAD: Profile =
    Profile { name: "overload", accounts: 1000, regions: 10, kinds: Kinds::All, resources: 1, ..S };

impl Profile {
    /// The id of the simulator's first account; the others follow.
    const FIRST_ACCOUNT: u64 = 100_000_000_001;

    /// One role in each account.
    pub(crate) fn roles(&self) -> Vec<String> {
        let accounts = (0..u64::from(self.accounts)).map(|account| Self::FIRST_ACCOUNT + account);
        accounts.map(|account| format!("arn:aws:iam::{account:012}:role/PortOceanReadRole")).collect()
    }

    /// The same with another number of accounts.
    pub(crate) fn with_accounts(self, accounts: u32) -> Self {
        Self { accounts, ..self }
    }

    /// Units of the default kinds that AWS is asked for: S3 once an account, EC2 and ECS in each region.
    pub(crate) fn asked_units(&self) -> u64 {
        u64::from(self.accounts) * (1 + 2 * u64::from(self.regions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_a_role_of_its_own() {
        assert_eq!(
            S.roles(),
            [1, 2, 3].map(|n| format!("arn:aws:iam::10000000000{n}:role/PortOceanReadRole"))
        );
    }

    #[test]
    fn units_are_counted_over_accounts_and_regions() {
        assert_eq!(S.asked_units(), 3 * 5);
        assert_eq!(X.with_accounts(250).asked_units(), 250 * 35);
    }
}
