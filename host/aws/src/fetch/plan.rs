//! Prepares a fetch plan to run: resolves operations, compiles templates, orders steps.

use std::collections::BTreeSet;

use berth_aws_protocol::{AwsService, Operation};
use berth_core::{
    BatchFailures, ErrorClass, ErrorPolicy, ErrorRule, FetchError, KindManifest, KindReads, Path, Problem,
    ProblemCode, Step, Template, Unmatched,
};
use serde_json::Value;

use crate::{
    errors::{CallError, PLAN_AT_FAULT},
    once, sensitive_reads,
};

/// The default number of resources in a batch.
const CHUNK: usize = 100;

/// A plan that is ready to run with certain options.
#[derive(Debug)]
pub(super) struct Plan {
    /// The list steps from the root to the resources, each with its enrichments.
    pub(super) lists: Vec<List>,
    pub(super) chunk: usize,
}

#[derive(Debug)]
pub(super) struct List {
    pub(super) step: ReadyStep,
    /// Enrichments, in stages: a stage uses results of earlier stages.
    pub(super) stages: Vec<Vec<ReadyStep>>,
}

/// A resolved step.
#[derive(Debug)]
pub(super) struct ReadyStep {
    pub(super) step: Step,
    /// Whether it is the first list of the plan, without which nothing can be read.
    pub(super) is_root: bool,
    pub(super) operation: Operation,
    pub(super) region: Option<Template>,
    /// Selects the items to list, if not all.
    pub(super) only: Option<(Path, Template)>,
    /// Whether its input uses `parents`, so that a batch must not mix the children of two parents.
    pub(super) uses_parents: bool,
    uses_steps: bool,
}

/// What a step does after an error.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ErrorAction {
    /// There is no result.
    Absent,
    /// The result is unknown; the plan may set a value to use instead.
    Unread(Option<Value>),
    Drop,
    SkipUnit,
    Fail,
    /// This value replaces the response.
    Use(Value),
}

impl Plan {
    pub(super) fn compile(
        kind: &KindManifest,
        options: &BTreeSet<String>,
        granted: &BTreeSet<String>,
    ) -> Result<Self, FetchError> {
        let lists = kind.plan().list_steps();
        let names: Vec<&str> = lists.iter().map(|step| step.id.as_str()).collect();
        if let Some(step) = kind.plan().steps.iter().find(|s| s.parent().is_some_and(|p| !names.contains(&p)))
        {
            let problem = Problem::new(
                ProblemCode::PluginPlan,
                format!(
                    "{}, step `{}`: `{}` has no items to run for",
                    kind.kind,
                    step.id,
                    step.parent().unwrap_or_default()
                ),
            );
            return Err(FetchError::Failed(problem.remedy(PLAN_AT_FAULT)));
        }
        let ready = |step: &Step| ReadyStep::new(kind, step, granted);
        let mut compiled = Vec::with_capacity(lists.len());
        for list in &lists {
            let mut stages: Vec<Vec<ReadyStep>> = Vec::new();
            for step in kind.plan().enrichments(&list.id, options) {
                let step = ready(step)?;
                match stages.last_mut() {
                    Some(stage) if !step.uses_steps => stage.push(step),
                    _ => stages.push(vec![step]),
                }
            }
            compiled.push(List { step: ready(list)?, stages });
        }
        let chunk = kind.plan().chunk.and_then(|chunk| usize::try_from(chunk).ok()).unwrap_or(CHUNK);
        Ok(Self { lists: compiled, chunk: chunk.max(1) })
    }

    /// Warns about lists that do not set their page size. `berth plugin check` rejects such a plan, but an
    /// installed plugin runs.
    pub(super) fn warn_of_page_sizes(&self, kind: &KindManifest) {
        for ReadyStep { step, operation, .. } in self.lists.iter().map(|list| &list.step) {
            if let Some(limit) = operation.missing_page_size(step.input.source())
                && once::is_first(format!("page size of {}, {}", kind.kind, step.id))
            {
                tracing::warn!(
                    kind = %kind.kind, step = step.id, %operation, limit,
                    "the plan does not set a page size, so the service may return everything \
                     at once; run `berth plugin check` for details"
                );
            }
        }
    }
}

impl ReadyStep {
    fn new(kind: &KindManifest, step: &Step, granted: &BTreeSet<String>) -> Result<Self, FetchError> {
        let named = |text: String| format!("{}, step `{}`: {text}", kind.kind, step.id);
        let wrong = |text| {
            FetchError::Failed(Problem::new(ProblemCode::PluginPlan, named(text)).remedy(PLAN_AT_FAULT))
        };
        sensitive_reads::check_read(&step.service, &step.operation, granted).map_err(|problem| {
            FetchError::Skipped(problem.map_message(|message| named(message.to_owned())))
        })?;
        let operation = AwsService::load(&step.service)
            .and_then(|service| service.operation(&step.operation))
            .map_err(|error| wrong(error.to_string()))?;
        let template = |member: &str, text: &str| {
            Template::parse(&Value::from(text)).map_err(|error| wrong(format!("`{member}`: {error}")))
        };
        let region = step.region.as_deref().map(|text| template("region", text)).transpose()?;
        let only = step.only.as_ref().map(|only| Ok((only.path.clone(), template("only", &only.is)?)));
        let only = only.transpose()?;
        let roots = |root: &str| {
            step.input.template().roots().contains(&root)
                || region.as_ref().is_some_and(|region| region.roots().contains(&root))
        };
        Ok(Self {
            uses_parents: roots("parents"),
            uses_steps: roots("steps"),
            is_root: step.parent().is_none(),
            step: step.clone(),
            operation,
            region,
            only,
        })
    }

    /// Returns the action for an error: by the exact code, then its class, then `*`, then the defaults.
    ///
    /// `*` covers AWS's errors about the request. A throttled or failing service says nothing about the
    /// resource, so `*` does not cover it.
    ///
    /// By default, a denied first list skips the unit. Any other denial affects only the resource that was
    /// requested.
    pub(super) fn error_action(&self, error: &CallError) -> ErrorAction {
        let default =
            if self.is_root && is_refusal(error) { ErrorAction::SkipUnit } else { ErrorAction::Fail };
        let Some(code) = error.code() else { return default };
        let rules = &self.step.errors;
        let by_class = match error.class() {
            ErrorClass::Denied => rules.get("denied"),
            ErrorClass::Missing => rules.get("missing"),
            ErrorClass::Throttled | ErrorClass::Unavailable | ErrorClass::Other => None,
        };
        let by_any = || rules.get("*").filter(|_| !error.is_busy());
        let named = rules.get(code).or(by_class);
        // An error that hides the result does not prove that there is none.
        let hidden = error.class().hides_the_resource() || named.is_none();
        match named.or_else(by_any) {
            None => default,
            Some(ErrorRule::Use { value }) if hidden => ErrorAction::Unread(Some(value.clone())),
            Some(ErrorRule::Use { value }) => ErrorAction::Use(value.clone()),
            Some(ErrorRule::Policy(ErrorPolicy::Absent)) if hidden => ErrorAction::Unread(None),
            Some(ErrorRule::Policy(ErrorPolicy::Absent)) => ErrorAction::Absent,
            Some(ErrorRule::Policy(ErrorPolicy::Drop)) => ErrorAction::Drop,
            Some(ErrorRule::Policy(ErrorPolicy::SkipUnit)) => ErrorAction::SkipUnit,
            Some(ErrorRule::Policy(ErrorPolicy::Fail)) => ErrorAction::Fail,
        }
    }

    /// Returns whether to request a failed batch in halves: one of its items may be the cause.
    pub(super) fn may_be_one_item(&self, error: &CallError) -> bool {
        !error.is_busy() && error.code().is_some() && self.error_action(error) != ErrorAction::SkipUnit
    }

    /// Returns the paths at which a batch reports failures, if the plan sets them.
    pub(super) fn failures(&self) -> Option<&BatchFailures> {
        self.step.matching.as_ref()?.failures.as_ref()
    }

    /// Returns the result for an item that a batch does not mention.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.step.matching.as_ref().map(|matching| matching.unmatched).unwrap_or_default()
    }

    /// Returns whether this error of a batch means that an item does not exist.
    pub(super) fn may_drop(&self, error: &CallError) -> bool {
        self.error_action(error) == ErrorAction::Drop
            || (error.class() == ErrorClass::Missing && self.has_no_rule_for(error))
    }

    /// Returns whether the plan has no rule for this error.
    pub(super) fn has_no_rule_for(&self, error: &CallError) -> bool {
        let rules = &self.step.errors;
        error.code().is_none_or(|code| !rules.contains_key(code))
            && !rules.contains_key("*")
            && !rules.contains_key("missing")
    }
}

/// Returns whether an error means that access is denied, or that the service is not available there.
pub(super) fn is_refusal(error: &CallError) -> bool {
    error.class() == ErrorClass::Denied || error.is_unavailable()
}
