//! Validates the manifest of every bundled plugin with AWS's models: runs each fetch plan on responses that are
//! generated from the models. Otherwise a misspelt operation, input member, path or placeholder would only show
//! in an account that has such resources.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use berth_aws_protocol::validate_plan;
use berth_core::{
    EmptyConvention, EmptyList, ErrorClass, ErrorPolicy, ErrorRule, KindManifest, KindReads, Manifest,
    NO_ORGANIZATION, Step, Unmatched,
};
use serde_json::{Map, Value, json};

/// The folders of the plugins and their manifests.
fn manifests() -> Vec<(PathBuf, Manifest)> {
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
    let mut found = Vec::new();
    for folder in fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap().path()) {
        if let Ok(json) = fs::read(folder.join("manifest.json")) {
            let manifest = Manifest::parse(&json).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            found.push((folder, manifest));
        }
    }
    assert!(!found.is_empty());
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn kinds(manifests: &[(PathBuf, Manifest)]) -> impl Iterator<Item = &KindManifest> {
    manifests.iter().flat_map(|(_, manifest)| &manifest.kinds)
}

/// Fails with every complaint at once.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_plan_and_every_read_after_an_event_fits_the_models() {
    let mut violations = Vec::new();
    let manifests = manifests();
    assert!(kinds(&manifests).any(|kind| kind.events().is_some()));
    for kind in kinds(&manifests) {
        violations.extend(validate_plan(kind));
    }
    assert_none(&violations);
}

/// The steps of every plan, as they are and as events change them, with whether they list.
fn steps(manifests: &[(PathBuf, Manifest)]) -> Vec<(&KindManifest, Step, bool)> {
    let mut steps = Vec::new();
    for kind in kinds(manifests) {
        let lists: Vec<&str> = kind.plan().list_steps().iter().map(|step| step.id.as_str()).collect();
        for step in kind.plan().steps.iter().cloned().chain(kind.event_steps()) {
            let is_list = lists.contains(&step.id.as_str());
            steps.push((kind, step, is_list));
        }
    }
    steps
}

/// What could not be read is never gone: in no bundled plan does an error drop a resource or empty a list
/// unless it means that something does not exist.
#[test]
fn only_resources_that_do_not_exist_are_dropped() {
    let manifests = manifests();
    let mut violations = Vec::new();
    for (kind, step, is_list) in steps(&manifests) {
        for (code, rule) in &step.errors {
            let disappears = match rule {
                ErrorRule::Policy(ErrorPolicy::Drop) => true,
                ErrorRule::Policy(ErrorPolicy::Absent) | ErrorRule::Use { .. } => is_list,
                ErrorRule::Policy(_) => false,
            };
            let means_missing = code == "missing" || ErrorClass::of(code) == ErrorClass::Missing;
            // Codes that say so in other words.
            let says_so = matches!(
                (code.as_str(), step.operation.as_str()),
                (NO_ORGANIZATION, "ListAccounts")
                    | ("DeploymentNotStartedException", "ListDeploymentTargets")
                    | ("InvalidAMIID.Unavailable", "DescribeImages")
            );
            if disappears && !means_missing && !says_so {
                violations
                    .push(format!("{}, step `{}`: `{code}` makes something disappear", kind.kind, step.id));
            }
        }
        let drops = step.matching.as_ref().is_some_and(|matching| matching.unmatched == Unmatched::Drop);
        if drops {
            let what = "drops what its batch does not mention";
            violations.push(format!("{}, step `{}` {what}", kind.kind, step.id));
        }
    }
    assert_none(&violations);
}

/// The operations whose answers name what they failed for must say where, and no other may leave its list
/// out without a reason that is known here.
#[test]
fn answers_prove_what_they_leave_out() {
    let manifests = manifests();
    let (mut omitting, mut batches) = (BTreeSet::new(), BTreeSet::new());
    for (_, step, _) in steps(&manifests) {
        let call = format!("{}:{}", step.service, step.operation);
        omitting.extend(step.empty.as_ref().map(|empty| match empty {
            EmptyList::Convention(EmptyConvention::Omitted) => format!("{call} omits"),
            EmptyList::Stated(stated) => format!("{call} says {}", stated.path.as_str()),
        }));
        if let Some(matching) = &step.matching {
            let failures = matching.failures.as_ref().map(|failures| failures.items.as_str());
            batches.insert(format!("{call} {} {:?}", failures.unwrap_or("-"), matching.unmatched));
        }
    }
    let omitting: Vec<&str> = omitting.iter().map(String::as_str).collect();
    assert_eq!(
        omitting,
        [
            "cloudfront:ListDistributions says DistributionList.Quantity",
            // Enrichments: a scan has findings of basic or of enhanced scanning.
            "ecr:DescribeImageScanFindings omits",
            "sqs:ListQueues omits",
        ]
    );
    let batches: Vec<&str> = batches.iter().map(String::as_str).collect();
    assert_eq!(
        batches,
        [
            "codebuild:BatchGetBuilds buildsNotFound[] Fail",
            "codebuild:BatchGetProjects projectsNotFound[] Fail",
            "codedeploy:BatchGetApplications - Fail",
            "codedeploy:BatchGetDeploymentGroups - Fail",
            "ecs:DescribeClusters failures[] Fail",
            "ecs:DescribeServices failures[] Fail",
            "elbv2:DescribeTags - Fail",
            "opensearch:DescribeDomains - Fail",
            // Instances that were never patched have no state.
            "ssm:DescribeInstancePatchStates - Absent",
        ]
    );
}

/// What AWS RAM, image and snapshot permissions, VPC sharing or cross-account vaults can show in the list
/// of another account.
#[test]
fn what_can_be_shared_is_not_of_a_single_account() {
    let manifests = manifests();
    let shared: BTreeSet<String> =
        kinds(&manifests).filter(|kind| !kind.single_account()).map(|kind| kind.kind.to_string()).collect();
    let shared: Vec<&str> = shared.iter().map(String::as_str).collect();
    assert_eq!(
        shared,
        [
            "AWS::Account::Info",
            "AWS::Backup::BackupVault",
            "AWS::CloudControl::Resource",
            "AWS::CodeBuild::BuildRun",
            "AWS::CodeBuild::Project",
            "AWS::EC2::InternetGateway",
            "AWS::EC2::NatGateway",
            "AWS::EC2::NetworkInterface",
            "AWS::EC2::RouteTable",
            "AWS::EC2::SecurityGroup",
            "AWS::EC2::Subnet",
            "AWS::EC2::VPC",
            "AWS::Events::Rule",
            "AWS::Organizations::Account",
            "AWS::Route53::HostedZone",
        ]
    );
    // Images and snapshots can be shared: their lists must be those of the owner.
    for (kind, step, _) in steps(&manifests).iter().filter(|(kind, ..)| kind.single_account()) {
        let input = Value::from(step.input.clone());
        match step.operation.as_str() {
            "DescribeImages" if step.service == "ec2" => {
                assert_eq!(input["Owners"], json!(["self"]), "{}", kind.kind);
            }
            "DescribeSnapshots" => assert_eq!(input["OwnerIds"], json!(["self"]), "{}", kind.kind),
            "DescribeDBClusters" => assert_eq!(input["IncludeShared"], Value::Null, "{}", kind.kind),
            _ => {}
        }
    }
}

#[test]
fn the_example_rules_send_every_event() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/guides/live-events.yaml");
    let example = fs::read_to_string(example).unwrap();
    let sent: BTreeSet<&str> = example.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    let manifests = manifests();
    let triggers = kinds(&manifests).filter_map(|kind| kind.events()).flat_map(|rules| &rules.on);
    let missing: BTreeSet<&str> = triggers
        .map(|trigger| trigger.detail_type.as_ref().unwrap_or(&trigger.source).as_str())
        .filter(|name| !sent.contains(name))
        .collect();
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn a_misspelt_read_after_an_event_is_reported() {
    let kind = json!({"kind": "AWS::Lambda::Function", "scope": "regional",
        "plan": {"steps": [
            {"id": "functions", "service": "lambda", "operation": "ListFunctions", "items": "Functions[]",
             "input": {"MaxItems": 50}},
            {"id": "tags", "service": "lambda", "operation": "ListTags", "each": "functions",
             "input": {"Resource": "{item.FunctionArn}"}, "result": "Tags"}]},
        "events": {
            "on": [{"source": "x", "upsert": ["x"], "resource": ["x"]}],
            "read": {"functions": {"operation": "GetFunctionConfiguration", "items": "@",
                                   "input": {"FunctionName": "{resource}", "Qualifier": "{event.a.b[0].c}"}}},
            "gone": {"item": {"FunctionArn": "{resource}"}, "steps": {"tags": {}}}}});
    let reported = |pointer: &str, value: Value| {
        let mut kind = kind.clone();
        if !pointer.is_empty() {
            *kind.pointer_mut(&format!("/events{pointer}")).unwrap() = value;
        }
        validate_plan(&serde_json::from_value(kind).unwrap()).join("; ")
    };
    assert_eq!(reported("", Value::Null), "");
    for (pointer, value, reason) in [
        ("/read/functions/operation", json!("GetFunction"), "`items`: has no `FunctionName`"),
        ("/read/functions/operation", json!("GetFunktion"), "no read operation"),
        ("/read/functions/input", json!({"Name": "{resource}"}), "unknown member"),
        ("/read/functions/items", json!("FunctionName"), "is a text, but the plan lists an object"),
        ("/read/functions", json!({"only": {"path": "Name", "is": "{resource}"}}), "unknown member `Name`"),
        ("/gone/item", json!({"Arn": "{resource}"}), "`gone.item`: unknown member `Arn`"),
        ("/gone/item", json!("{resource}"), "`gone.item` is a text"),
        ("/gone/steps", json!({"tag": {}}), "`gone.steps.tag`: unknown step"),
    ] {
        let violations = reported(pointer, value);
        assert!(violations.contains(reason), "{pointer}: {violations}");
    }
}

/// Clusters whose documents are declared, with a default mapping.
fn declared_clusters() -> Value {
    json!({"kind": "AWS::ECS::Cluster", "scope": "regional",
        "plan": {"steps": [
            {"id": "clusters", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]",
             "input": {"maxResults": 100}},
            {"id": "describe", "service": "ecs", "operation": "DescribeClusters", "each": "clusters",
             "input": {"clusters": ["{item}"]}, "result": "clusters[0]"},
            {"id": "tags", "service": "ecs", "operation": "ListTagsForResource", "each": "clusters",
             "input": {"resourceArn": "{item}"}, "result": "tags"}]},
        "document": {
            "merge": ["steps.describe"], "set": {"Tags": "{steps.tags}", "Zone": "{region}-{item}"},
            "context": {"Name": "{steps.describe.clusterName}"},
            "keepUnknown": true, "required": ["ClusterArn"], "properties": ["Status", "Configuration"],
            "members": {"Title": "clusterName"}, "nestedTimes": {"Configuration": ["logging"]}},
        "mapping": {"kind": "AWS::ECS::Cluster", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
            "identifier": ".Properties.ClusterArn", "title": ".Properties.Title",
            "blueprint": "\"cluster\"",
            "properties": {
                "log": ".Properties.Configuration.executeCommandConfiguration.logging",
                "tags": ".Properties.Tags | length", "zone": ".Properties.Zone",
                "own": ".Properties.runningTasksCount // 0"},
            "relations": {"name": ".__ExtraContext.Name", "region": ".__ExtraContext.Region"}}}}}})
}

#[test]
fn a_misspelt_member_of_documents_is_reported_with_the_nearest_name() {
    let kind = declared_clusters();
    let reported = |pointer: &str, value: Value| {
        let mut kind = kind.clone();
        if !pointer.is_empty() {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            kind.pointer_mut(parent).unwrap()[member] = value;
        }
        validate_plan(&serde_json::from_value(kind).unwrap()).join("; ")
    };
    assert_eq!(reported("", Value::Null), "");
    let mapping = |below: &str| format!("/mapping/port/entity/mappings/{below}");
    for (pointer, value, at, reason) in [
        ("/document/required", json!(["ClusterArm"]), "`document.required`", "`ClusterArm`; did you mean `"),
        ("/document/times", json!(["StatusAt"]), "`document.times`", "`StatusAt`; did you mean `"),
        ("/document/members", json!({"Title": "clusterNam"}), "`document.members`", "no `Title`"),
        (
            "/document/nestedTimes",
            json!({"Configuration": ["loging"]}),
            "`document.nestedTimes`",
            "`Configuration.loging`; did you mean `logging`?",
        ),
        (
            "/document/set/Tags",
            json!("{steps.describe.tag}"),
            "`document.set.Tags`",
            "`steps.describe.tag`; did you mean `tags`?",
        ),
        (
            "/document/context/Name",
            json!("{steps.describe.clusterNam}"),
            "`document.context.Name`",
            "`steps.describe.clusterNam`; did you mean `clusterName`?",
        ),
        ("/document/owner", json!("steps.describe.owner"), "`document.owner`", "`steps.describe.owner`"),
        ("/document/unmodeled", json!(["Status"]), "`document.unmodeled`", "have `Status`"),
        (&mapping("title"), json!(".Properties.Titel"), "`title`", "`Titel`; did you mean `Title`?"),
        (
            &mapping("properties/own"),
            json!(".Properties.RunningTasksCount"),
            "`properties.own`",
            "did you mean `runningTasksCount`?",
        ),
        (
            &mapping("properties/log"),
            json!(".Properties.Configuration.execute"),
            "`properties.log`",
            "`Configuration.execute`; did you mean `executeCommandConfiguration`?",
        ),
        (
            &mapping("relations/name"),
            json!(".__ExtraContext.Nam"),
            "`relations.name`",
            "`__ExtraContext.Nam`",
        ),
    ] {
        let violations = reported(pointer, value);
        assert!(violations.contains(at) && violations.contains(reason), "{pointer}: {violations}");
    }
    // What AWS returns although its models do not have it is listed, so that it is no mistake.
    let mut excused = kind.clone();
    excused["document"]["times"] = json!(["StatusAt"]);
    excused["document"]["unmodeled"] = json!(["StatusAt"]);
    assert_eq!(validate_plan(&serde_json::from_value(excused).unwrap()), [""; 0]);
}

#[test]
fn a_misspelt_plan_is_reported() {
    let plan = json!({"steps": [
        {"id": "clusters", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]",
         "input": {"maxResults": 100}},
        {"id": "describe", "service": "ecs", "operation": "DescribeClusters",
         "batch": {"of": "clusters", "size": 100},
         "match": {"item": "@", "result": "clusterArn",
                   "failures": {"items": "failures[]", "key": "arn", "reason": "reason", "missing": ["MISSING"]}},
         "input": {"clusters": "{items[]}"}, "items": "clusters[]"},
        {"id": "tags", "service": "ecs", "operation": "ListTagsForResource", "each": "clusters",
         "input": {"resourceArn": "{item}"}, "result": "tags"},
    ]});
    let reported = |pointer: &str, value: Value| {
        let mut plan = plan.clone();
        if !pointer.is_empty() {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            plan.pointer_mut(parent).unwrap()[member] = value;
        }
        let kind = json!({"kind": "AWS::ECS::Cluster", "scope": "regional", "plan": plan});
        validate_plan(&serde_json::from_value(kind).unwrap()).join("; ")
    };
    assert_eq!(reported("", Value::Null), "");
    for (pointer, value, reason) in [
        ("/steps/0/operation", json!("ListCluster"), "no read operation"),
        ("/steps/0/input", json!({}), "`input` does not set the page size `maxResults`"),
        ("/steps/0/items", json!("ClusterArns[]"), "unknown member `ClusterArns[]`"),
        ("/steps/1/match/result", json!("arn"), "`match.result`"),
        ("/steps/1/match/result", json!("runningTasksCount"), "different types"),
        ("/steps/0/empty", json!({"path": "Quantity", "is": 0}), "`empty.path`: unknown member `Quantity`"),
        ("/steps/1/match/failures/items", json!("failed[]"), "`match.failures.items`"),
        ("/steps/1/match/failures/key", json!("id"), "`match.failures.key`: unknown member `id`"),
        ("/steps/1/match/failures/reason", json!("cause"), "`match.failures.reason`"),
        ("/steps/1/input", json!({"cluster": "{items[]}"}), "unknown member"),
        ("/steps/2/input/resourceArn", json!("{item.arn}"), "`{item.arn}` matches nothing"),
        ("/steps/2/result", json!("Tags"), "`result`: unknown member `Tags`"),
    ] {
        assert!(reported(pointer, value).contains(reason), "{pointer}");
    }
}

#[test]
fn every_default_mapping_fits_its_blueprint() {
    let manifests = manifests();
    let blueprints: BTreeMap<&str, Value> = kinds(&manifests)
        .flat_map(|kind| &kind.blueprints)
        .map(|blueprint| (blueprint.identifier().as_str(), json!(blueprint)))
        .collect();
    let mut violations = Vec::new();
    let mut report = |kind: &KindManifest, what: String| violations.push(format!("{}: {what}", kind.kind));
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flat_map(Map::keys).cloned().collect()
    };
    let mut seen = BTreeSet::new();
    for kind in kinds(&manifests) {
        if !seen.insert(&kind.kind) {
            report(kind, "is a kind of two plugins".to_owned());
        }
        let Some(mapping) = &kind.mapping else {
            report(kind, "has no default mapping".to_owned());
            continue;
        };
        let mapping = json!(mapping)["port"]["entity"]["mappings"].take();
        let blueprint = mapping["blueprint"].as_str().unwrap_or_default().trim_matches('"').to_owned();
        let Some(definition) = kind.blueprints.iter().find(|own| own.identifier().as_str() == blueprint)
        else {
            report(kind, format!("maps to `{blueprint}`, which is not among its blueprints"));
            continue;
        };
        let definition = json!(definition);
        for (part, known) in
            [("properties", &definition["schema"]["properties"]), ("relations", &definition["relations"])]
        {
            let (mapped, known) = (names(&mapping[part]), names(known));
            if mapped != known {
                let odd: Vec<&String> = mapped.symmetric_difference(&known).collect();
                report(kind, format!("{part} of mapping and blueprint differ in {odd:?}"));
            }
        }
        for (name, relation) in definition["relations"].as_object().into_iter().flatten() {
            let target = relation["target"].as_str().unwrap_or_default();
            if !blueprints.contains_key(target) {
                report(kind, format!("relation `{name}`: no plugin has a blueprint `{target}`"));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn every_plugin_is_named_after_its_folder_and_its_fixtures_after_its_steps() {
    let mut violations = Vec::new();
    for (folder, manifest) in manifests() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if manifest.name != name {
            violations.push(format!("{name}: its manifest says `{}`", manifest.name));
        }
        let steps: BTreeSet<&str> =
            manifest.kinds.iter().flat_map(|kind| &kind.plan().steps).map(|step| step.id.as_str()).collect();
        for fixture in fs::read_dir(folder.join("fixtures")).unwrap().map(|entry| entry.unwrap().path()) {
            let resources: Vec<Value> = serde_json::from_slice(&fs::read(&fixture).unwrap()).unwrap();
            let used = resources.iter().flat_map(|resource| {
                let parts = [&resource["steps"], &resource["parents"]].into_iter();
                parts.filter_map(Value::as_object).flat_map(Map::keys)
            });
            for step in used.filter(|step| !steps.contains(step.as_str())).collect::<BTreeSet<_>>() {
                violations.push(format!("{}: there is no step `{step}`", fixture.display()));
            }
        }
    }
    assert_none(&violations);
}
