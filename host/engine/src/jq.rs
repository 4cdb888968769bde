//! Evaluates users' own JQ mappings. A component in the same sandbox as any plugin evaluates them, so that
//! the same limits stop a runaway expression.
//!
//! Compiling a mapping takes longer than evaluating it on a batch. Therefore an instance is kept for the
//! next batch of the same mapping, unless a call failed in it.

use std::{
    borrow::Cow,
    path::PathBuf,
    str,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use berth_core::{ItemError, Kind, MapContext, MapReport, Problem, ProblemCode, RawPage, ResourceConfig};
use berth_mapping::{Broken, document::DocumentShape, split_list};
use serde_json::json;
use wasmtime::Store;

use crate::{
    cache::Lease,
    config::Variables,
    contract::jq_v1_0::{Evaluator, Instance},
    info::UseMeter,
    isolation::{self, Placed},
    limits::KEPT_MAPPINGS,
    output::{Evaluated, ResourceDocuments},
    plugin::{Lazy, descriptive_name, output_bound},
    runtime::Runtime,
    sandbox::{Bounds, Guest, LogContext, PluginFailure},
    wasi::{Inputs, Seed},
};

/// The JQ component.
pub(crate) struct Jq {
    pub(crate) file: PathBuf,
    pub(crate) sha256: String,
    /// Its code in the cache.
    pub(crate) lease: Option<Arc<Lease>>,
    pub(crate) evaluator: Lazy<Placed<Evaluator>>,
    environment: Variables,
    idle: Mutex<Vec<MappingInstance>>,
    most_idle: usize,
    pub(crate) used: UseMeter,
}

/// An instance that has compiled a mapping.
struct MappingInstance {
    mapping: Arc<[u8]>,
    at: At,
}

/// Where an instance runs.
enum At {
    /// In this process.
    Here(Box<(Store<Guest>, Instance)>),
    /// In a separate process.
    Apart(Box<isolation::MappingProcess>),
}

impl At {
    fn memory(&self) -> usize {
        match self {
            Self::Here(here) => here.0.data().memory(),
            Self::Apart(session) => session.memory(),
        }
    }
}

/// Why a mapping had no result.
enum Fault {
    /// The mapping does not compile.
    Mapping(String),
    Failed(PluginFailure),
}

impl From<PluginFailure> for Fault {
    fn from(failure: PluginFailure) -> Self {
        Self::Failed(failure)
    }
}

impl Jq {
    /// Creates it from the file with its digest; `most_idle` is the number of instances to keep.
    pub(crate) fn new(
        (file, sha256): (PathBuf, String),
        lease: Option<Arc<Lease>>,
        evaluator: Lazy<Placed<Evaluator>>,
        environment: Variables,
        most_idle: usize,
    ) -> Self {
        let idle = Mutex::new(Vec::new());
        Self { file, sha256, lease, evaluator, environment, idle, most_idle, used: UseMeter::default() }
    }

    /// Evaluates a mapping on documents.
    ///
    /// # Errors
    /// A [`Problem`] that names the mapping's kind, and the expression or the limit.
    pub(crate) fn map(
        &self,
        runtime: &Runtime,
        kind: &Kind,
        context: &MapContext,
        resource: &ResourceConfig,
        documents: &ResourceDocuments,
    ) -> Result<MapReport, Problem> {
        if documents.is_empty() {
            return Ok(MapReport { errors: documents.errors.clone(), ..MapReport::default() });
        }
        let elements: Vec<&str> = documents.iter().map(|(_, document)| document).collect();
        let call = self.call(runtime, kind, context, mapping(self, resource, None), None);
        let evaluated = call.run(documents.list(), &elements).map_err(|fault| fault.problem(kind))?;
        let mut report = evaluated.report(|position| documents.iter().nth(position), "Properties");
        report.errors.extend(documents.errors.iter().cloned());
        report.errors.sort_by_key(|error| error.index);
        report.resources = documents.resources();
        Ok(report)
    }

    /// Evaluates a mapping on resources, whose documents the manifest declares: they are made only where an
    /// expression needs them.
    ///
    /// # Errors
    /// As of [`map`](Self::map).
    pub(crate) fn map_resources(
        &self,
        runtime: &Runtime,
        kind: &Kind,
        context: &MapContext,
        (resource, document): (&ResourceConfig, &DocumentShape),
        page: &RawPage,
    ) -> Result<MapReport, Problem> {
        let broken = |reason: String| {
            PluginFailure::Nonsense(format!("the batch is no JSON list: {reason}")).problem()
        };
        let list = str::from_utf8(&page.resources).map_err(|error| broken(error.to_string()))?;
        let elements = split_list(list).map_err(|Broken| broken("it does not end".to_owned()))?;
        if elements.is_empty() {
            return Ok(MapReport::default());
        }
        let origin = json!({
            "kind": kind,
            "account": context.account.id,
            "region": context.region,
            "partition": context.account.partition.as_str(),
            "options": context.options,
        });
        let call = self.call(
            runtime,
            kind,
            context,
            mapping(self, resource, Some(document)),
            Some(origin.to_string()),
        );
        let evaluated = call.run(list, &elements).map_err(|fault| fault.problem(kind))?;
        let resources = evaluated.documents;
        let mut report =
            evaluated.report(|position| elements.get(position).map(|element| (position, *element)), "item");
        report.resources = resources;
        Ok(report)
    }

    fn call<'a>(
        &'a self,
        runtime: &'a Runtime,
        kind: &Kind,
        context: &MapContext,
        mapping: Arc<[u8]>,
        origin: Option<String>,
    ) -> Call<'a> {
        Call { jq: self, runtime, log_context: LogContext::new(&"jq".into(), kind, context), mapping, origin }
    }
}

/// What the component compiles.
fn mapping(jq: &Jq, resource: &ResourceConfig, document: Option<&DocumentShape>) -> Arc<[u8]> {
    let mut mapping = json!({
        "selector": {"query": resource.selector.query},
        "port": resource.port,
        "environment": jq.environment.values(),
    });
    if let Some(document) = document {
        mapping["document"] = json!(document);
    }
    mapping.to_string().into_bytes().into()
}

impl Evaluated {
    /// The report of it, where `element` gives an element of the batch and the index of its resource. The resource
    /// has its names in `member`.
    fn report<'d>(self, element: impl Fn(usize) -> Option<(usize, &'d str)>, member: &str) -> MapReport {
        let named = self.errors.into_iter().filter_map(|(position, reason)| {
            let (index, text) = element(position)?;
            Some(ItemError { index, resource: descriptive_name(text, member, index), reason })
        });
        MapReport {
            errors: named.collect(),
            entities: self.entities,
            filtered: self.filtered,
            misconfigured: self.misconfigured,
            ..MapReport::default()
        }
    }
}

/// The data that all calls for one batch share.
struct Call<'a> {
    jq: &'a Jq,
    runtime: &'a Runtime,
    log_context: LogContext,
    mapping: Arc<[u8]>,
    /// Where resources come from, as JSON, if the batch consists of resources.
    origin: Option<String>,
}

impl Call<'_> {
    /// Evaluates the mapping on a batch: a list, and its elements.
    fn run(&self, list: &str, elements: &[&str]) -> Result<Evaluated, Fault> {
        self.jq.used.measure(|| match self.evaluate(list, self.runtime.limits.deadline) {
            Err(Fault::Failed(failure)) if failure.may_be_one_resource() && elements.len() > 1 => {
                self.one_by_one(elements, failure)
            }
            outcome => outcome,
        })
    }

    /// Evaluates the mapping on a list.
    fn evaluate(&self, list: &str, deadline: Duration) -> Result<Evaluated, Fault> {
        let documents = match &self.origin {
            Some(origin) => Cow::Owned(format!("{{\"context\":{origin},\"resources\":{list}}}")),
            None => Cow::Borrowed(list),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut session = self.session(deadline)?;
        let bounds =
            Bounds { deadline, output_bytes: output_bound(self.runtime, documents.len()), log: true };
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let returned = match (&mut session.at, &*self.jq.evaluator.get()?) {
            (At::Apart(session), Placed::Apart(apart)) => {
                session.evaluate(apart, documents.as_bytes(), now, bounds)?
            }
            (At::Here(here), _) => {
                let (store, instance) = &mut **here;
                Runtime::call_in(store, bounds, |store| instance.evaluate(store, documents.as_bytes(), now))?
            }
            (At::Apart(_), Placed::Here(_)) => {
                return Err(PluginFailure::Ended("it belongs to another run".into()).into());
            }
        };
        let returned = returned.map_err(|reason| PluginFailure::refused(&reason))?;
        self.keep(session);
        Evaluated::read(&returned).map_err(|what| Fault::Failed(PluginFailure::Nonsense(what)))
    }

    /// Returns an instance that has compiled the mapping: a kept one, or a new one.
    fn session(&self, deadline: Duration) -> Result<MappingInstance, Fault> {
        let mut idle = self.jq.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = idle.iter().position(|session| session.mapping == self.mapping) {
            return Ok(idle.remove(at));
        }
        drop(idle);
        let evaluator = self.jq.evaluator.get()?;
        let bounds = Bounds { deadline, output_bytes: output_bound(self.runtime, 0), log: true };
        let at = match &*evaluator {
            Placed::Here(evaluator) => {
                let inputs = Some(Inputs::of_manifest(Seed::of(self.runtime.wasi, &self.jq.sha256)));
                let mut store = self.runtime.store(&self.log_context, inputs, true);
                let (instance, compiled) = Runtime::call_in(&mut store, bounds, |store| {
                    let instance = evaluator.instantiate(store)?;
                    let compiled = instance.compile(store, &self.mapping)?;
                    Ok((instance, compiled))
                })?;
                compiled.map_err(Fault::Mapping)?;
                At::Here(Box::new((store, instance)))
            }
            Placed::Apart(apart) => {
                let former = match self.oldest() {
                    Some(MappingInstance { at: At::Apart(session), .. }) => Some(*session),
                    _ => None,
                };
                let compiled = isolation::MappingProcess::compile(
                    apart,
                    former,
                    &self.log_context,
                    &self.mapping,
                    bounds,
                )?;
                At::Apart(Box::new(compiled.map_err(Fault::Mapping)?))
            }
        };
        Ok(MappingInstance { mapping: Arc::clone(&self.mapping), at })
    }

    /// Returns the least recently used instance, if the maximum number exists. Starting a process takes
    /// longer than compiling a mapping in a process that has another one.
    fn oldest(&self) -> Option<MappingInstance> {
        let mut idle = self.jq.idle.lock().unwrap_or_else(PoisonError::into_inner);
        (idle.len() >= self.jq.most_idle && !idle.is_empty()).then(|| idle.remove(0))
    }

    fn keep(&self, session: MappingInstance) {
        // Memory never shrinks, and the leftovers of expressions must not accumulate.
        if session.at.memory() > self.runtime.limits.memory_bytes / 2 {
            return;
        }
        let most = match session.at {
            At::Here(_) => self.jq.most_idle.max(KEPT_MAPPINGS),
            At::Apart(_) => self.jq.most_idle,
        };
        let mut idle = self.jq.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= most && !idle.is_empty() {
            idle.remove(0);
        }
        if idle.len() < most {
            idle.push(session);
        }
    }

    /// Evaluates each document alone, so that a document that crashes the evaluation affects only itself.
    /// All of them together have the time of one batch.
    fn one_by_one(&self, elements: &[&str], failure: PluginFailure) -> Result<Evaluated, Fault> {
        let limit = self.runtime.limits.deadline;
        let begun = Instant::now();
        let mut all = Evaluated::default();
        let mut crashed = 0;
        for (position, element) in elements.iter().enumerate() {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(PluginFailure::Deadline { limit }.into());
            }
            match self.evaluate(&format!("[{element}]"), left) {
                Ok(one) => {
                    all.entities.extend(one.entities);
                    all.errors.extend(one.errors.into_iter().map(|(_, reason)| (position, reason)));
                    all.filtered += one.filtered;
                    all.documents += one.documents;
                    all.misconfigured.extend(one.misconfigured);
                }
                Err(Fault::Failed(cause)) if cause.may_be_one_resource() => {
                    crashed += 1;
                    all.documents += 1;
                    all.errors.push((position, format!("the mapping {cause}")));
                }
                Err(Fault::Failed(PluginFailure::Deadline { .. })) => {
                    return Err(PluginFailure::Deadline { limit }.into());
                }
                Err(fault) => return Err(fault),
            }
        }
        if crashed == elements.len() { Err(failure.into()) } else { Ok(all) }
    }
}

impl Fault {
    fn problem(self, kind: &Kind) -> Problem {
        match self {
            Self::Mapping(reason) => Problem::new(
                ProblemCode::MappingInvalid,
                format!("the mapping of {kind} is invalid: {reason}"),
            )
            .remedy("correct the mapping in Port, on the page of the data source"),
            Self::Failed(PluginFailure::Unloadable(problem)) => problem,
            Self::Failed(failure @ (PluginFailure::Deadline { .. } | PluginFailure::Memory { .. })) => Problem::new(
                failure.code(),
                format!("the mapping of {kind} {failure}"),
            )
            .remedy(
                "look for an expression that never ends or grows without bound; if the resources are just \
                     many or large, raise the plugins' limits or lower the batch size of the kind's plan",
            ),
            Self::Failed(failure) => Problem::new(failure.code(), format!("the mapping of {kind} {failure}"))
                .remedy("simplify the mapping's expressions in Port, on the page of the data source"),
        }
    }
}
