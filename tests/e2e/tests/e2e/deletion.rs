//! What a sync deletes from Port, and what it never deletes.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod completeness;
mod events;
mod limits;
mod ownership;
mod plans;
mod scopes;

use std::collections::BTreeSet;

use berth_e2e::{Denial, Entities, Kinds, REGIONS, Resource, Run, ScriptedAws, World};
use serde_json::{Value, json};

const ACCOUNT: &str = "AWS::Account::Info";
const VOLUME: &str = "AWS::EC2::Volume";
const SUBNET: &str = "AWS::EC2::Subnet";
const LOG_GROUP: &str = "AWS::Logs::LogGroup";
const CLUSTER: &str = "AWS::ECS::Cluster";
const SERVICE: &str = "AWS::ECS::Service";
const USER: &str = "AWS::IAM::User";

/// With a state directory, and without.
const STATES: [&str; 2] = ["state", "none"];

/// Two accounts of a scripted AWS, the mapping of some kinds, and nothing synced yet.
struct Scene {
    world: World,
    aws: ScriptedAws,
    /// The first account.
    a: String,
    /// The second account.
    b: String,
}

impl Scene {
    /// With so many volumes, subnets, log groups, clusters and users in each region of each account; the
    /// kinds decide which of them are read.
    fn with(kinds: &[&str], count: usize) -> Self {
        let mut world = World::with_accounts(2).build();
        let aws = world.script_aws();
        for blueprint in Kinds::bundled().blueprints() {
            world.port().seed_blueprint(blueprint).unwrap();
        }
        let entries: Vec<Value> = kinds.iter().map(|kind| default_entry(kind)).collect();
        world.install(&entries);
        let [a, b] = [0, 1].map(|at| world.accounts()[at].clone());
        for (account, region) in
            [&a, &b].into_iter().flat_map(|account| REGIONS.map(|region| (account, region)))
        {
            for (resource, prefix) in [
                (Resource::Volume, "vol"),
                (Resource::Subnet, "subnet"),
                (Resource::LogGroup, "group"),
                (Resource::Cluster, "cluster"),
                (Resource::User, "user"),
            ] {
                let names: Vec<String> = (0..count).map(|at| name(prefix, account, region, at)).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                aws.add(account, region, resource, &names);
            }
        }
        Self { world, aws, a, b }
    }

    /// A sync with a state directory in the world's folder, or with `none`.
    fn sync(&self, state: &str) -> Run {
        self.world.berth(&["sync", "--state-dir", state])
    }

    /// Replaces the entries of the mapping, as a user does in Port's editor.
    fn map(&self, entries: &[Value]) {
        self.world.edit_mapping(|config| config["resources"] = json!(entries));
    }

    /// The identifiers of a blueprint's entities that contain a text.
    fn identifiers(&self, blueprint: &str, containing: &str) -> BTreeSet<String> {
        let prefix = format!("{blueprint}/");
        let entities = self.world.entities().into_keys();
        let identifiers = entities.filter_map(|key| key.strip_prefix(&prefix).map(ToOwned::to_owned));
        identifiers.filter(|identifier| identifier.contains(containing)).collect()
    }

    /// Removes a volume from AWS; the key of its entity.
    fn remove_volume(&self, account: &str, region: &str, at: usize) -> String {
        let volume = name("vol", account, region, at);
        self.aws.remove(account, region, Resource::Volume, &volume);
        format!("ec2Volume/{volume}")
    }
}

/// A name or id in the scripted AWS.
fn name(prefix: &str, account: &str, region: &str, at: usize) -> String {
    format!("{prefix}-{account}-{region}-{at}")
}

/// The default mapping of a kind.
fn default_entry(kind: &str) -> Value {
    let kinds = Kinds::bundled().only(&BTreeSet::from([kind.to_owned()]));
    kinds.manifests()[0]["mapping"].clone()
}

/// What an entry makes of a resource.
fn mappings(entry: &mut Value) -> &mut Value {
    &mut entry["port"]["entity"]["mappings"]
}

/// The keys of what a report says was deleted, or a plan would delete.
fn deleted(run: &Run) -> BTreeSet<String> {
    keys(&run.report["deletion"]["deleted"], |gone| &gone["entity"])
}

/// The keys of what a report says limits hold back.
fn held_back(run: &Run) -> BTreeSet<String> {
    let limits = run.report["deletion"]["held_back"].as_array().into_iter().flatten();
    limits.flat_map(|limit| keys(&limit["entities"], |entity| entity)).collect()
}

/// The keys of what is kept, by the reason.
fn kept(run: &Run, reason: &str) -> BTreeSet<String> {
    let kept = run.report["deletion"]["kept"].as_array().into_iter().flatten();
    let kept: Value = kept.filter(|kept| kept["reason"] == reason).cloned().collect();
    keys(&kept, |kept| &kept["entity"])
}

fn keys(list: &Value, entity: impl Fn(&Value) -> &Value) -> BTreeSet<String> {
    let list = list.as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.map(entity)
        .map(|entity| format!("{}/{}", text(&entity["blueprint"]), text(&entity["identifier"])))
        .collect()
}

/// The entities without those.
fn without(entities: &Entities, gone: &BTreeSet<String>) -> Entities {
    let left = entities.iter().filter(|(key, _)| !gone.contains(*key));
    left.map(|(key, entity)| (key.clone(), entity.clone())).collect()
}

/// The keys of the entities whose key contains a text.
fn about(entities: &Entities, text: &str) -> BTreeSet<String> {
    entities.keys().filter(|key| key.contains(text)).cloned().collect()
}

#[test]
fn a_resource_that_is_gone_takes_exactly_its_entity_with_it() {
    let world = World::with_accounts(2).buckets(2).clusters(1).build();
    world.sync().exits(0);
    let before = world.entities();
    let bucket = format!("berth-{}-eu-west-1-1", world.accounts()[1]);
    world.delete_bucket(&world.accounts()[1], &bucket);

    world.sync().exits(0);
    let mut expected = before;
    assert!(expected.remove(&format!("s3Bucket/arn:aws:s3:::{bucket}")).is_some());
    assert_eq!(world.entities(), expected);
}

#[test]
fn a_role_that_cannot_be_assumed_keeps_its_entities() {
    let world = World::with_accounts(3).buckets(1).build();
    world.sync().exits(0);
    let before = world.entities();
    let broken = world.accounts()[1].clone();
    world.break_external_id(&broken);
    world.delete_bucket(&broken, &format!("berth-{broken}-us-east-1-0"));

    let run = world.sync();
    run.exits(3).says("Unable to assume role").says(&broken);
    for check in [
        "exists in account",
        "trust policy names",
        "external ID (`OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID`",
        "allows `sts:AssumeRole` on",
    ] {
        run.says(check);
    }
    assert_eq!(world.entities(), before);
    let others: Vec<_> = run.units("complete").into_iter().filter(|unit| unit.0 != broken).collect();
    assert_eq!(others.len(), run.units("complete").len(), "{run}");
    assert!(!others.is_empty(), "{run}");
}

#[test]
fn a_region_that_denies_access_keeps_its_entities_and_stops_no_other() {
    let world = World::with_accounts(2).instances(1).clusters(1).build();
    world.sync().exits(0);
    let before = world.entities();
    let denied = world.accounts()[0].clone();
    world.gate().deny(Denial { account: denied.clone(), service: "ec2".into(), region: "eu-west-1".into() });
    world.seed(&denied, &["--regions=us-east-1", "--buckets=0", "--instances=1", "--clusters=0"]);

    let run = world.sync();
    run.exits(3);
    let skipped = (denied.clone(), "eu-west-1".to_owned(), "AWS::EC2::Instance".to_owned());
    assert_eq!(run.units("skipped"), [skipped], "{run}");
    let after = world.entities();
    assert!(before.keys().all(|key| after.contains_key(key)), "{run}");
    assert_eq!(after, world.expected());
}

#[test]
fn too_many_deletions_are_held_back() {
    let world = World::with_accounts(1).buckets(3).build();
    world.sync().exits(0);
    let before = world.entities();
    world.edit_mapping(|config| config["entityDeletionThreshold"] = serde_json::json!(0.1));
    let account = &world.accounts()[0];
    for number in 0..3 {
        world.delete_bucket(account, &format!("berth-{account}-us-east-1-{number}"));
    }

    world.sync().exits(5).says("entityDeletionThreshold");
    assert_eq!(world.entities(), before);

    // The threshold is the user's to raise.
    world.edit_mapping(|config| config["entityDeletionThreshold"] = serde_json::json!(0.9));
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
}
