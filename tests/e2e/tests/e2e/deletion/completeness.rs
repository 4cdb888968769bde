//! A resource counts as gone only if its unit was read completely.

use std::{
    thread,
    time::{Duration, Instant},
};

use berth_e2e::{REGIONS, Reply, Resource, Run};
use port_stand_in::LoggedRequest;
use serde_json::{Value, json};

use super::{
    ACCOUNT, CLUSTER, LOG_GROUP, SERVICE, STATES, SUBNET, Scene, USER, VOLUME, default_entry, deleted, kept,
    mappings, name,
};

/// A sync in which some read of account A fails: it ends with code 3, and every entity stays.
#[track_caller]
fn loses_nothing(scene: &Scene, state: &str) -> Run {
    let before = scene.world.entities();
    let run = scene.sync(state);
    run.exits(3);
    assert_eq!(scene.world.entities(), before, "{run}");
    assert_eq!(deleted(&run).len(), 0, "{run}");
    run
}

#[test]
fn a_renamed_blueprint_deletes_nothing_of_an_account_that_cannot_be_read() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME], 3);
        let mut renamed = scene.world.port().blueprint("ec2Volume").unwrap();
        renamed["identifier"] = json!("ec2Volume2");
        scene.world.port().seed_blueprint(&renamed).unwrap();
        scene.sync(state).exits(0);
        let before = scene.identifiers("ec2Volume", "");
        assert_eq!(before.len(), 12);

        scene.aws.close(&scene.b);
        let mut volumes = default_entry(VOLUME);
        mappings(&mut volumes)["blueprint"] = json!("\"ec2Volume2\"");
        scene.map(&[default_entry(ACCOUNT), volumes]);
        let run = scene.sync(state);
        run.exits(3);
        assert_eq!(scene.identifiers("ec2Volume", ""), before, "{run}");
        assert_eq!(scene.identifiers("ec2Volume2", "").len(), 6, "{run}");

        // When everything is read, those of the former blueprint go.
        scene.aws.open(&scene.b);
        scene.sync(state).exits(0);
        assert_eq!(scene.identifiers("ec2Volume", "").len(), 0);
        assert_eq!(scene.identifiers("ec2Volume2", ""), before);
    }
}

#[test]
fn an_arn_composed_by_the_mapping_is_no_evidence_of_an_account() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT], 3);
        scene.world.edit_blueprint("ec2Subnet", |blueprint| {
            blueprint["schema"]["properties"]["central"] = json!({"type": "string", "title": "Central"});
        });
        let mut subnets = default_entry(SUBNET);
        mappings(&mut subnets)["relations"] = json!({});
        mappings(&mut subnets)["properties"] =
            json!({"central": r#""arn:aws:sns:" + .__ExtraContext.Region + ":999999999999:alerts""#});
        scene.map(&[default_entry(ACCOUNT), subnets]);
        scene.sync(state).exits(0);
        assert_eq!(scene.identifiers("ec2Subnet", "").len(), 12);

        let a = scene.a.clone();
        scene.aws.script(move |call| {
            (call.operation == "DescribeSubnets" && call.account == a).then(Reply::denied)
        });
        loses_nothing(&scene, state);
    }
}

#[test]
fn a_shared_subnet_stays_until_all_accounts_that_listed_it_are_read_without_it() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, SUBNET], 1);
        let region = REGIONS[0];
        let shared = "subnet-shared";
        for account in [&scene.a, &scene.b] {
            scene.aws.add(account, region, Resource::Subnet, &[shared]);
        }
        scene.sync(state).exits(0);
        let entity = scene.world.port().entity("ec2Subnet", shared).unwrap();
        let names = entity["relations"]["account"].as_str().unwrap().to_owned();
        let other = if names == scene.a { scene.b.clone() } else { scene.a.clone() };

        // The account that the entity names lists it no more, and the other one cannot be read.
        scene.aws.remove(&names, region, Resource::Subnet, shared);
        scene.aws.close(&other);
        let run = loses_nothing(&scene, state);
        assert!(kept(&run, "incomplete").contains("ec2Subnet/subnet-shared"), "{run}");

        // The other one still lists it.
        scene.aws.open(&other);
        scene.sync(state).exits(0);
        let entity = scene.world.port().entity("ec2Subnet", shared).unwrap();
        assert_eq!(entity["relations"]["account"], json!(other));

        scene.aws.remove(&other, region, Resource::Subnet, shared);
        let run = scene.sync(state);
        run.exits(0);
        assert_eq!(deleted(&run).into_iter().collect::<Vec<_>>(), ["ec2Subnet/subnet-shared"], "{run}");
    }
}

#[test]
fn a_page_that_is_cut_off_without_a_marker_deletes_nothing() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, USER], 4);
        scene.sync(state).exits(0);
        assert_eq!(scene.identifiers("iamUser", &scene.a).len(), 4);

        let a = scene.a.clone();
        let users: Vec<String> = (0..4).map(|at| name("user", &a, REGIONS[0], at)).collect();
        scene.aws.script(move |call| {
            let page = || match call.text("Marker") {
                None => Reply::users(&a, &users[..2], true, Some("2")),
                Some(_) => Reply::users(&a, &users[2..3], true, None),
            };
            (call.operation == "ListUsers" && call.account == a).then(page)
        });
        loses_nothing(&scene, state);
    }
}

#[test]
fn page_tokens_in_a_circle_end_the_unit_after_a_few_calls() {
    let mut scene = Scene::with(&[ACCOUNT, SUBNET], 2);
    scene.world.list_accounts(&[scene.a.clone()]);
    scene.aws.enable_regions(&scene.a, &REGIONS[..1]);
    scene.sync("state").exits(0);
    let before = scene.identifiers("ec2Subnet", "");
    assert_eq!(before.len(), 2);

    scene.aws.take_counts();
    scene.world.port().clear_requests();
    scene.aws.script(|call| {
        let next = if call.text("NextToken") == Some("A") { "B" } else { "A" };
        let ids = [format!("subnet-{next}")];
        (call.operation == "DescribeSubnets").then(|| Reply::subnets(call, &ids, Some(next)))
    });
    let mut process = scene.world.start(&["sync", "--state-dir", "state"]);
    let begun = Instant::now();
    let code = loop {
        match process.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if begun.elapsed() > Duration::from_mins(1) => {
                process.kill().unwrap();
                panic!("the run does not end: {:?}", scene.aws.take_counts());
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(code, Some(3));
    let calls = scene.aws.take_counts()["ec2 DescribeSubnets"];
    assert!(calls < 10, "{calls} calls");
    let upserts = scene.world.port().requests();
    let upserts = upserts.iter().filter(|request| request.route.ends_with("/entities/bulk"));
    let entities = |request: &LoggedRequest| request.body["entities"].as_array().map_or(0, Vec::len);
    assert!(upserts.map(entities).sum::<usize>() <= 2);
    assert!(scene.identifiers("ec2Subnet", "").is_superset(&before));
}

#[test]
fn what_a_batch_call_fails_or_does_not_mention_stays() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, CLUSTER, SERVICE], 2);
        let region = REGIONS[1];
        scene.aws.script(|call| (call.operation == "ListServices").then(|| services(call, 3)));
        scene.sync(state).exits(0);
        // Two clusters in each of four units have them, and say so by one ARN.
        assert_eq!(scene.identifiers("ecsService", "").len(), 12);

        let a = scene.a.clone();
        scene.aws.script(move |call| match call.operation.as_str() {
            "DescribeClusters" if call.account == a && call.region == region => {
                let failed = |arn: String| json!({"arn": arn, "reason": "THROTTLED"});
                let failures: Value = call.list("clusters").into_iter().map(failed).collect();
                Some(Reply::json(&json!({"clusters": [], "failures": failures})))
            }
            "ListServices" => Some(services(call, 3)),
            _ => None,
        });
        loses_nothing(&scene, state);

        // A service is in neither list.
        let a = scene.a.clone();
        scene.aws.script(move |call| match call.operation.as_str() {
            "DescribeServices" if call.account == a && call.region == region => {
                let described = call.list("services").into_iter().skip(1);
                let service =
                    |arn: String| json!({"serviceArn": arn, "serviceName": arn, "status": "ACTIVE"});
                let services: Value = described.map(service).collect();
                Some(Reply::json(&json!({"services": services, "failures": []})))
            }
            "ListServices" => Some(services(call, 3)),
            _ => None,
        });
        let before = scene.identifiers("ecsService", "");
        let run = scene.sync(state);
        run.exits(3);
        assert_eq!(scene.identifiers("ecsService", ""), before, "{run}");

        // The service names one as missing: that one is gone.
        let a = scene.a.clone();
        scene.aws.script(move |call| match call.operation.as_str() {
            "DescribeClusters" if call.account == a && call.region == region => {
                let mut arns = call.list("clusters").into_iter();
                let missing: Value =
                    arns.next().into_iter().map(|arn| json!({"arn": arn, "reason": "MISSING"})).collect();
                let cluster =
                    |arn: String| json!({"clusterArn": arn, "clusterName": arn, "status": "ACTIVE"});
                let clusters: Value = arns.map(cluster).collect();
                Some(Reply::json(&json!({"clusters": clusters, "failures": missing})))
            }
            "ListServices" => Some(services(call, 3)),
            _ => None,
        });
        let run = scene.sync(state);
        run.exits(0);
        let gone = format!(
            "ecsCluster/arn:aws:ecs:{region}:{}:cluster/{}",
            scene.a,
            name("cluster", &scene.a, region, 0)
        );
        assert_eq!(deleted(&run).into_iter().collect::<Vec<_>>(), [gone], "{run}");
    }
}

/// So many services of a region.
fn services(call: &berth_e2e::AwsCall, count: usize) -> Reply {
    let (account, region) = (&call.account, &call.region);
    let arn = |at: usize| format!("arn:aws:ecs:{region}:{account}:service/s{at}");
    let arns: Value = (0..count).map(arn).collect();
    Reply::json(&json!({"serviceArns": arns}))
}

#[test]
fn an_answer_without_its_list_is_no_empty_list() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME, LOG_GROUP], 2);
        scene.sync(state).exits(0);
        for operation in ["DescribeLogGroups", "DescribeVolumes"] {
            let a = scene.a.clone();
            scene.aws.script(move |call| {
                (call.operation == operation && call.account == a).then(|| match operation {
                    "DescribeLogGroups" => Reply::json(&json!({})),
                    _ => Reply::xml(operation, "<requestId>r</requestId>"),
                })
            });
            loses_nothing(&scene, state);
        }
        // The right answer of an account without any is believed.
        let a = scene.a.clone();
        scene.aws.script(move |call| {
            (call.operation == "DescribeVolumes" && call.account == a).then(|| Reply::volumes(&[]))
        });
        let run = scene.sync(state);
        run.exits(0);
        assert_eq!(deleted(&run).len(), 4, "{run}");
    }
}

#[test]
fn what_the_second_listing_finds_stays() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME], 3);
        scene.sync(state).exits(0);
        let before = scene.world.entities();
        let gone = scene.remove_volume(&scene.b, REGIONS[1], 0);

        // Account A's list leaves its first volume out, once.
        let (a, region) = (scene.a.clone(), REGIONS[0]);
        let left: Vec<String> = (1..3).map(|at| name("vol", &a, region, at)).collect();
        let lists = std::sync::atomic::AtomicUsize::new(0);
        scene.aws.script(move |call| {
            let is_it = call.operation == "DescribeVolumes" && call.account == a && call.region == region;
            let first = is_it && lists.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            first.then(|| Reply::volumes(&left))
        });
        let run = scene.sync(state);
        run.exits(0).says("1 entity was there after all, and stays");
        assert_eq!(deleted(&run), [gone.clone()].into(), "{run}");
        let found = format!("ec2Volume/{}", name("vol", &scene.a, region, 0));
        assert_eq!(kept(&run, "found-again").into_iter().collect::<Vec<_>>(), [found], "{run}");
        assert_eq!(run.report["deletion"]["second_look"]["found"], 1, "{run}");
        let mut expected = before;
        expected.remove(&gone);
        assert_eq!(scene.world.entities(), expected);
    }
}
