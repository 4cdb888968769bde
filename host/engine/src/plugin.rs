//! One plugin, ready to map.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use berth_core::{ItemError, Kind, Manifest, MapContext, MapReport, Problem, RawPage};
use serde_json::{Value, value::RawValue};

use crate::{
    contract::{Batch, ContractVersion, Output, Program},
    info::CodeOrigin,
    output,
    runtime::Runtime,
    sandbox::{Bounds, Failure, Speaker},
};

/// A batch may return this many times its input.
const OUTPUT_RATIO: usize = 16;
/// A batch may always return this much, however small its input.
const OUTPUT_FLOOR: usize = 1 << 20;

/// A plugin that was accepted.
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) file: PathBuf,
    pub(crate) sha256: String,
    pub(crate) size: u64,
    pub(crate) contract: ContractVersion,
    pub(crate) imports: Vec<String>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) code: CodeOrigin,
    pub(crate) load_time: Duration,
    pub(crate) program: LazyProgram,
    pub(crate) peak_memory: AtomicUsize,
}

/// The code of a plugin. It is loaded at the first batch when it comes from the cache, so that a
/// start costs nothing for kinds that are not synced.
pub(crate) struct LazyProgram {
    program: Mutex<Option<Arc<dyn Program>>>,
    load: Box<dyn Fn() -> Result<Arc<dyn Program>, Problem> + Send + Sync>,
}

impl LazyProgram {
    pub(crate) fn new(
        program: Option<Arc<dyn Program>>,
        load: impl Fn() -> Result<Arc<dyn Program>, Problem> + Send + Sync + 'static,
    ) -> Self {
        Self { program: Mutex::new(program), load: Box::new(load) }
    }

    fn get(&self) -> Result<Arc<dyn Program>, Failure> {
        let mut slot = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = &*slot {
            return Ok(Arc::clone(program));
        }
        let program = (self.load)().map_err(Failure::Unloadable)?;
        *slot = Some(Arc::clone(&program));
        Ok(program)
    }
}

impl Plugin {
    /// Maps a batch by the plugin's own code. When it crashes, each resource is tried alone, so
    /// that one bad resource costs only itself.
    pub(crate) fn map(
        &self,
        runtime: &Runtime,
        kind: &Kind,
        context: &MapContext,
        page: &RawPage,
    ) -> Result<MapReport, Failure> {
        if page.count == 0 {
            return Ok(MapReport::default());
        }
        let program = self.program.get()?;
        let region = context.region.as_ref().map_or("global", berth_core::Region::as_str);
        let call = Call {
            plugin: self,
            runtime,
            program: &*program,
            speaker: Speaker {
                plugin: Arc::clone(&self.name),
                at: format!("{kind} {} {region}", context.account.id).into(),
            },
            kind,
            context,
        };
        match call.run(&page.resources, page.count, runtime.limits.deadline, true) {
            Err(failure) if failure.may_be_one_resource() && page.count > 1 => call.one_by_one(page, failure),
            outcome => outcome,
        }
    }
}

/// What the calls for one batch have in common.
struct Call<'a> {
    plugin: &'a Plugin,
    runtime: &'a Runtime,
    program: &'a dyn Program,
    speaker: Speaker,
    kind: &'a Kind,
    context: &'a MapContext,
}

impl Call<'_> {
    fn run(
        &self,
        resources: &[u8],
        count: usize,
        deadline: Duration,
        log: bool,
    ) -> Result<MapReport, Failure> {
        let limit = self.runtime.limits.output_bytes;
        let output_bytes = resources.len().saturating_mul(OUTPUT_RATIO).max(OUTPUT_FLOOR).min(limit);
        let batch = Batch { kind: self.kind, context: self.context, output: Output::Entities, resources };
        let called = self.runtime.call(&self.speaker, Bounds { deadline, output_bytes, log }, |store| {
            self.program.map_batch(store, batch)
        });
        self.plugin.peak_memory.fetch_max(called.peak_memory, Ordering::Relaxed);
        let returned = called.result?.map_err(|reason| Failure::refused(&reason))?;
        output::entities(&returned, count).map_err(Failure::Nonsense)
    }

    /// Maps each resource in an instance of its own. All of them together have the time of one
    /// batch.
    fn one_by_one(&self, page: &RawPage, failure: Failure) -> Result<MapReport, Failure> {
        let Ok(resources) = serde_json::from_slice::<Vec<&RawValue>>(&page.resources) else {
            return Err(failure);
        };
        let limit = self.runtime.limits.deadline;
        let begun = Instant::now();
        let mut report = MapReport::default();
        let mut crashed = 0;
        for (index, resource) in resources.iter().enumerate() {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(Failure::Deadline { limit });
            }
            match self.run(format!("[{resource}]").as_bytes(), 1, left, false) {
                Ok(one) => {
                    report.entities.extend(one.entities);
                    report.errors.extend(one.errors.into_iter().map(|error| ItemError { index, ..error }));
                }
                Err(cause) if cause.may_be_one_resource() => {
                    crashed += 1;
                    let reason = format!("plugin `{}` {cause}", self.plugin.name);
                    report.errors.push(ItemError { index, resource: telling_name(resource, index), reason });
                }
                // What was left of the time is not the limit that an operator knows.
                Err(Failure::Deadline { .. }) => return Err(Failure::Deadline { limit }),
                Err(cause) => return Err(cause),
            }
        }
        if crashed == resources.len() { Err(failure) } else { Ok(report) }
    }
}

/// A name for a resource that could not be mapped: its ARN, id or name, else its position.
fn telling_name(resource: &RawValue, index: usize) -> String {
    let parsed: Value = serde_json::from_str(resource.get()).unwrap_or_default();
    let item = &parsed["item"];
    let named = |ending: &str| {
        item.as_object()?.iter().find_map(|(key, value)| {
            let name = value.as_str().filter(|name| !name.is_empty())?;
            key.to_ascii_lowercase().ends_with(ending).then(|| name.to_owned())
        })
    };
    item.as_str()
        .map(ToOwned::to_owned)
        .or_else(|| ["arn", "id", "name"].into_iter().find_map(named))
        .unwrap_or_else(|| format!("resource {index} of the batch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_called_by_its_most_telling_name() {
        for (resource, name) in [
            (r#"{"item": {"Name": "n", "VpcId": "v", "TopicArn": "arn:aws:sns:::t"}}"#, "arn:aws:sns:::t"),
            (r#"{"item": {"Name": "n", "VpcId": "v"}}"#, "v"),
            (r#"{"item": {"Name": "n", "VpcId": ""}}"#, "n"),
            (r#"{"item": "arn:aws:ecs:::cluster/c"}"#, "arn:aws:ecs:::cluster/c"),
            (r#"{"item": {"Size": 3}}"#, "resource 4 of the batch"),
            ("3", "resource 4 of the batch"),
        ] {
            let resource: Box<RawValue> = RawValue::from_string(resource.to_owned()).unwrap();
            assert_eq!(telling_name(&resource, 4), name);
        }
    }
}
