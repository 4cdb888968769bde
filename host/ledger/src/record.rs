//! What the file holds, and in which form.

use berth_core::{AccountId, Kind, Origin, Place, Region};
use redb::TableDefinition;

/// `catalog`: the identity of the catalog that all else is about.
pub(crate) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// Resyncs by number: when each began, in seconds since 1970, and whether it ended.
pub(crate) const RUNS: TableDefinition<'_, u32, (u64, bool)> = TableDefinition::new("runs");
/// Units by number (from 1), and their numbers.
pub(crate) const UNITS: TableDefinition<'_, u32, &str> = TableDefinition::new("units");
pub(crate) const UNIT_NUMBERS: TableDefinition<'_, &str, u32> = TableDefinition::new("unit-numbers");
/// Entities by the digest of their key.
pub(crate) const ENTITIES: TableDefinition<'_, u128, [u8; Record::LEN]> = TableDefinition::new("entities");

/// The key in [`META`].
pub(crate) const CATALOG: &str = "catalog";

/// What is held of one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The digest of its content; zero when it is not certain.
    pub(crate) content: u128,
    /// The number of the unit that produced it; zero when several did.
    pub(crate) unit: u32,
    /// The number of the resync that recorded this.
    pub(crate) run: u32,
}

impl Record {
    pub(crate) const LEN: usize = 24;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (content, rest) = bytes.split_at_mut(16);
        let (unit, run) = rest.split_at_mut(4);
        content.copy_from_slice(&self.content.to_le_bytes());
        unit.copy_from_slice(&self.unit.to_le_bytes());
        run.copy_from_slice(&self.run.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let number = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(four)
        };
        let mut content = [0; 16];
        content.copy_from_slice(&bytes[..16]);
        Self { content: u128::from_le_bytes(content), unit: number(16), run: number(20) }
    }
}

const GLOBAL: &str = "global";

/// A unit as one line: account, place and kind. None of them can hold a space.
pub(crate) fn line(origin: &Origin) -> String {
    let place = origin.place.region().map_or(GLOBAL, Region::as_str);
    format!("{} {place} {}", origin.account, origin.kind)
}

/// Reads what [`line`] wrote.
pub(crate) fn origin(line: &str) -> Option<Origin> {
    let mut parts = line.split(' ');
    let (account, place, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let place = if place == GLOBAL { Place::Global } else { Place::Region(Region::new(place).ok()?) };
    Some(Origin { account: AccountId::new(account).ok()?, place, kind: Kind::new(kind).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_survive_their_bytes(content: u128, unit: u32, run: u32) {
            let record = Record { content, unit, run };
            prop_assert_eq!(Record::from_bytes(record.to_bytes()), record);
        }
    }

    #[test]
    fn units_survive_their_line() {
        for text in ["111111111111 eu-west-1 AWS::EC2::Instance", "111111111111 global AWS::IAM::Role"] {
            assert_eq!(line(&origin(text).unwrap()), text);
        }
        for text in ["", "111111111111 global", "1 global AWS::IAM::Role", "111111111111 mars AWS::IAM::Role"]
        {
            assert_eq!(origin(text), None, "{text}");
        }
    }
}
