//! Resources between the list and the mapping.

use std::{collections::VecDeque, sync::Arc};

use berth_core::{FetchError, ItemFailure, UnreadStep};
use futures::{
    Stream, TryStreamExt,
    stream::{self, BoxStream},
};
use serde_json::Value;

use super::{budget::MemoryPermit, item::Item};

/// Why reading a region stopped.
#[derive(Debug)]
pub(super) struct RegionStop {
    pub(super) error: FetchError,
    /// Whether another region or account may be tried: nothing was read yet, and access is denied here.
    pub(super) elsewhere: bool,
    /// Whether there is nothing to read, unless another account has resources.
    pub(super) empty: bool,
}

impl From<FetchError> for RegionStop {
    fn from(error: FetchError) -> Self {
        Self { error, elsewhere: false, empty: false }
    }
}

/// One resource (or parent) in progress.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) item: Item,
    /// Results of steps, as an object.
    pub(super) steps: Value,
    /// The items it descends from by list step, as an object.
    pub(super) parents: Arc<Value>,
    /// Steps with an unknown result.
    pub(super) unread: Vec<Arc<UnreadStep>>,
    /// The memory of the page that listed it.
    pub(super) _permit: Arc<MemoryPermit>,
}

impl Resource {
    /// Writes the resource in the form that the mapping gets.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> serde_json::Result<()> {
        to.extend_from_slice(br#"{"item":"#);
        to.extend_from_slice(self.item.json());
        to.extend_from_slice(br#","steps":"#);
        serde_json::to_writer(&mut *to, &self.steps)?;
        to.extend_from_slice(br#","parents":"#);
        serde_json::to_writer(&mut *to, &*self.parents)?;
        to.push(b'}');
        Ok(())
    }
}

/// A page of a list, or its replacement.
pub(super) enum Listed {
    Items(Vec<Resource>),
    /// A parent whose children could not be listed.
    Failure(ItemFailure),
}

/// A batch before and after its enrichment.
pub(super) struct Chunk {
    pub(super) resources: Vec<Resource>,
    pub(super) failures: Vec<ItemFailure>,
}

/// Splits a list into batches of `size`, independent of the size of AWS's pages.
pub(super) fn chunked(
    listed: BoxStream<'static, Result<Listed, RegionStop>>,
    size: usize,
) -> impl Stream<Item = Result<Chunk, RegionStop>> {
    struct State {
        listed: Option<BoxStream<'static, Result<Listed, RegionStop>>>,
        resources: VecDeque<Resource>,
        failures: Vec<ItemFailure>,
    }
    let state = State { listed: Some(listed), resources: [].into(), failures: Vec::new() };
    stream::try_unfold(state, move |mut state| async move {
        while state.resources.len() < size
            && let Some(listed) = &mut state.listed
        {
            match listed.try_next().await? {
                Some(Listed::Items(items)) => state.resources.extend(items),
                Some(Listed::Failure(failure)) => state.failures.push(failure),
                None => state.listed = None,
            }
        }
        let many = size.min(state.resources.len());
        let chunk = Chunk {
            resources: state.resources.drain(..many).collect(),
            failures: std::mem::take(&mut state.failures),
        };
        let empty = chunk.resources.is_empty() && chunk.failures.is_empty();
        Ok((!empty).then_some((chunk, state)))
    })
}
