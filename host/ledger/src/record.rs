//! The contents of the file, and its format.
//!
//! Format 1 had neither [`SETS`], [`SET_NUMBERS`] nor [`MISSING`], and no [`FORMAT_KEY`]. Its data means
//! the same in format 2: numbers of units are numbers of their sets, 0 is unknown, and no record is
//! provisional. It is read unchanged, and becomes format 2 when it is opened for writing.

use berth_core::{AccountId, Kind, Place, Producer, Region};
use redb::TableDefinition;

/// `catalog`: the identity of the catalog of the file. `format`: the format of the file.
pub(crate) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// Resyncs by number: the start time in seconds since 1970, and whether the resync ended.
pub(crate) const RUNS: TableDefinition<'_, u32, (u64, bool)> = TableDefinition::new("runs");
/// Units by number (from 1), and the reverse.
pub(crate) const UNITS: TableDefinition<'_, u32, &str> = TableDefinition::new("units");
pub(crate) const UNIT_NUMBERS: TableDefinition<'_, &str, u32> = TableDefinition::new("unit-numbers");
/// Sets of several units by number, each as the sorted numbers of its units, and the reverse.
pub(crate) const SETS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sets");
pub(crate) const SET_NUMBERS: TableDefinition<'_, &[u8], u32> = TableDefinition::new("set-numbers");
/// Entities by the digest of their key.
pub(crate) const ENTITIES: TableDefinition<'_, u128, [u8; EntityRecord::LEN]> =
    TableDefinition::new("entities");
/// The number of consecutive complete resyncs in which each scope was missing.
pub(crate) const MISSING: TableDefinition<'_, &str, u32> = TableDefinition::new("missing-scopes");

/// Keys in [`META`].
pub(crate) const CATALOG_KEY: &str = "catalog";
pub(crate) const FORMAT_KEY: &str = "format";
/// The format that this version writes.
pub(crate) const FORMAT: &str = "2";
/// The formats that this version reads. A file without a format has format 1.
pub(crate) const READABLE_FORMATS: [&str; 2] = ["1", FORMAT];

/// The record of one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityRecord {
    /// The digest of its content; zero if it is uncertain.
    pub(crate) content: u128,
    /// The number of the set of units that produced it, see [`producers`](crate::producers).
    pub(crate) set: u32,
    /// The number of the resync that wrote this record.
    pub(crate) run: u32,
    /// Whether the set is exact only if that resync has ended, and unknown otherwise.
    pub(crate) provisional: bool,
}

impl EntityRecord {
    pub(crate) const LEN: usize = 24;
    /// The bit of the resync's number that stores [`provisional`](Self::provisional).
    const PROVISIONAL: u32 = 1 << 31;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let run = if self.provisional { self.run | Self::PROVISIONAL } else { self.run };
        let mut bytes = [0; Self::LEN];
        let (content, rest) = bytes.split_at_mut(16);
        let (set, last) = rest.split_at_mut(4);
        content.copy_from_slice(&self.content.to_le_bytes());
        set.copy_from_slice(&self.set.to_le_bytes());
        last.copy_from_slice(&run.to_le_bytes());
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
        let run = number(20);
        Self {
            content: u128::from_le_bytes(content),
            set: number(16),
            run: run & !Self::PROVISIONAL,
            provisional: run & Self::PROVISIONAL != 0,
        }
    }
}

const GLOBAL: &str = "global";

/// Formats a unit as one line: account, place and kind. None of them can contain a space.
pub(crate) fn unit_line(unit: &Producer) -> String {
    let place = unit.place.region().map_or(GLOBAL, Region::as_str);
    format!("{} {place} {}", unit.account, unit.kind)
}

/// Parses the output of [`unit_line`].
pub(crate) fn parse_unit(line: &str) -> Option<Producer> {
    let mut parts = line.split(' ');
    let (account, place, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let place = if place == GLOBAL { Place::Global } else { Place::Region(Region::new(place).ok()?) };
    Some(Producer { account: AccountId::new(account).ok()?, place, kind: Kind::new(kind).ok()? })
}

/// Formats the numbers of a set's units for [`SETS`].
pub(crate) fn set_bytes(units: &[u32]) -> Vec<u8> {
    units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
}

/// Parses the output of [`set_bytes`]; `None` for anything else.
pub(crate) fn parse_set(bytes: &[u8]) -> Option<Vec<u32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let units: Vec<u32> = numbers.iter().map(|four| u32::from_le_bytes(*four)).collect();
    (rest.is_empty() && !units.is_empty()).then_some(units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_survive_a_round_trip(content: u128, set: u32, run in 0..1_u32 << 31, provisional: bool) {
            let record = EntityRecord { content, set, run, provisional };
            prop_assert_eq!(EntityRecord::from_bytes(record.to_bytes()), record);
        }

        #[test]
        fn sets_survive_a_round_trip(units in prop::collection::vec(any::<u32>(), 1..50)) {
            let bytes = set_bytes(&units);
            prop_assert_eq!(parse_set(&bytes), Some(units));
            prop_assert_eq!(parse_set(&bytes[1..]), None);
        }
    }

    #[test]
    fn an_empty_set_is_none() {
        assert_eq!(parse_set(&[]), None);
    }

    #[test]
    fn units_survive_a_round_trip() {
        for text in ["111111111111 eu-west-1 AWS::EC2::Instance", "111111111111 global AWS::IAM::Role"] {
            assert_eq!(unit_line(&parse_unit(text).unwrap()), text);
        }
        for text in ["", "111111111111 global", "1 global AWS::IAM::Role", "111111111111 mars AWS::IAM::Role"]
        {
            assert_eq!(parse_unit(text), None, "{text}");
        }
    }
}
