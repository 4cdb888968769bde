//! One plugin that is ready to map.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use berth_core::{ItemError, Kind, Manifest, MapContext, Problem, RawPage, ResourceConfig};
use berth_mapping::document::DocumentShape;
use serde_json::{Value, value::RawValue};

use crate::{
    cache::Lease,
    contract::{ContractVersion, MapBatch, Program},
    info::{CodeOrigin, UseMeter},
    isolation::Placed,
    output::PluginOutput,
    runtime::Runtime,
    sandbox::{Bounds, LogContext, PluginFailure},
    wasi::{Inputs, Seed},
};

/// A batch may return this multiple of its input.
const OUTPUT_RATIO: usize = 16;
/// A batch may always return this much, even for a smaller input.
const OUTPUT_FLOOR: usize = 1 << 20;

/// The number of consecutive batches without enough time after which a plugin is paused. Otherwise, an
/// endless plugin would block the threads for others, for the time limit of each of its batches.
const MAX_CONSECUTIVE_TIMEOUTS: u32 = 3;
/// The duration of the pause.
const PAUSE: Duration = Duration::from_mins(5);

/// The number of consecutive batches in which a plugin ran out of time.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker(Mutex<(u32, Option<Instant>)>);

impl CircuitBreaker {
    /// Rejects a plugin that is paused.
    fn check(&self) -> Result<(), PluginFailure> {
        let mut breaker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *breaker {
            (_, Some(until)) if Instant::now() < until => {
                Err(PluginFailure::Paused { consecutive_timeouts: MAX_CONSECUTIVE_TIMEOUTS })
            }
            (_, Some(_)) => {
                *breaker = (0, None);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&self, ran_out: bool) {
        let mut breaker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let consecutive_timeouts = if ran_out { breaker.0 + 1 } else { 0 };
        let until = (consecutive_timeouts >= MAX_CONSECUTIVE_TIMEOUTS).then(|| Instant::now() + PAUSE);
        *breaker = (consecutive_timeouts, until);
    }
}

/// An accepted plugin.
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) file: PathBuf,
    pub(crate) sha256: String,
    pub(crate) size: u64,
    pub(crate) contract: ContractVersion,
    pub(crate) imports: Vec<String>,
    /// The seed of its random numbers; `None` for a plugin without WASI.
    pub(crate) seed: Option<Seed>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) code: CodeOrigin,
    pub(crate) load_time: Duration,
    pub(crate) program: Lazy<Placed<dyn Program>>,
    /// Whether it runs in separate processes.
    pub(crate) isolated: bool,
    pub(crate) peak_memory: AtomicUsize,
    pub(crate) breaker: CircuitBreaker,
    pub(crate) used: Arc<UseMeter>,
    /// Its code in the cache.
    pub(crate) lease: Option<Arc<Lease>>,
}

/// The code of a component. Cached code is loaded at first use, so that unused kinds do not slow down the
/// start.
pub(crate) struct Lazy<T: ?Sized> {
    slot: Mutex<Option<Arc<T>>>,
    load: Box<Load<T>>,
}

type Load<T> = dyn Fn() -> Result<Arc<T>, Problem> + Send + Sync;

impl<T: ?Sized> Lazy<T> {
    pub(crate) fn new(
        loaded: Option<Arc<T>>,
        load: impl Fn() -> Result<Arc<T>, Problem> + Send + Sync + 'static,
    ) -> Self {
        Self { slot: Mutex::new(loaded), load: Box::new(load) }
    }

    pub(crate) fn get(&self) -> Result<Arc<T>, PluginFailure> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*slot {
            return Ok(Arc::clone(loaded));
        }
        let loaded = (self.load)().map_err(PluginFailure::Unloadable)?;
        *slot = Some(Arc::clone(&loaded));
        Ok(loaded)
    }
}

/// Returns the maximum output for an input of this many bytes.
pub(crate) fn output_bound(runtime: &Runtime, input: usize) -> usize {
    input.saturating_mul(OUTPUT_RATIO).max(OUTPUT_FLOOR).min(runtime.limits.output_bytes)
}

impl Plugin {
    /// Returns what the manifest declares of the documents of a kind, if a mapping can be evaluated by it: one that
    /// splits documents needs the documents themselves.
    pub(crate) fn document_for(&self, kind: &Kind, mapping: &ResourceConfig) -> Option<&DocumentShape> {
        if mapping.port.items.items_to_parse.is_some() {
            return None;
        }
        self.manifest.kinds.iter().find(|known| known.kind == *kind)?.document.as_ref()
    }

    /// Returns the data that its WASI calls return, for one batch. Most plugins call none, and then no
    /// clock is read.
    pub(crate) fn inputs(&self, runtime: &Runtime) -> Option<Inputs> {
        self.seed.map(|seed| Inputs::of_batch(runtime.wasi, seed))
    }

    /// Maps a batch by the plugin's own code, to entities or documents. If it crashes, each resource is
    /// tried alone, so that one bad resource affects only itself.
    pub(crate) fn map<A: PluginOutput>(
        &self,
        runtime: &Runtime,
        kind: &Kind,
        context: &MapContext,
        page: &RawPage,
    ) -> Result<A, PluginFailure> {
        if page.count == 0 {
            return Ok(A::default());
        }
        self.breaker.check()?;
        let program = self.program.get()?;
        let call = Call {
            plugin: self,
            runtime,
            program: &program,
            log_context: LogContext::new(&self.name, kind, context),
            inputs: self.inputs(runtime),
            kind,
            context,
        };
        let outcome = self.used.measure(|| {
            match call.run(&page.resources, page.count, runtime.limits.deadline, true) {
                Err(failure) if failure.may_be_one_resource() && page.count > 1 => {
                    call.one_by_one(page, failure)
                }
                outcome => outcome,
            }
        });
        self.breaker.count(matches!(outcome, Err(PluginFailure::Deadline { .. })));
        outcome
    }
}

/// The data that all calls for one batch share.
struct Call<'a> {
    plugin: &'a Plugin,
    runtime: &'a Runtime,
    program: &'a Placed<dyn Program>,
    log_context: LogContext,
    /// The same for all calls: a resource that is tried alone sees the same time.
    inputs: Option<Inputs>,
    kind: &'a Kind,
    context: &'a MapContext,
}

impl Call<'_> {
    fn run<A: PluginOutput>(
        &self,
        resources: &[u8],
        count: usize,
        deadline: Duration,
        log: bool,
    ) -> Result<A, PluginFailure> {
        let output_bytes = output_bound(self.runtime, resources.len());
        let batch = MapBatch { kind: self.kind, context: self.context, output: A::OUTPUT, resources };
        let bounds = Bounds { deadline, output_bytes, log };
        let called = self.program.map_batch(self.runtime, &self.log_context, self.inputs, bounds, batch);
        self.plugin.peak_memory.fetch_max(called.peak_memory, Ordering::Relaxed);
        let returned = called.result?.map_err(|reason| PluginFailure::refused(&reason))?;
        A::read(&returned, count).map_err(PluginFailure::Nonsense)
    }

    /// Maps each resource in its own instance. All of them together have the time of one batch.
    fn one_by_one<A: PluginOutput>(
        &self,
        page: &RawPage,
        failure: PluginFailure,
    ) -> Result<A, PluginFailure> {
        let Ok(resources) = serde_json::from_slice::<Vec<&RawValue>>(&page.resources) else {
            return Err(failure);
        };
        let limit = self.runtime.limits.deadline;
        let begun = Instant::now();
        let mut answer = A::default();
        let mut crashed = 0;
        for (index, resource) in resources.iter().enumerate() {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(PluginFailure::Deadline { limit });
            }
            match self.run(format!("[{resource}]").as_bytes(), 1, left, false) {
                Ok(one) => answer.add(index, one),
                Err(cause) if cause.may_be_one_resource() => {
                    crashed += 1;
                    let reason = format!("plugin `{}` {cause}", self.plugin.name);
                    let resource = descriptive_name(resource.get(), "item", index);
                    answer.errors().push(ItemError { index, resource, reason });
                }
                // Report the limit that the operator knows, not the remaining time.
                Err(PluginFailure::Deadline { .. }) => return Err(PluginFailure::Deadline { limit }),
                Err(cause) => return Err(cause),
            }
        }
        if crashed == resources.len() { Err(failure) } else { Ok(answer) }
    }
}

/// A name for a resource that could not be mapped: the ARN, id or name in a member of what is known
/// of it, else its position.
pub(crate) fn descriptive_name(resource: &str, member: &str, index: usize) -> String {
    let parsed: Value = serde_json::from_str(resource).unwrap_or_default();
    let item = &parsed[member];
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
    fn a_plugin_that_keeps_running_out_of_time_is_paused() {
        let breaker = CircuitBreaker::default();
        for ran_out in [true, true, false, true, true] {
            breaker.count(ran_out);
            assert_eq!(breaker.check(), Ok(()));
        }
        breaker.count(true);
        assert_eq!(
            breaker.check(),
            Err(PluginFailure::Paused { consecutive_timeouts: MAX_CONSECUTIVE_TIMEOUTS })
        );
        // The pause ends.
        breaker.0.lock().unwrap().1 = Some(Instant::now());
        assert_eq!(breaker.check(), Ok(()));
    }

    #[test]
    fn a_resource_has_its_most_descriptive_name() {
        for (resource, name) in [
            (r#"{"item": {"Name": "n", "VpcId": "v", "TopicArn": "arn:aws:sns:::t"}}"#, "arn:aws:sns:::t"),
            (r#"{"item": {"Name": "n", "VpcId": "v"}}"#, "v"),
            (r#"{"item": {"Name": "n", "VpcId": ""}}"#, "n"),
            (r#"{"item": "arn:aws:ecs:::cluster/c"}"#, "arn:aws:ecs:::cluster/c"),
            (r#"{"item": {"Size": 3}}"#, "resource 4 of the batch"),
            ("3", "resource 4 of the batch"),
        ] {
            assert_eq!(descriptive_name(resource, "item", 4), name);
        }
    }
}
