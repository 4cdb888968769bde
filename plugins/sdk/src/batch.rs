//! A batch on its way through a mapper.

use serde_json::value::RawValue;

use crate::{
    Context, Documents, Entities, Mapper, Output, RawResource, Refused, json::append_str, read::Reader, scan,
};

/// What a batch has yielded so far: the elements of its list, and what was refused.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The output, as far as it is written.
    pub(crate) list: Vec<u8>,
    /// Where the list's elements begin.
    elements: usize,
    /// The resource that is being mapped.
    index: usize,
    refused: Vec<(usize, Refused)>,
}

impl Sink {
    /// An output whose list is called `label`.
    fn new(label: &str, capacity: usize) -> Self {
        let mut list = Vec::with_capacity(capacity);
        list.extend_from_slice(b"{\"");
        list.extend_from_slice(label.as_bytes());
        list.extend_from_slice(b"\":[");
        Self { elements: list.len(), list, index: 0, refused: Vec::new() }
    }

    /// Makes room for one more element and tells where to cut to take it back.
    pub(crate) fn begin(&mut self) -> usize {
        let start = self.list.len();
        if start > self.elements {
            self.list.push(b',');
        }
        start
    }

    /// Notes a refusal. The contract has one entry for a resource, so a second one joins the first.
    pub(crate) fn refuse(&mut self, refused: Refused) {
        match self.refused.last_mut() {
            Some((index, first)) if *index == self.index => {
                first.reason.push_str("; ");
                if let Some(resource) = refused.resource.filter(|name| first.resource.as_ref() != Some(name))
                {
                    first.reason.push_str(&resource);
                    first.reason.push_str(": ");
                }
                first.reason.push_str(&refused.reason);
            }
            _ => self.refused.push((self.index, refused)),
        }
    }

    /// What a mapper did of one resource: kept, or taken back as a whole.
    fn settle(&mut self, start: usize, outcome: Result<(), Refused>) {
        if let Err(refused) = outcome {
            self.list.truncate(start);
            self.refuse(refused);
        }
        self.index += 1;
    }

    fn finish(self, batch: &str) -> Vec<u8> {
        let mut out = self.list;
        out.extend_from_slice(b"],\"errors\":[");
        // Only needed to name resources, hence not split before there is something to name.
        let elements = if self.refused.is_empty() { Vec::new() } else { split(batch).unwrap_or_default() };
        for (position, (index, refused)) in self.refused.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            let resource = refused
                .resource
                .or_else(|| elements.get(index).copied().and_then(name_of))
                .unwrap_or_else(|| format!("#{index}"));
            out.extend_from_slice(format!("{{\"index\":{index},\"resource\":").as_bytes());
            append_str(&mut out, &resource);
            out.extend_from_slice(b",\"reason\":");
            append_str(&mut out, &refused.reason);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        out
    }
}

fn split(batch: &str) -> Result<Vec<&RawValue>, String> {
    serde_json::from_str(batch).map_err(|error| format!("the batch is not a JSON array: {error}"))
}

fn name_of(element: &RawValue) -> Option<String> {
    serde_json::from_str::<RawResource<'_>>(element.get()).ok()?.name()
}

/// Maps a batch with the mapper of its kind: the body of the exported function.
///
/// # Errors
/// The reason, when the batch is not a JSON array in UTF-8.
pub fn map_batch<M: Mapper>(context: &Context, resources: &[u8]) -> Result<Vec<u8>, String> {
    // Checked once for the whole batch: reading from bytes would check every string by itself.
    let batch = scan::utf8(resources).map_err(|error| format!("the batch is not UTF-8: {error}"))?;
    match context.output {
        Output::Entities => entities::<M>(context, batch),
        Output::Documents => documents::<M>(context, batch),
    }
}

fn entities<M: Mapper>(context: &Context, batch: &str) -> Result<Vec<u8>, String> {
    let mut out = Entities::new(Sink::new("entities", batch.len() / 2));
    each(batch, |resource: Result<M::Resource<'_>, _>| {
        let start = out.sink.list.len();
        let outcome = resource.and_then(|resource| M::entities(context, resource, &mut out));
        out.sink.settle(start, outcome);
    })?;
    Ok(out.sink.finish(batch))
}

fn documents<M: Mapper>(context: &Context, batch: &str) -> Result<Vec<u8>, String> {
    let mut out = Documents::new(Sink::new("documents", batch.len() + batch.len() / 8), context);
    each(batch, |resource: Result<RawResource<'_>, _>| {
        let start = out.sink.list.len();
        let outcome = resource.and_then(|resource| M::documents(context, resource, &mut out));
        out.sink.settle(start, outcome);
    })?;
    Ok(out.sink.finish(batch))
}

/// Reads the elements of a batch one by one. One of another shape than is asked for is told, and the
/// others are read.
fn each<'a, T: serde::Deserialize<'a>>(
    batch: &'a str,
    mut take: impl FnMut(Result<T, Refused>),
) -> Result<(), String> {
    let broken = |error: serde_json::Error| format!("the batch is not a JSON array: {error}");
    let mut reader = Reader::new(batch);
    let mut elements = reader.list().map_err(broken)?;
    while let Some(element) = elements.next().map_err(broken)? {
        take(element.map_err(|error| unreadable(&error)));
    }
    reader.end().map_err(broken)
}

fn unreadable(error: &serde_json::Error) -> Refused {
    format!("it does not have the shape that the mapping reads: {error}").into()
}

/// What a plugin answers for a kind that it does not have.
pub fn no_such_kind(kind: &str, known: &[&str]) -> String {
    format!("this plugin does not map `{kind}`; it maps {}", known.join(", "))
}
