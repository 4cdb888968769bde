//! Cache scopes: which reads may use the same response again, according to the fetch plans of a resync.

use std::collections::HashMap;

use berth_core::{KindReads, PlannedRead, Scope};

/// How long a response is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CacheScope {
    /// Only while the call is in progress, so that concurrent callers share it.
    Call,
    /// For the unit that made the call.
    Unit,
    /// For all units of the resync.
    Resync,
}

/// The cache scope of each operation, by service and operation.
#[derive(Default)]
pub(super) struct CacheScopes(HashMap<(String, String), CacheScope>);

impl CacheScopes {
    /// Derives the scopes from the fetch plans of a resync.
    pub(super) fn of_reads(reads: &[PlannedRead]) -> Self {
        let mut scopes: HashMap<(String, String), CacheScope> = HashMap::new();
        for PlannedRead { kind, options } in reads {
            let mut own: HashMap<(&str, &str), CacheScope> = HashMap::new();
            for step in kind.plan().steps.iter().filter(|step| step.is_on(options)) {
                // All units of an organization's kinds make the same calls. So do the units of an account's
                // regions, if a step sets its own region.
                let scope = if kind.scope == Scope::Organization
                    || (kind.scope == Scope::Regional && step.region.is_some())
                {
                    CacheScope::Resync
                } else if step.parent().is_some() {
                    // A step that runs for each item may make the same call for two of them.
                    CacheScope::Unit
                } else {
                    CacheScope::Call
                };
                own.entry((&step.service, &step.operation))
                    .and_modify(|known| *known = scope.max(CacheScope::Unit).max(*known))
                    .or_insert(scope);
            }
            for ((service, operation), scope) in own {
                scopes
                    .entry((service.to_owned(), operation.to_owned()))
                    .and_modify(|known| *known = CacheScope::Resync)
                    .or_insert(scope);
            }
        }
        Self(scopes)
    }

    /// Returns the scope of an operation's responses. Operations that no plan uses are cached for the
    /// resync.
    pub(super) fn of(&self, service: &str, operation: &str) -> CacheScope {
        self.0.get(&(service.to_owned(), operation.to_owned())).copied().unwrap_or(CacheScope::Resync)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn kind(name: &str, scope: &str, steps: &Value) -> PlannedRead {
        let kind = json!({"kind": name, "scope": scope, "plan": {"resources": "list", "steps": steps},
            "blueprints": []});
        PlannedRead {
            kind: Arc::new(serde_json::from_value(kind).unwrap()),
            options: ["extra".to_owned()].into(),
        }
    }

    fn list(service: &str, operation: &str) -> Value {
        json!({"id": "list", "service": service, "operation": operation, "items": "Items[]"})
    }

    #[test]
    fn responses_are_cached_for_the_reads_that_use_them_again() {
        let scopes = CacheScopes::default();
        assert_eq!(scopes.of("ec2", "DescribeInstances"), CacheScope::Resync, "nothing is known yet");
        let step = |id: &str, operation: &str, more: Value| {
            let mut step = json!({"id": id, "service": "ecs", "operation": operation, "each": "list"});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            step
        };
        let scopes = CacheScopes::of_reads(&[
            kind("A::B::Instance", "regional", &json!([list("ec2", "DescribeInstances")])),
            kind(
                "A::B::Cluster",
                "regional",
                &json!([
                    list("ecs", "ListClusters"),
                    step("tags", "ListTagsForResource", json!({})),
                    step("fixed", "ListAttributes", json!({"region": "us-east-1"})),
                    step("extra", "ListTasks", json!({"option": "extra"})),
                    step("off", "ListServices", json!({"option": "another"})),
                ]),
            ),
            kind("A::B::Service", "regional", &json!([list("ecs", "ListClusters")])),
            kind("A::B::Account", "organization", &json!([list("organizations", "ListAccounts")])),
        ]);
        for (service, operation, scope) in [
            ("ec2", "DescribeInstances", CacheScope::Call),
            ("ecs", "ListTagsForResource", CacheScope::Unit),
            ("ecs", "ListTasks", CacheScope::Unit),
            ("ecs", "ListClusters", CacheScope::Resync),
            ("ecs", "ListAttributes", CacheScope::Resync),
            ("organizations", "ListAccounts", CacheScope::Resync),
            ("ecs", "ListServices", CacheScope::Resync),
        ] {
            assert_eq!(scopes.of(service, operation), scope, "{service}:{operation}");
        }
    }
}
