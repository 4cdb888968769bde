//! Whether an answer proves what it lists. An answer without the list that was asked for does not say that
//! there is nothing.

use berth_core::{EmptyList, Path, PathSegment, StatedEmpty};
use serde_json::Value;

use crate::{Operation, Protocol, model::Shape};

/// An answer that does not hold what it should list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteList {
    /// The list is not there.
    #[error("the answer to {operation} has no list `{items}`, so it does not say what there is")]
    NoList {
        /// The operation, as in `ec2.DescribeInstances`.
        operation: String,
        /// The path of the items.
        items: String,
    },
    /// An element of the list lacks what is listed of it.
    #[error("the answer to {operation} lists {elements} elements, but `{items}` is in only {found} of them")]
    NoMember {
        /// The operation.
        operation: String,
        /// The path of the items.
        items: String,
        /// How many elements the list has.
        elements: usize,
        /// How many of them have the member.
        found: usize,
    },
}

impl Operation {
    /// Checks that an answer has the first list on the path of its items, and that each element of it has
    /// what the path names. Of a path without a list, that the value is there.
    ///
    /// The elements of a flattened XML list are its only trace, so that one may be absent when it is
    /// empty. Otherwise `empty` says how the service answers then.
    ///
    /// # Errors
    /// [`IncompleteList`] when the answer does not say what there is.
    pub fn check_list(
        &self,
        answer: &Value,
        items: &Path,
        empty: Option<&EmptyList>,
    ) -> Result<(), IncompleteList> {
        self.check_listed(answer, items.all(answer).len(), items, empty)
    }

    /// As [`check_list`](Self::check_list), for an answer in which the items themselves are null: so many
    /// were found.
    ///
    /// # Errors
    /// [`IncompleteList`] when the answer does not say what there is.
    pub fn check_listed(
        &self,
        answer: &Value,
        found: usize,
        items: &Path,
        empty: Option<&EmptyList>,
    ) -> Result<(), IncompleteList> {
        let no_list =
            || IncompleteList::NoList { operation: self.to_string(), items: items.as_str().to_owned() };
        if !items.is_list() {
            return if found > 0 { Ok(()) } else { Err(no_list()) };
        }
        let Some(list) = items.list_in(answer).and_then(Value::as_array) else {
            let is_empty = match empty {
                Some(EmptyList::Convention(_)) => true,
                Some(EmptyList::Stated(StatedEmpty { path, is })) => path.first(answer) == Some(is),
                None => self.leaves_out_when_empty(answer, items),
            };
            return if is_empty { Ok(()) } else { Err(no_list()) };
        };
        let below = &items.segments()[items.to_first_list().len() + 1..];
        let one_each = below.iter().all(|segment| matches!(segment, PathSegment::Name(_)));
        if one_each && found != list.len() {
            return Err(IncompleteList::NoMember {
                operation: self.to_string(),
                items: items.as_str().to_owned(),
                elements: list.len(),
                found,
            });
        }
        Ok(())
    }

    /// Whether the first list on the path is one whose elements are not within an element of their own,
    /// and the structure around it is there.
    fn leaves_out_when_empty(&self, answer: &Value, items: &Path) -> bool {
        let model = self.service().model();
        if matches!(model.protocol, Protocol::Json | Protocol::RestJson | Protocol::RpcV2Cbor) {
            return false;
        }
        let (mut around, mut reference) = (Some(answer), self.model().output.as_ref());
        let mut flattened = false;
        for (depth, segment) in items.to_first_list().iter().enumerate() {
            let (PathSegment::Name(name), Some(structure)) =
                (segment, reference.and_then(|reference| model.structure(reference)))
            else {
                return false;
            };
            let Some(member) = structure.members.iter().find(|member| member.name == *name) else {
                return false;
            };
            if depth > 0 {
                let above = &items.to_first_list()[depth - 1];
                around = match above {
                    PathSegment::Name(name) => around.and_then(|value| value.get(name.as_str())),
                    PathSegment::Flatten | PathSegment::Index(_) => None,
                };
            }
            flattened = member.reference.flattened;
            reference = Some(&member.reference);
        }
        let is_list = reference.is_some_and(|reference| matches!(model.shape(reference), Shape::List(_)));
        flattened && is_list && around.is_some_and(Value::is_object)
    }
}
