//! The suite itself: it reports plugins that violate a guarantee.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use berth_conformance::{Conformance, Violation};
use berth_core::{
    BlueprintId, Document, Entity, ItemError, Kind, MapError, MapReport, MapRequest, Mapping, Problem,
    ProblemCode,
};
use berth_test_support::FakeMapper;
use serde_json::{Value, json, value::to_raw_value};

/// A fault of a plugin, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultMode {
    Good,
    /// Its own code refuses a text where AWS has a list; its documents pass it on.
    RefusesOddities,
    CrashesOnNumbers,
    /// Only its documents crash.
    DocumentsCrashOnNumbers,
    NeedsNames,
    /// Refuses a resource without a name, which does not identify it.
    RefusesNameless,
    /// Its documents have another member of the step that may be denied.
    FillsMore,
    Rolls,
    Doubles,
}

struct Plugin {
    fault: FaultMode,
    rolled: AtomicUsize,
}

impl Plugin {
    fn mapper(fault: FaultMode) -> Arc<FakeMapper> {
        let kind = json!({
            "kind": "Test::Thing", "scope": "regional",
            "plan": {"steps": [
                {"id": "l", "service": "x", "operation": "ListThings", "items": "Things[]"},
                {"id": "t", "service": "x", "operation": "ListTags", "each": "l", "errors": {"denied": "absent"},
                 "fills": ["Tags"]}]},
            "mapping": {"kind": "Test::Thing", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "title": ".Properties.Name", "blueprint": "\"thing\""}}}}});
        let plugin = Self { fault, rolled: AtomicUsize::new(0) };
        Arc::new(FakeMapper::new([FakeMapper::kind(kind)], move |request| plugin.map(&request)))
    }

    fn map(&self, request: &MapRequest) -> Result<MapReport, MapError> {
        let resources: Vec<Value> = serde_json::from_slice(&request.page.resources).unwrap();
        let native = matches!(request.mapping, Mapping::Native);
        let mut report = MapReport::default();
        let mut crashed = 0;
        for (index, resource) in resources.iter().enumerate() {
            let item = &resource["item"];
            let mut refuse = |reason: &str| {
                let resource = format!("thing {index}");
                report.errors.push(ItemError { index, resource, reason: reason.into() });
            };
            let crashes = match self.fault {
                FaultMode::CrashesOnNumbers => native,
                FaultMode::DocumentsCrashOnNumbers => !native,
                _ => false,
            };
            if crashes && item["Name"].is_number() {
                crashed += 1;
                refuse("it crashed");
                continue;
            }
            if self.fault == FaultMode::RefusesOddities && native && item["Parts"].is_string() {
                refuse("a list was expected");
                continue;
            }
            if self.fault == FaultMode::RefusesNameless && item["Name"].is_null() {
                refuse("it has no `Name`");
                continue;
            }
            if matches!(request.mapping, Mapping::Documents) {
                let tags = &resource["steps"]["t"];
                let owner = tags.get(0).filter(|_| self.fault == FaultMode::FillsMore);
                let document = json!({"Properties": {"Id": item["Id"], "Tags": tags, "Owner": owner}});
                report.documents.push(Document::from(to_raw_value(&document).unwrap()));
                continue;
            }
            let mut entity = Entity::new(BlueprintId::new("thing").unwrap(), item["Id"].to_string());
            let name = item["Name"].as_str().map(ToOwned::to_owned);
            entity.title = Some(match self.fault {
                FaultMode::NeedsNames if native => name.unwrap_or_else(|| "nameless".into()).into(),
                FaultMode::Rolls => self.rolled.fetch_add(1, Ordering::Relaxed).to_string().into(),
                _ => json!(name),
            });
            if self.fault == FaultMode::Doubles {
                report.entities.push(entity.clone());
            }
            report.entities.push(entity);
        }
        // As in the engine: if nothing succeeded, the batch has failed.
        if crashed > 0 && crashed == resources.len() {
            let (plugin, problem) = ("things".into(), Problem::new(ProblemCode::Other, "it crashed"));
            return Err(MapError::Plugin { plugin, kind: request.kind.clone(), problem });
        }
        Ok(report)
    }
}

async fn violations(fault: FaultMode) -> Vec<String> {
    let suite = Conformance::of(Plugin::mapper(fault), &Kind::new("Test::Thing").unwrap(), true).unwrap();
    let answer = json!({"Things": [{"Id": "a", "Name": "Ada", "Parts": ["x"]}, {"Id": "b", "Name": null}]});
    let resources = suite.resources(&answer).unwrap();
    assert_eq!(resources.len(), 2);
    let (violations, _) = suite.check(&resources).await.unwrap();
    violations.into_iter().map(|Violation { at, what }| format!("{at}: {what}")).collect()
}

#[test]
fn a_fixture_is_what_aws_answers_or_what_the_host_hands_over() {
    let suite =
        Conformance::of(Plugin::mapper(FaultMode::Good), &Kind::new("Test::Thing").unwrap(), true).unwrap();
    let thing = json!({"item": {"Id": "a"}});
    for (fixture, resources) in [
        (json!({"Things": [{"Id": "a"}]}), vec![thing.clone()]),
        (json!([thing.clone()]), vec![thing]),
        (json!({"Things": []}), vec![]),
        (json!([]), vec![]),
    ] {
        assert_eq!(suite.resources(&fixture).unwrap(), resources, "{fixture}");
    }
    for (other, reported) in [
        (json!({"Thing": []}), "there is nothing at `Things[]`; the response has: Thing"),
        (json!({"Things": 3}), "there is nothing at `Things[]`"),
        (json!(7), "a fixture is"),
    ] {
        let problem = suite.resources(&other).unwrap_err();
        assert!(problem.message.starts_with(reported), "{problem}");
    }
}

#[tokio::test]
async fn a_promise_that_is_not_kept_is_reported_with_its_place() {
    for fault in [FaultMode::Good, FaultMode::RefusesOddities] {
        assert_eq!(violations(fault).await, Vec::<String>::new(), "{fault:?}");
    }
    for fault in [FaultMode::CrashesOnNumbers, FaultMode::DocumentsCrashOnNumbers] {
        let crash =
            |index| format!("resource {index}, `item.Name` with a number: plugin `things` failed on ");
        let reported = violations(fault).await;
        assert_eq!(reported.len(), 2, "{fault:?}: {reported:?}");
        assert!(
            reported[0].starts_with(&crash(0)) && reported[1].starts_with(&crash(1)),
            "{fault:?}: {reported:?}"
        );
    }
    let reported = violations(FaultMode::NeedsNames).await;
    let null = "resource 1, `item.Name` null: the default mapping in JQ (left) and the plugin's code (right) \
                differ: title: null → \"nameless\"";
    assert!(reported.iter().any(|line| line == null), "{reported:?}");
    assert!(
        reported.iter().any(|line| line.starts_with("resource 0, `item.Name` missing: ")),
        "{reported:?}"
    );
    let reported = violations(FaultMode::Rolls).await;
    assert!(reported[0].starts_with("all resources: two runs give different entities"), "{reported:?}");
    let reported = violations(FaultMode::Doubles).await;
    assert!(reported[0].contains("is created twice"), "{reported:?}");
}

#[tokio::test]
async fn who_refuses_for_want_of_what_identifies_nothing_is_named() {
    let reported = violations(FaultMode::RefusesNameless).await;
    let refused = "resource 0, `item.Name` missing: it is refused, as it has no `Name`; its identifier is made of \
                   .properties.id";
    assert!(reported.iter().any(|line| line == refused), "{reported:?}");
}

#[tokio::test]
async fn what_a_step_fills_without_saying_so_is_named() {
    for (fault, expected) in
        [(FaultMode::Good, vec![]), (FaultMode::FillsMore, vec!["`fills` of the step `t` lacks `Owner`"])]
    {
        let suite = Conformance::of(Plugin::mapper(fault), &Kind::new("Test::Thing").unwrap(), true).unwrap();
        let resources = [json!({"item": {"Id": "a"}, "steps": {"t": ["x"]}})];
        let (violations, _) = suite.check(&resources).await.unwrap();
        let reported: Vec<_> = violations.iter().map(|violation| violation.what.as_str()).collect();
        assert_eq!(reported, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_golden_file_without_documents_says_nothing_of_them() {
    let suite =
        Conformance::of(Plugin::mapper(FaultMode::Good), &Kind::new("Test::Thing").unwrap(), true).unwrap();
    let made = suite.golden(&[json!({"item": {"Id": "a", "Name": "Ada"}})]).await.unwrap();
    assert_eq!(made["documents"][0]["Properties"]["Id"], "a");
    let (with, without) = (made.clone(), json!({"entities": made["entities"], "errors": []}));
    assert_eq!(Conformance::differences(&with, &made), Vec::<String>::new());
    assert_eq!(Conformance::differences(&without, &made), Vec::<String>::new());
    let mut other = made.clone();
    other["documents"][0]["Properties"]["Id"] = json!("b");
    assert_eq!(Conformance::differences(&other, &made).len(), 1);
}
