//! Repairs: the parts of a response that could not be read unchanged.

use berth_core::{Path, PathSegment};

/// The number of repairs of a response. Malformed texts are replaced in part, and members that do not match
/// the model are omitted; the rest of the response is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs {
    /// Places in texts where U+FFFD or a similar replacement stands for malformed characters.
    pub replaced: u64,
    /// Members and elements that are omitted, or converted to text.
    pub unreadable: u64,
}

impl Repairs {
    /// Returns whether the response was read unchanged.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Counts repairs while a response is read, and records where values are missing because of them.
#[derive(Debug, Default)]
pub(crate) struct RepairLog {
    pub(crate) repairs: Repairs,
    /// Places such as `Reservations[].Instances[].State`, without duplicates. Relative to the current
    /// value: the reader of the enclosing value adds a prefix.
    places: Vec<String>,
}

/// The number of places at some point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

impl RepairLog {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.places.len())
    }

    /// Records that the current value is omitted.
    pub(crate) fn left_out(&mut self) {
        self.repairs.unreadable += 1;
        self.places.push(String::new());
    }

    /// Records that the current value became a text, because it does not match the model.
    pub(crate) fn coerced(&mut self) {
        self.repairs.unreadable += 1;
    }

    /// Places everything since the mark within a member of this name.
    pub(crate) fn within(&mut self, mark: Mark, name: &str) {
        self.prefix(mark, |place| match place.as_bytes().first() {
            None => name.to_owned(),
            Some(b'[') => format!("{name}{place}"),
            Some(_) => format!("{name}.{place}"),
        });
    }

    /// Places everything since `element` within an element of a list that began at `list`.
    pub(crate) fn within_element(&mut self, list: Mark, element: Mark) {
        self.prefix(element, |place| match place.as_bytes().first() {
            None | Some(b'[') => format!("[]{place}"),
            Some(_) => format!("[].{place}"),
        });
        // All elements of a list have the same places.
        for at in (element.0..self.places.len()).rev() {
            let (known, new) = self.places[list.0..].split_at(element.0 - list.0);
            if known.contains(&new[at - element.0]) {
                self.places.swap_remove(at);
            }
        }
    }

    /// Places everything since the mark within an entry of a map, which may have any name.
    pub(crate) fn within_entry(&mut self, mark: Mark) {
        if self.places.len() > mark.0 {
            self.places.truncate(mark.0);
            self.places.push(String::new());
        }
    }

    fn prefix(&mut self, mark: Mark, prefixed: impl Fn(&str) -> String) {
        for place in &mut self.places[mark.0..] {
            *place = prefixed(place);
        }
    }

    /// Adds the repairs of a part of the current value.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.repairs.replaced += other.repairs.replaced;
        self.repairs.unreadable += other.repairs.unreadable;
        self.places.extend(other.places);
    }

    /// Returns the omitted place on the path to this one, if there is one.
    pub(crate) fn on_the_way_to(&self, place: &str) -> Option<&str> {
        let leads = |known: &&String| {
            let rest = place.strip_prefix(known.as_str());
            known.is_empty() || rest.is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'.' | b'[', ..]))
        };
        self.places.iter().find(leads).map(String::as_str)
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(String::as_str)
    }
}

/// Formats a path as a place.
pub(crate) fn place_of(paths: &[&Path]) -> String {
    let mut place = String::new();
    for segment in paths.iter().flat_map(|path| path.segments()) {
        match segment {
            PathSegment::Flatten | PathSegment::Index(_) => place.push_str("[]"),
            PathSegment::Name(name) => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(name);
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_outermost_first_without_duplicates() {
        let mut log = RepairLog::default();
        let list = log.mark();
        for _ in 0..3 {
            let element = log.mark();
            let member = log.mark();
            log.left_out();
            log.within(member, "State");
            log.within_element(list, element);
        }
        log.within(list, "Instances");
        assert_eq!(log.places().collect::<Vec<_>>(), ["Instances[].State"]);
        assert_eq!(log.repairs, Repairs { replaced: 0, unreadable: 3 });
        let path = |text| Path::parse(text).unwrap();
        for (paths, hit) in [
            (&[path("Instances[].State.Name")][..], true),
            (&[path("Instances[]"), path("State")], true),
            (&[path("Instances[].StateReason")], false),
            (&[path("Instances[]")], false),
        ] {
            let place = place_of(&paths.iter().collect::<Vec<_>>());
            assert_eq!(log.on_the_way_to(&place).is_some(), hit, "{place}");
        }
    }
}
