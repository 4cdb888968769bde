use serde_json::json;

use super::*;
use crate::NO_ORGANIZATION;

fn manifest(kind: &Value) -> Value {
    json!({"name": "x", "version": "1.0.0", "kinds": [kind]})
}

fn parse(value: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(value.to_string().as_bytes())
}

fn services() -> Value {
    json!({
        "kind": "AWS::ECS::Service", "scope": "regional",
        "options": [{"name": "Tags", "description": "adds tags"}],
        "plan": {"resources": "services", "chunk": 10, "steps": [
            {"id": "clusters", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"},
            {"id": "services", "each": "clusters", "service": "ecs", "operation": "ListServices",
             "input": {"cluster": "{item}"}, "items": "serviceArns[]"},
            {"id": "details", "batch": {"of": "services", "size": 10}, "service": "ecs",
             "operation": "DescribeServices", "input": {"services": "{items[]}"},
             "items": "services[]", "match": {"item": "@", "result": "serviceArn"}},
            {"id": "tags", "each": "services", "option": "Tags", "service": "ecs",
             "operation": "ListTagsForResource", "input": {"resourceArn": "{item}"},
             "errors": {"denied": "absent", "Gone": {"use": {"tags": []}}, "*": "fail"}}
        ]}
    })
}

#[test]
fn a_plan_is_parsed() {
    let manifest = parse(&manifest(&services())).unwrap();
    let plan = &manifest.kinds[0].plan;
    let ids = |steps: Vec<&Step>| steps.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(plan.list_steps()), ["clusters", "services"]);
    assert_eq!(ids(plan.enrichments("services", &BTreeSet::new())), ["details"]);
    let all = BTreeSet::from(["Tags".to_owned()]);
    assert_eq!(ids(plan.enrichments("services", &all)), ["details", "tags"]);
    assert_eq!(plan.steps[3].iam_actions(), ["ecs:ListTagsForResource"]);
    let again = serde_json::to_value(&manifest).unwrap();
    assert_eq!(parse(&again).unwrap(), manifest);
}

#[test]
fn nonsense_is_named_with_its_place() {
    let cases: [(&str, Value, &str, &str); 14] = [
        ("/kinds/0/plan/steps/3/each", json!("details"), "kinds[0].plan.steps[3]", "lists no items"),
        ("/kinds/0/kind", json!("S3"), "kinds[0].kind", "is not a kind"),
        ("/kinds/0/scope", json!("mars"), "kinds[0].scope", "unknown variant"),
        ("/kinds/0/plan/steps", json!([]), "kinds[0].plan.steps", "at least one step"),
        ("/kinds/0/plan/steps/1/each", json!("nope"), "kinds[0].plan.steps[1]", "no earlier step `nope`"),
        ("/kinds/0/plan/steps/3/id", json!("services"), "kinds[0].plan.steps[3].id", "used twice"),
        (
            "/kinds/0/plan/steps/1/input",
            json!({"c": "{itm}"}),
            "kinds[0].plan.steps[1].input",
            "`itm` is not one of",
        ),
        ("/kinds/0/plan/steps/1/input", json!({"c": "{item"}), "kinds[0].plan.steps[1].input", "not closed"),
        ("/kinds/0/plan/steps/1/items", Value::Null, "kinds[0].plan.steps[1]", "needs `items`"),
        ("/kinds/0/plan/steps/2/match", Value::Null, "kinds[0].plan.steps[2]", "needs `items` and `match`"),
        ("/kinds/0/plan/steps/3/option", json!("Nope"), "kinds[0].plan.steps[3].option", "not among"),
        ("/kinds/0/plan/resources", json!("nope"), "kinds[0].plan.resources", "no step `nope`"),
        (
            "/kinds/0/plan/steps/1",
            json!({"id": "services", "each": "clusters", "service": "ecs", "operation": "ListServices",
                   "items": "serviceArns[]", "only": {"path": "@", "is": "{resource}"}}),
            "kinds[0].plan.steps[1].only.is",
            "`resource` is not one of",
        ),
        ("/name", json!("Bad Name"), "name", "lower-case"),
    ];
    for (pointer, value, at, reason) in cases {
        let mut document = manifest(&services());
        *document.pointer_mut(pointer).unwrap() = value;
        let error = parse(&document).unwrap_err();
        assert!(error.at.starts_with(at) && error.reason.contains(reason), "{pointer}: {error}");
    }
    let error = Manifest::parse(b"{\"name\": 3}").unwrap_err();
    assert_eq!(error.at, "name");
    assert!(Manifest::parse(b"\xff").is_err());
}

#[test]
fn an_error_in_a_field_without_a_name_has_a_place() {
    let error = Manifest::parse(br#"{"name": "x", "version": "1.0.0", "": 1, "kinds": []}"#).unwrap_err();
    assert_eq!(error.at, ".", "{error}");
}

#[test]
fn a_plan_can_be_reduced_to_its_list_steps() {
    let mut kind = parse(&manifest(&services())).unwrap().kinds.remove(0);
    kind.plan.steps.insert(
        1,
        serde_json::from_value(json!({"id": "names", "each": "clusters", "service": "ecs",
            "operation": "ListTagsForResource", "input": {"resourceArn": "{item}"}}))
        .unwrap(),
    );
    let narrowed = kind.list_only();
    let ids: Vec<&str> = narrowed.plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["clusters", "names", "services"], "parents keep their enrichments");
    assert_eq!(narrowed.plan.list_steps(), kind.plan.list_steps());
    let again = json!({"name": "x", "version": "1.0.0", "kinds": [narrowed]});
    assert_eq!(parse(&again).unwrap().kinds[0], narrowed, "it is a plan that can be run");
    assert_eq!(narrowed.list_only(), narrowed);
    // Without `resources`, the first step lists the resources.
    let mut kind = kind;
    kind.plan.resources = None;
    kind.plan.steps.retain(|step| ["clusters", "names"].contains(&step.id.as_str()));
    assert_eq!(kind.list_only().plan.steps.len(), 1);
}

fn with_document(document: &Value) -> Result<Manifest, ManifestError> {
    let mut kind = services();
    kind["document"] = document.clone();
    parse(&manifest(&kind))
}

#[test]
fn a_document_is_declared() {
    let document = json!({
        "merge": ["item", "steps.details?", "steps"],
        "set": {
            "Tags": {"value": "{steps.tags}", "nulls": "keep", "option": "Tags"},
            "Arn": "arn:{partition}:ecs:{region}:{account}:{item.Id | ltrimstr(\"/\")}"
        },
        "owner": "item.OwnerId", "origin": "account", "context": {"Cluster": "{parents.clusters}"},
        "keepUnknown": true, "required": ["Arn"], "properties": ["Name"], "members": {"Name": "ServiceName"},
        "times": ["CreatedAt"], "nestedTimes": {"Events": ["At"]}, "numbers": ["Size"], "booleans": ["On"],
        "unmodeled": ["Name"]
    });
    let manifest = with_document(&document).unwrap();
    assert_eq!(serde_json::to_value(&manifest).unwrap()["kinds"][0]["document"], document);
    let declared = manifest.kinds[0].document().unwrap();
    assert_eq!(declared.merge_paths(), ["item", "steps.details", "steps"]);
    assert!(declared.has_context("AccountId") && declared.has_context("Cluster"));
    assert!(!declared.has_context("Region"), "the place is the account");
    let nothing = with_document(&json!({})).unwrap();
    assert_eq!(nothing.kinds[0].document().unwrap().merge_paths(), ["item"]);
}

#[test]
fn a_wrong_document_is_refused_with_its_place() {
    for (document, at, reason) in [
        (json!({"merge": ["item", "itm"]}), "merge[1]", "`itm` does not begin with"),
        (json!({"merge": ["steps.detail?"]}), "merge[0]", "there is no step `detail`"),
        (json!({"owner": "parents.cluster.OwnerId"}), "owner", "there is no step `cluster`"),
        (json!({"set": {"Tags": "{steps.tag}"}}), "set.Tags", "there is no step `tag`"),
        (json!({"set": {"Arn": "arn:{item.Id"}}), "set.Arn", "a brace that does not end"),
        (json!({"set": {"Arn": "arn:{zone}"}}), "set.Arn", "`zone` does not begin with"),
        (json!({"set": {"Tags": {"value": "{steps.tags}", "option": "Tag"}}}), "set.Tags", "no option `Tag`"),
        (
            json!({"set": {"Tags": {"value": "{steps.tags}", "null": "keep"}}}),
            "set.Tags.null",
            "expected one of `value`, `nulls`, `option`",
        ),
        (json!({"context": {"Cluster": "{parents.cluster}"}}), "context.Cluster", "no step `cluster`"),
        (json!({"origin": "planet"}), "origin", "unknown variant `planet`"),
        (json!({"require": ["Id"]}), "require", "unknown field `require`"),
    ] {
        let error = with_document(&document).unwrap_err();
        assert_eq!(error.at, format!("kinds[0].document.{at}"), "{document}: {error}");
        assert!(error.reason.contains(reason), "{document}: {error}");
    }
}

#[test]
fn only_resources_that_do_not_exist_are_dropped() {
    let refused = |step: usize, code: &str, rule: Value| {
        let mut document = manifest(&services());
        document["kinds"][0]["plan"]["steps"][step]["errors"] = json!({code: rule});
        parse(&document).err()
    };
    // Two list steps, a batch, and a step for each item.
    for step in 0..4 {
        for code in ["denied", "*", "AccessDeniedException", "ThrottlingException", "ServiceUnavailable"] {
            let error = refused(step, code, json!("drop")).unwrap();
            assert_eq!(error.at, format!("kinds[0].plan.steps[{step}].errors.{code}"));
            let lists = step < 2;
            assert_eq!(refused(step, code, json!("absent")).is_some(), lists, "{step} {code}");
            let used = json!({"use": {"clusterArns": [], "serviceArns": []}});
            assert_eq!(refused(step, code, used).is_some(), lists, "{step} {code}");
            for rule in ["skip-unit", "fail"] {
                assert_eq!(refused(step, code, json!(rule)), None, "{step} {code}");
            }
        }
        for code in ["missing", "ResourceNotFoundException", "NoSuchEntity", "DeploymentNotStartedException"]
        {
            for rule in ["drop", "absent", "skip-unit", "fail"] {
                assert_eq!(refused(step, code, json!(rule)), None, "{step} {code} {rule}");
            }
        }
    }
    let error = refused(1, "Odd", json!({"use": {"clusterArns": []}})).unwrap();
    assert!(error.reason.contains("has no `serviceArns[]`"), "{error}");
    // Only for a kind of scope `organization` does this code mean that there is nothing to list.
    let mut kind = json!({"kind": "AWS::Organizations::Account", "scope": "organization", "plan": {"steps": [
        {"id": "accounts", "service": "organizations", "operation": "ListAccounts", "items": "Accounts[]",
         "errors": {NO_ORGANIZATION: "drop"}}]}});
    assert_eq!(parse(&manifest(&kind)).err(), None);
    kind["scope"] = json!("regional");
    assert!(parse(&manifest(&kind)).is_err());
}

#[test]
fn a_response_states_which_lists_are_empty_and_which_items_failed() {
    let edited = |step: usize, member: &str, value: Value| {
        let mut document = manifest(&services());
        document["kinds"][0]["plan"]["steps"][step][member] = value;
        parse(&document)
    };
    for empty in [json!("omitted"), json!({"path": "Count", "is": 0})] {
        let manifest = edited(0, "empty", empty.clone()).unwrap();
        assert_eq!(json!(manifest)["kinds"][0]["plan"]["steps"][0]["empty"], empty);
    }
    let error = edited(3, "empty", json!("omitted")).unwrap_err();
    assert!(error.at.ends_with("steps[3].empty") && error.reason.contains("is not a list"), "{error}");
    assert!(edited(0, "empty", json!("sometimes")).is_err());
    assert!(edited(0, "empty", json!({"path": "Count", "is": 0, "or": 1})).is_err());

    let matching = |failures: Value| {
        edited(2, "match", json!({"item": "@", "result": "serviceArn", "failures": failures}))
    };
    let step = |manifest: Manifest| manifest.kinds[0].plan.steps[2].matching.clone().unwrap();
    let plain = step(matching(json!({"items": "notFound[]"})).unwrap());
    let failures = plain.failures.unwrap();
    assert!(failures.key.is_itself() && failures.reason.is_none() && failures.missing.is_empty());
    assert_eq!(plain.unmatched, Unmatched::Fail, "what is not mentioned may still exist");
    assert_eq!(json!(failures), json!({"items": "notFound[]"}));
    let full = json!({"items": "failures[]", "key": "arn", "reason": "reason", "missing": ["MISSING"]});
    assert_eq!(json!(step(matching(full.clone()).unwrap()).failures), full);
    for (failures, at) in [
        (json!({"items": "failures"}), "match.failures.items"),
        (json!({"items": "failures[]", "missing": ["MISSING"]}), "match.failures.missing"),
    ] {
        let error = matching(failures).unwrap_err();
        assert!(error.at.ends_with(at), "{error}");
    }
}
