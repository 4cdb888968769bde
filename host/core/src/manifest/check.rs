//! Checks a manifest beyond its schema: names are unique, steps use only earlier steps, placeholders have a
//! value, and no error that hides a resource makes the resource look deleted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ErrorPolicy, ErrorRule, KindManifest, Manifest, ManifestError, Scope, Step};
use crate::{ErrorClass, NO_ORGANIZATION, Path, PathError, Template};

pub(crate) fn refuse(at: impl Into<String>, reason: impl Into<String>) -> ManifestError {
    ManifestError { at: at.into(), reason: reason.into() }
}

impl Manifest {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        let named = !self.name.is_empty()
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(refuse("name", "a plugin's name consists of lower-case letters, digits and dashes"));
        }
        if self.kinds.is_empty() {
            return Err(refuse("kinds", "a plugin maps at least one kind"));
        }
        let mut seen = BTreeSet::new();
        for (index, kind) in self.kinds.iter().enumerate() {
            let at = format!("kinds[{index}]");
            if !seen.insert(&kind.kind) {
                return Err(refuse(format!("{at}.kind"), format!("`{}` is listed twice", kind.kind)));
            }
            kind.check(&at)?;
        }
        Ok(())
    }
}

impl Step {
    /// Checks the step's declarations of empty lists and failed items.
    fn check_completeness(&self, at: &str) -> Result<(), ManifestError> {
        if self.empty.is_some() && !self.items.as_ref().is_some_and(Path::is_list) {
            return Err(refuse(format!("{at}.empty"), "`items` is not a list, so `empty` does not apply"));
        }
        let Some(matching) = &self.matching else { return Ok(()) };
        let Some(failures) = &matching.failures else { return Ok(()) };
        if !failures.items.is_list() {
            return Err(refuse(
                format!("{at}.match.failures.items"),
                "the path of the failures must be a list, as in `failures[]`",
            ));
        }
        if failures.reason.is_none() && !failures.missing.is_empty() {
            let reason = "`missing` lists reasons, but `reason` is not set";
            return Err(refuse(format!("{at}.match.failures.missing"), reason));
        }
        Ok(())
    }
}

impl KindManifest {
    fn check(&self, at: &str) -> Result<(), ManifestError> {
        if (self.scope == Scope::Account) != self.plan.is_empty() {
            let reason = match self.scope {
                Scope::Account => {
                    "a kind of scope `account` gets its resources from the host and has no steps"
                }
                _ => "a kind needs at least one step, unless its scope is `account`",
            };
            return Err(refuse(format!("{at}.plan.steps"), reason));
        }
        if let Some(mapping) = &self.mapping
            && mapping.kind != self.kind
        {
            let reason = format!("`{}` maps a different kind than `{}`", mapping.kind, self.kind);
            return Err(refuse(format!("{at}.mapping.kind"), reason));
        }
        self.check_plan_of(&[], at)?;
        self.check_document(at)?;
        self.check_events(at)
    }

    /// Checks the plan. `more` are placeholder roots that are valid in addition to those of a plan.
    pub(crate) fn check_plan_of(&self, more: &[&str], at: &str) -> Result<(), ManifestError> {
        const ROOTS: [&str; 8] =
            ["item", "items", "parents", "steps", "account", "region", "partition", "kind"];
        let roots = [&ROOTS, more].concat();
        let plan = &self.plan;
        if plan.chunk == Some(0) {
            return Err(refuse(format!("{at}.plan.chunk"), "a batch has at least one resource"));
        }
        if let Some(id) = &plan.resources
            && plan.step(id).is_none()
        {
            return Err(refuse(format!("{at}.plan.resources"), format!("there is no step `{id}`")));
        }
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let at = format!("{at}.plan.steps[{index}]");
            self.check_step(step, &earlier, &roots, &at)?;
            if !earlier.insert(&step.id) {
                return Err(refuse(format!("{at}.id"), format!("`{}` is used twice", step.id)));
            }
        }
        self.check_lists(at)
    }

    /// Checks a step, whose placeholders may use these roots. `earlier` are the steps before it.
    fn check_step(
        &self,
        step: &Step,
        earlier: &BTreeSet<&str>,
        roots: &[&str],
        at: &str,
    ) -> Result<(), ManifestError> {
        if step.each.is_some() && step.batch.is_some() {
            return Err(refuse(at, "a step has either `each` or `batch`"));
        }
        match step.parent() {
            None if !earlier.is_empty() => {
                return Err(refuse(at, "only the first step has no parent; set `each` or `batch`"));
            }
            Some(parent) if !earlier.contains(parent) => {
                return Err(refuse(at, format!("there is no earlier step `{parent}`")));
            }
            _ => {}
        }
        if let Some(batch) = &step.batch {
            if batch.size == 0 {
                return Err(refuse(format!("{at}.batch.size"), "a batch has at least one item"));
            }
            if step.matching.is_none() || step.items.is_none() {
                return Err(refuse(
                    at,
                    "a batch step needs `items` and `match` to assign each result to its item",
                ));
            }
        }
        if let Some(option) = &step.option
            && !self.options.iter().any(|known| known.name == *option)
        {
            return Err(refuse(
                format!("{at}.option"),
                format!("`{option}` is not among the kind's `options`"),
            ));
        }
        let texts = [("region", step.region.as_ref()), ("only.is", step.only.as_ref().map(|only| &only.is))];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            let at = format!("{at}.{name}");
            let template = Template::parse(&Value::from(text.as_str()))
                .map_err(|PathError { path, reason }| refuse(&at, format!("`{path}`: {reason}")))?;
            check_roots(&template, roots, &at)?;
        }
        check_roots(step.input.template(), roots, &format!("{at}.input"))?;
        step.check_completeness(at)
    }

    /// Checks the members that depend on whether the step lists items.
    fn check_lists(&self, at: &str) -> Result<(), ManifestError> {
        let plan = &self.plan;
        let lists: BTreeSet<&str> = plan.list_steps().iter().map(|step| step.id.as_str()).collect();
        for (index, step) in plan.steps.iter().enumerate() {
            if step.only.is_some() && !lists.contains(step.id.as_str()) {
                let at = format!("{at}.plan.steps[{index}].only");
                return Err(refuse(at, "only list steps can have `only`"));
            }
            if let Some(parent) = step.parent().filter(|parent| !lists.contains(parent)) {
                let reason = format!(
                    "`{parent}` lists no items: only the first step and the steps between it and `resources` do"
                );
                return Err(refuse(format!("{at}.plan.steps[{index}]"), reason));
            }
        }
        for (index, step) in plan.steps.iter().enumerate() {
            self.check_errors(step, lists.contains(step.id.as_str()), &format!("{at}.plan.steps[{index}]"))?;
        }
        for step in plan.list_steps() {
            let at = format!(
                "{at}.plan.steps[{}]",
                plan.steps.iter().position(|s| s.id == step.id).unwrap_or_default()
            );
            if step.fills.is_some() {
                return Err(refuse(
                    format!("{at}.fills"),
                    "a list step lists resources and cannot have `fills`",
                ));
            }
            if step.items.is_none() {
                return Err(refuse(at, "a list step needs `items`, the path of its items in the response"));
            }
            if step.batch.is_some() {
                return Err(refuse(at, "a list step runs for `each` item of its parent, not in a `batch`"));
            }
        }
        Ok(())
    }

    /// Checks that no error that hides a resource makes the resource look deleted.
    fn check_errors(&self, step: &Step, lists: bool, at: &str) -> Result<(), ManifestError> {
        for (code, rule) in &step.errors {
            let at = || format!("{at}.errors.{code}");
            let hides = match code.as_str() {
                "denied" | "*" => true,
                "missing" => false,
                // If every account returns this code, there is no organization.
                NO_ORGANIZATION if self.scope == Scope::Organization => false,
                code => ErrorClass::of(code).hides_the_resource(),
            };
            let is_drop = *rule == ErrorRule::Policy(ErrorPolicy::Drop);
            let is_empty_list = lists
                && (is_drop
                    || *rule == ErrorRule::Policy(ErrorPolicy::Absent)
                    || matches!(rule, ErrorRule::Use { .. }));
            if hides && is_empty_list {
                let reason = "a list that could not be read is not empty; use `skip-unit` or `fail`";
                return Err(refuse(at(), reason));
            }
            if hides && is_drop {
                let reason = "`drop` is only for errors that mean that the resource does not exist; use `absent`, `fail` or `skip-unit`";
                return Err(refuse(at(), reason));
            }
            if lists
                && let ErrorRule::Use { value } = rule
                && let Some(items) = step.items.as_ref().filter(|items| items.list_in(value).is_none())
            {
                return Err(refuse(at(), format!("the value has no `{}`", items.as_str())));
            }
        }
        Ok(())
    }
}

/// Refuses placeholders that stand for nothing.
pub(super) fn check_roots(template: &Template, known: &[&str], at: &str) -> Result<(), ManifestError> {
    match template.roots().into_iter().find(|root| !known.contains(root)) {
        Some(root) => Err(refuse(at, format!("`{root}` is not one of {}", known.join(", ")))),
        None => Ok(()),
    }
}
