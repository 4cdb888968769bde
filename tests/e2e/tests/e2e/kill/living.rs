//! An AWS that changes all the time, and the entities that must be in Port for it.

use std::collections::{BTreeMap, BTreeSet};

use berth_e2e::{REGIONS, Resource, ScriptedAws, VOLUME_SIZE};
use rand::{Rng as _, rngs::StdRng, seq::IteratorRandom as _};
use serde_json::{Value, json};

use super::super::live::call;

/// The kinds that are read.
pub(super) const KINDS: [&str; 6] = [
    "AWS::Account::Info",
    "AWS::EC2::Volume",
    "AWS::EC2::Subnet",
    "AWS::ECS::Cluster",
    "AWS::IAM::User",
    "AWS::Logs::LogGroup",
];

/// Resources and the blueprints that they fill.
const RESOURCES: [(Resource, &str); 5] = [
    (Resource::Volume, VOLUMES),
    (Resource::Subnet, "ec2Subnet"),
    (Resource::Cluster, "ecsCluster"),
    (Resource::User, "iamUser"),
    (Resource::LogGroup, "logsLogGroup"),
];

/// The blueprint of volumes.
pub(super) const VOLUMES: &str = "ec2Volume";

/// Resources of each kind in each account and region at first.
const AT_FIRST: usize = 6;

/// What exists, by the key of its entity. No name is ever used twice: what was removed stays gone.
pub(super) struct Living {
    aws: ScriptedAws,
    accounts: Vec<String>,
    found: BTreeMap<String, Found>,
    named: u32,
}

struct Found {
    account: String,
    region: &'static str,
    resource: Resource,
    name: String,
    size: u32,
}

impl Found {
    /// What EventBridge tells of a volume; nothing of other resources.
    fn event(&self, name: &str, member: &str) -> Option<Value> {
        let detail = json!({member: {"volumeId": self.name}});
        (self.resource == Resource::Volume)
            .then(|| call(&self.account, self.region, "ec2.amazonaws.com", name, &detail))
    }
}

impl Living {
    pub(super) fn new(aws: ScriptedAws, accounts: &[String]) -> Self {
        let mut living = Self { aws, accounts: accounts.to_vec(), found: BTreeMap::new(), named: 0 };
        for account in accounts {
            for (region, kind) in REGIONS.into_iter().flat_map(|region| RESOURCES.map(|kind| (region, kind)))
            {
                for _ in 0..AT_FIRST {
                    living.add(account, region, kind);
                }
            }
        }
        living
    }

    pub(super) fn aws(&self) -> &ScriptedAws {
        &self.aws
    }

    pub(super) fn is_live(&self, key: &str) -> bool {
        self.found.contains_key(key)
    }

    /// The key of the entity of something that is there.
    pub(super) fn any(&self, random: &mut StdRng) -> String {
        self.found.keys().choose(random).cloned().unwrap_or_default()
    }

    /// Adds something; the events that tell of it.
    pub(super) fn add_any(&mut self, random: &mut StdRng) -> Option<Value> {
        let account = self.accounts[random.random_range(0..self.accounts.len())].clone();
        let region = REGIONS[random.random_range(0..REGIONS.len())];
        let kind = RESOURCES[random.random_range(0..RESOURCES.len())];
        let key = self.add(&account, region, kind);
        self.found[&key].event("CreateVolume", "responseElements")
    }

    fn add(
        &mut self,
        account: &str,
        region: &'static str,
        (resource, blueprint): (Resource, &str),
    ) -> String {
        // Users are in no region.
        let region = if resource == Resource::User { REGIONS[0] } else { region };
        self.named += 1;
        let name = format!("{}-{:05}", blueprint.to_lowercase(), self.named);
        self.aws.add(account, region, resource, &[&name]);
        let key = format!("{blueprint}/{name}");
        let found = Found { account: account.to_owned(), region, resource, name, size: VOLUME_SIZE };
        self.found.insert(key.clone(), found);
        key
    }

    /// Removes something; the events that tell of it.
    pub(super) fn remove(&mut self, key: &str) -> Option<Value> {
        let found = self.found.remove(key)?;
        self.aws.remove(&found.account, found.region, found.resource, &found.name);
        found.event("DeleteVolume", "requestParameters")
    }

    /// Changes a volume; the events that tell of it.
    pub(super) fn resize_any(&mut self, random: &mut StdRng) -> Option<Value> {
        let volumes = self.found.values_mut().filter(|found| found.resource == Resource::Volume);
        let volume = volumes.choose(random)?;
        volume.size += 1;
        self.aws.resize(&volume.name, volume.size);
        volume.event("ModifyVolume", "requestParameters")
    }

    /// The keys of all entities that there must be.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        let accounts = self.accounts.iter().map(|account| format!("awsAccount/{account}"));
        self.found.keys().cloned().chain(accounts).collect()
    }

    /// What the entity of a volume must say: its size and its account. None for other resources.
    pub(super) fn volume(&self, key: &str) -> Option<(u32, &str)> {
        let found = self.found.get(key)?;
        (found.resource == Resource::Volume).then_some((found.size, found.account.as_str()))
    }
}
