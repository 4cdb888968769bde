//! Names that are valid by construction. All are cheap to clone (shared text).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a name was rejected: the given text, and the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct IdError {
    /// The given text.
    pub found: String,
    /// The expected form, with an example.
    pub expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and creates the name.
            ///
            /// # Errors
            /// [`IdError`] with the given text and the expected form.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(IdError { found: text.to_owned(), expected: $expected })
                }
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// An AWS account: twelve digits.
    AccountId,
    "an AWS account id (twelve digits, as in `111122223333`)",
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
);

name!(
    /// An AWS region code, as in `eu-west-1` or `us-gov-east-1`.
    Region,
    "an AWS region code (as in `eu-west-1`)",
    |text| {
        let mut parts = text.split('-');
        let letters = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase());
        let count = text.split('-').count();
        (3..=5).contains(&count)
            && parts.by_ref().take(count - 1).all(letters)
            && parts.next().is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    }
);

name!(
    /// A resource kind, named like a CloudFormation type: `AWS::EC2::Instance`. Third parties use their own
    /// first segment (`Acme::Widget`).
    Kind,
    "a kind (two to four names joined by `::`, as in `AWS::EC2::Instance`)",
    |text| {
        let count = text.split("::").count();
        (2..=4).contains(&count)
            && text.split("::").all(|p| {
                p.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
                    && p.bytes().all(|b| b.is_ascii_alphanumeric())
            })
    }
);

impl Kind {
    /// Returns the placeholder for an entry of an app-config without a valid kind.
    pub(crate) fn unreadable() -> Self {
        Self(Arc::from("Unreadable::Kind"))
    }
}

name!(
    /// The identifier of a Port blueprint. Port allows letters, digits and `@_.+:\/-`, and once allowed
    /// `=`.
    BlueprintId,
    "a blueprint identifier (letters, digits and `@_.+:/=-`, as in `ec2Instance`)",
    |text| {
        !text.is_empty()
            && text.chars().all(fits_identifier)
    }
);

/// An AWS partition: one of those that botocore 1.44.5 knows. One deployment serves one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Partition {
    /// The standard partition.
    #[default]
    #[serde(rename = "aws")]
    Aws,
    /// The `GovCloud` (US) regions.
    #[serde(rename = "aws-us-gov")]
    AwsUsGov,
    /// The China regions.
    #[serde(rename = "aws-cn")]
    AwsCn,
    /// The European Sovereign Cloud.
    #[serde(rename = "aws-eusc")]
    AwsEusc,
    /// The isolated regions `us-iso-…`.
    #[serde(rename = "aws-iso")]
    AwsIso,
    /// The isolated regions `us-isob-…`.
    #[serde(rename = "aws-iso-b")]
    AwsIsoB,
    /// The isolated regions `eu-isoe-…`.
    #[serde(rename = "aws-iso-e")]
    AwsIsoE,
    /// The isolated regions `us-isof-…`.
    #[serde(rename = "aws-iso-f")]
    AwsIsoF,
}

impl Partition {
    /// Returns the partition's name as ARNs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsCn => "aws-cn",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
        }
    }

    /// Returns the prefix of its region codes (botocore's `partitions.json`); `None` for the standard
    /// partition.
    fn region_prefix(self) -> Option<&'static str> {
        match self {
            Self::Aws => None,
            Self::AwsUsGov => Some("us-gov-"),
            Self::AwsCn => Some("cn-"),
            Self::AwsEusc => Some("eusc-"),
            Self::AwsIso => Some("us-iso-"),
            Self::AwsIsoB => Some("us-isob-"),
            Self::AwsIsoE => Some("eu-isoe-"),
            Self::AwsIsoF => Some("us-isof-"),
        }
    }
}

/// All partitions.
pub const PARTITIONS: [Partition; 8] = [
    Partition::Aws,
    Partition::AwsUsGov,
    Partition::AwsCn,
    Partition::AwsEusc,
    Partition::AwsIso,
    Partition::AwsIsoB,
    Partition::AwsIsoE,
    Partition::AwsIsoF,
];

/// Returns the region of the partition's global services. It is always enabled.
pub fn main_region(partition: Partition) -> &'static str {
    match partition {
        Partition::Aws => "us-east-1",
        Partition::AwsUsGov => "us-gov-west-1",
        Partition::AwsCn => "cn-north-1",
        Partition::AwsEusc => "eusc-de-east-1",
        Partition::AwsIso => "us-iso-east-1",
        Partition::AwsIsoB => "us-isob-east-1",
        Partition::AwsIsoE => "eu-isoe-west-1",
        Partition::AwsIsoF => "us-isof-south-1",
    }
}

/// Returns [`main_region`] as a region.
pub fn home_region(partition: Partition) -> Region {
    Region(Arc::from(main_region(partition)))
}

/// Returns a region's partition, by the prefix of its code. A code without the prefix of another partition
/// belongs to the standard one.
pub fn partition_of(region: &Region) -> Partition {
    let own = |partition: &Partition| {
        partition.region_prefix().is_some_and(|prefix| region.as_str().starts_with(prefix))
    };
    PARTITIONS.into_iter().find(own).unwrap_or_default()
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Partition {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        PARTITIONS.into_iter().find(|partition| partition.as_str() == text).ok_or_else(|| IdError {
            found: text.to_owned(),
            expected: "a partition that Berth knows (`aws`, `aws-us-gov`, `aws-cn`, `aws-eusc`, `aws-iso`, `aws-iso-b`, `aws-iso-e` or `aws-iso-f`)",
        })
    }
}

/// The ARN of an IAM role, as in `arn:aws:iam::111122223333:role/path/PortOceanReadRole`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn {
    text: Arc<str>,
    partition: Partition,
    account: AccountId,
}

impl RoleArn {
    const EXPECTED: &'static str =
        "the ARN of an IAM role (as in `arn:aws:iam::111122223333:role/PortOceanReadRole`)";
    const UNKNOWN_PARTITION: &'static str = "the ARN of an IAM role in a partition that Berth knows (`aws`, `aws-us-gov`, `aws-cn`, `aws-eusc`, `aws-iso`, `aws-iso-b`, `aws-iso-e` or `aws-iso-f`)";

    /// Checks an ARN and splits it into its parts.
    ///
    /// # Errors
    /// [`IdError`] if the text is not the ARN of an IAM role in a known partition.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let refused = || IdError { found: text.to_owned(), expected: Self::EXPECTED };
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts[..] else {
            return Err(refused());
        };
        let name = resource.strip_prefix("role/").ok_or_else(refused)?;
        let valid_name = !name.is_empty()
            && !name.ends_with('/')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b));
        if !valid_name {
            return Err(refused());
        }
        Ok(Self {
            text: Arc::from(text),
            partition: partition
                .parse()
                .map_err(|_| IdError { found: text.to_owned(), expected: Self::UNKNOWN_PARTITION })?,
            account: AccountId::new(account).map_err(|_| refused())?,
        })
    }

    /// Returns the whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the partition of the ARN.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Returns the account of the role.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// Returns the same role (same path and name) in another account, as Organizations discovery needs it.
    #[must_use]
    pub fn in_account(&self, account: &AccountId) -> Self {
        let resource = self.text.splitn(6, ':').nth(5).unwrap_or_default();
        Self {
            text: format!("arn:{}:iam::{account}:{resource}", self.partition).into(),
            partition: self.partition,
            account: account.clone(),
        }
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl FromStr for RoleArn {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// Returns whether an entity's identifier may contain a character.
pub(crate) fn fits_identifier(c: char) -> bool {
    c.is_alphabetic() || c.is_ascii_digit() || "@_.+:\\/=-".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["eu-west-1", "us-gov-east-1", "ap-southeast-12", "us-iso-east-1"] {
            assert_eq!(Region::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "euwest1", "eu-west", "eu-west-", "EU-WEST-1", "eu-west-1a", "eu--1"] {
            assert!(Region::new(bad).is_err(), "{bad}");
        }
        assert!(AccountId::new("111122223333").is_ok());
        for bad in ["", "11112222333", "1111222233334", "11112222333x", "١١١١٢٢٢٢٣٣٣٣"] {
            assert!(AccountId::new(bad).is_err(), "{bad}");
        }
        for good in ["AWS::S3::Bucket", "Acme::Widget", "AWS::A::B::C"] {
            assert!(Kind::new(good).is_ok(), "{good}");
        }
        for bad in ["", "AWS", "AWS::", "::S3", "AWS::S3 ::Bucket", "AWS:S3:Bucket"] {
            assert!(Kind::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn role_arns_are_parsed() {
        let arn = RoleArn::new("arn:aws-us-gov:iam::111122223333:role/a/b/Reader").unwrap();
        assert_eq!(arn.account().as_str(), "111122223333");
        assert_eq!(arn.partition(), Partition::AwsUsGov);
        let member = arn.in_account(&AccountId::new("444455556666").unwrap());
        assert_eq!(member.as_str(), "arn:aws-us-gov:iam::444455556666:role/a/b/Reader");
        for bad in [
            "",
            "arn:aws:iam::1:role/x",
            "arn:aws:sts::111122223333:role/x",
            "arn:aws:iam::111122223333:user/x",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/x y",
            "arn:mars:iam::111122223333:role/x",
        ] {
            let error = RoleArn::new(bad).unwrap_err().to_string();
            assert!(error.contains("the ARN of an IAM role"), "{error}");
        }
    }

    #[test]
    fn partitions_follow_from_name_and_region() {
        for partition in PARTITIONS {
            assert_eq!(partition.as_str().parse(), Ok(partition));
            assert_eq!(partition_of(&home_region(partition)), partition);
            let arn = RoleArn::new(&format!("arn:{partition}:iam::111122223333:role/Reader")).unwrap();
            assert_eq!(arn.partition(), partition);
            assert_eq!(arn.in_account(arn.account()), arn);
        }
        // The error for an unknown partition lists the known ones, in a setting and in an ARN.
        for error in [
            "aws-eu".parse::<Partition>().unwrap_err(),
            RoleArn::new("arn:aws-eu:iam::111122223333:role/Reader").unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(PARTITIONS.iter().all(|known| error.contains(&format!("`{known}`"))), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = RoleArn::new(&text);
            let _ = Region::new(&text);
            let _ = Kind::new(&text);
            let _ = AccountId::new(&text);
        }
    }
}
