//! Identifies the catalog of a file.

/// Separates the organization from the rest of an identity. Earlier identities did not include it.
const ORGANIZATION: &str = " in organization ";

/// How the catalog of a file relates to the requested catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// The file belongs to no catalog yet.
    Nothing,
    /// The file belongs to the same catalog.
    Same,
    /// The file belongs to the same catalog as far as it says, but does not include the organization.
    WithoutOrganization,
    /// The file belongs to another catalog, with this identity.
    Other(String),
}

impl Held {
    /// Compares the identity in a file with that of a catalog.
    pub(crate) fn of(held: Option<&str>, catalog: &str) -> Self {
        match held {
            None => Self::Nothing,
            Some(held) if held == catalog => Self::Same,
            Some(held) if without_organization(catalog) == Some(held) => Self::WithoutOrganization,
            Some(held) => Self::Other(held.to_owned()),
        }
    }

    /// Returns whether any data in the file may be used.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self, Self::Same | Self::WithoutOrganization)
    }
}

/// Returns the identity of the same catalog before organizations were included; `None` for one without an
/// organization.
fn without_organization(catalog: &str) -> Option<&str> {
    let (rest, organization) = catalog.split_once(ORGANIZATION)?;
    // With more than one separator, the start of the organization would be ambiguous.
    (!organization.is_empty() && !organization.contains(ORGANIZATION)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "aws of type aws-v3 at https://api.getport.io";

    #[test]
    fn only_the_same_catalog_without_an_organization_is_an_earlier_identity() {
        let new = format!("{OLD} in organization org_1");
        assert_eq!(Held::of(None, &new), Held::Nothing);
        assert_eq!(Held::of(Some(&new), &new), Held::Same);
        assert_eq!(Held::of(Some(OLD), &new), Held::WithoutOrganization);
        let elsewhere = format!("{OLD} in organization org_2");
        let longer = format!("{new} in organization org_2");
        let empty = format!("{OLD} in organization ");
        for (held, catalog) in [
            (elsewhere.as_str(), new.as_str()),
            (&new, OLD),
            (&new, &longer),
            (OLD, &longer),
            (OLD, &empty),
            ("aws of type aws-v3 at https://api.us.getport.io", &new),
            ("another of type aws-v3 at https://api.getport.io", &new),
            ("", &new),
        ] {
            assert_eq!(Held::of(Some(held), catalog), Held::Other(held.to_owned()), "{held} for {catalog}");
        }
    }
}
