//! The truth: the resources in AWS, which of them are read, and the entities that they make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The regions.
pub const REGIONS: [&str; 3] = ["eu-west-1", "us-east-1", "ap-south-1"];
/// The most accounts.
pub const ACCOUNTS: usize = 3;

/// The id of an account.
pub fn account_id(account: usize) -> String {
    format!("{}", 111_111_111_111_u64 * (account as u64 + 1))
}

/// The position of an account by its id.
pub fn account_at(id: &str) -> Option<usize> {
    (0..ACCOUNTS).find(|account| account_id(*account) == id)
}

/// The position of a region by its name.
pub fn region_at(name: &str) -> Option<usize> {
    REGIONS.iter().position(|region| *region == name)
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A list of ARNs, described in batches.
    Cluster,
    /// A list of names, described and tagged one by one.
    Table,
    /// A list; two accounts may show the same one.
    Subnet,
    /// A global list.
    User,
    /// The account itself.
    Account,
}

impl Kind {
    /// All that are read.
    pub const ALL: [Self; 5] = [Self::Account, Self::Cluster, Self::Table, Self::Subnet, Self::User];
    /// Those that have resources.
    pub const WITH_RESOURCES: [Self; 4] = [Self::Cluster, Self::Table, Self::Subnet, Self::User];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "AWS::ECS::Cluster",
            Self::Table => "AWS::DynamoDB::Table",
            Self::Subnet => "AWS::EC2::Subnet",
            Self::User => "AWS::IAM::User",
            Self::Account => "AWS::Account::Info",
        }
    }

    /// The kind of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The blueprint of its default mapping.
    pub fn blueprint(self) -> &'static str {
        match self {
            Self::Cluster => "ecsCluster",
            Self::Table => "dynamodbTable",
            Self::Subnet => "ec2Subnet",
            Self::User => "iamUser",
            Self::Account => "awsAccount",
        }
    }

    /// Whether it is read in each region.
    pub fn is_regional(self) -> bool {
        matches!(self, Self::Cluster | Self::Table | Self::Subnet)
    }
}

/// Which resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// The account that owns it.
    pub account: usize,
    /// Where it is; 0 for what is global.
    pub region: usize,
    /// Its number.
    pub number: u32,
}

impl Key {
    /// Its name.
    pub fn name(&self) -> String {
        format!("r{:03}", self.number)
    }

    /// The identifier of its entity.
    pub fn identifier(&self) -> String {
        let (account, region, name) = (account_id(self.account), REGIONS[self.region], self.name());
        match self.kind {
            Kind::Cluster => format!("arn:aws:ecs:{region}:{account}:cluster/{name}"),
            Kind::Table => format!("arn:aws:dynamodb:{region}:{account}:table/{name}"),
            Kind::Subnet => format!("subnet-{}{}{:06x}", self.account, self.region, self.number),
            Kind::User => format!("arn:aws:iam::{account}:user/{name}"),
            Kind::Account => account,
        }
    }
}

/// A resource as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Counts its changes.
    pub revision: u32,
    /// Counts the changes of its tags.
    pub tags: u32,
    /// The other account that shows it.
    pub shared: Option<usize>,
    /// When it last changed.
    pub changed: u64,
}

/// An entry of the mapping in Port.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it reads.
    pub kind: Kind,
    /// Whether it fills another blueprint than the default one.
    pub renamed: bool,
    /// Whether it gives no identifier.
    pub nameless: bool,
    /// The only regions that it reads.
    pub regions: Option<Vec<usize>>,
}

impl Entry {
    /// The default entry of a kind.
    pub fn of(kind: Kind) -> Self {
        Self { kind, renamed: false, nameless: false, regions: None }
    }

    /// The blueprint that it fills.
    pub fn blueprint(&self) -> String {
        format!("{}{}", self.kind.blueprint(), if self.renamed { "Alt" } else { "" })
    }

    fn reads(&self, region: usize) -> bool {
        !self.kind.is_regional() || self.regions.as_ref().is_none_or(|regions| regions.contains(&region))
    }
}

/// Blueprint and identifier.
pub type EntityKey = (String, String);

/// What decides which entities there are to be, beside the resources.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// The mapping.
    pub mapping: Vec<Entry>,
    /// The accounts that the settings name.
    pub listed: BTreeSet<usize>,
    /// The regions that are switched off.
    pub off: BTreeSet<(usize, usize)>,
}

impl Scope {
    /// The entity of what an account shows, unless nothing reads that.
    fn key(&self, key: &Key, seen_by: usize) -> Option<EntityKey> {
        self.key_by(key, seen_by, |entry| !entry.nameless)
    }

    /// The same, of the entries that count.
    fn key_by(&self, key: &Key, seen_by: usize, counts: impl Fn(&Entry) -> bool) -> Option<EntityKey> {
        let reads = |entry: &&Entry| entry.kind == key.kind && counts(entry) && entry.reads(key.region);
        let regional = key.kind.is_regional() && self.off.contains(&(seen_by, key.region));
        if regional || !self.listed.contains(&seen_by) {
            return None;
        }
        let entry = self.mapping.iter().find(reads)?;
        Some((entry.blueprint(), key.identifier()))
    }
}

/// The truth.
#[derive(Debug, Clone)]
pub struct World {
    /// How many accounts there are.
    pub accounts: usize,
    /// How many regions there are.
    pub regions: usize,
    /// All resources.
    pub resources: BTreeMap<Key, Resource>,
    /// When a resource was absent last.
    absent: BTreeMap<Key, u64>,
    /// What decides which entities there are to be.
    scope: Scope,
    /// The same in the past of the running process.
    earlier: Vec<Scope>,
    /// Counts changes.
    pub tick: u64,
    /// When the running process began.
    pub begun: u64,
}

/// Whether an entity is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its resource was there all the time since the process began, and is read.
    Live,
    /// Its resource is there, but the settings do not name its account any more, nor the other that shows it.
    AccountGone(usize, Option<usize>),
    /// Its resource is there, but its region is switched off, or the mapping leaves it out.
    RegionOff,
    /// Anything else.
    Stale,
}

impl World {
    /// An empty one.
    pub fn new(accounts: usize, regions: usize) -> Self {
        let mapping = Kind::ALL.into_iter().map(Entry::of).collect();
        let listed = (0..accounts).collect();
        Self {
            accounts,
            regions,
            resources: BTreeMap::new(),
            absent: BTreeMap::new(),
            scope: Scope { mapping, listed, off: BTreeSet::new() },
            earlier: Vec::new(),
            tick: 1,
            begun: 1,
        }
    }

    /// The accounts that the settings name.
    pub fn listed(&self) -> impl Iterator<Item = usize> {
        self.scope.listed.iter().copied()
    }

    /// A process of the host begins.
    pub fn begin(&mut self) {
        self.tick += 1;
        self.begun = self.tick;
        self.earlier.clear();
    }

    /// What decides which entities there are to be.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Changes that.
    pub fn change_scope(&mut self, change: impl FnOnce(&mut Scope)) {
        self.tick += 1;
        self.earlier.push(self.scope.clone());
        change(&mut self.scope);
    }

    /// Creates a resource, or changes it where it is there, and with whom it is shared.
    pub fn put(&mut self, key: Key, shared: Option<usize>) {
        self.tick += 1;
        let tick = self.tick;
        if let Some(resource) = self.resources.get_mut(&key) {
            resource.revision += 1;
            resource.shared = shared;
            resource.changed = tick;
        } else {
            let revision = u32::try_from(tick).unwrap_or_default();
            self.absent.insert(key, tick);
            self.resources.insert(key, Resource { revision, tags: revision, shared, changed: tick });
        }
    }

    /// Changes the tags of a resource.
    pub fn tag(&mut self, key: Key) {
        self.tick += 1;
        if let Some(resource) = self.resources.get_mut(&key) {
            resource.tags += 1;
            resource.changed = self.tick;
        }
    }

    /// Removes a resource.
    pub fn remove(&mut self, key: Key) {
        self.tick += 1;
        self.absent.insert(key, self.tick);
        self.resources.remove(&key);
    }

    /// The resources of a kind that an account shows in a region, in their order.
    pub fn seen(&self, kind: Kind, account: usize, region: usize) -> Vec<(Key, Resource)> {
        let seen = |(key, resource): &(&Key, &Resource)| {
            key.kind == kind
                && (key.account == account || resource.shared == Some(account))
                && (!kind.is_regional() || key.region == region)
        };
        self.resources.iter().filter(seen).map(|(key, resource)| (*key, resource.clone())).collect()
    }

    /// All entities that there are to be, with the resource of each.
    pub fn expected(&self) -> BTreeMap<EntityKey, Option<(Key, Resource)>> {
        let mut expected = BTreeMap::new();
        for (key, resource) in &self.resources {
            let seen_by = std::iter::once(key.account).chain(resource.shared);
            for entity in seen_by.filter_map(|account| self.scope.key(key, account)) {
                expected.insert(entity, Some((*key, resource.clone())));
            }
        }
        for account in 0..self.accounts {
            let key = Key { kind: Kind::Account, account, region: 0, number: 0 };
            expected.extend(self.scope.key(&key, account).map(|entity| (entity, None)));
        }
        expected
    }

    /// Whether a resource is as it was when the process began.
    pub fn is_unchanged(&self, key: &Key) -> bool {
        let absent = self.absent.get(key).is_some_and(|tick| *tick >= self.begun);
        let changed = self.resources.get(key).is_none_or(|resource| resource.changed >= self.begun);
        !absent && !changed
    }

    /// Whether what is read has changed since the process began.
    pub fn begun_scope_changed(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// What is to become of an entity.
    pub fn standing(&self, entity: &EntityKey) -> Standing {
        let is_there = |key: &Key| self.absent.get(key).is_none_or(|tick| *tick < self.begun);
        let accounts = (0..self.accounts)
            .map(|account| (Key { kind: Kind::Account, account, region: 0, number: 0 }, None));
        let resources = self.resources.iter().map(|(key, resource)| (*key, resource.shared));
        let mut found: Vec<(Key, Option<usize>)> =
            resources.chain(accounts).filter(|(key, _)| key.identifier() == entity.1).collect();
        found.retain(|(key, _)| is_there(key));
        let Some((key, shared)) = found.first() else { return Standing::Stale };
        // A resource that is read and gives no identifier protects the entity that it gave before.
        let read = |scope: &Scope| {
            let seen_by = std::iter::once(key.account).chain(*shared);
            seen_by.filter_map(|account| scope.key_by(key, account, |_| true)).any(|found| found == *entity)
        };
        if std::iter::once(&self.scope).chain(&self.earlier).all(read) {
            return Standing::Live;
        }
        // Would it be read if every account were, and every region?
        let listed = Scope { listed: (0..self.accounts).collect(), ..self.scope.clone() };
        let mut all = Scope { off: BTreeSet::new(), ..listed.clone() };
        all.mapping.iter_mut().for_each(|entry| entry.regions = None);
        match (read(&listed), read(&all)) {
            (true, _) => Standing::AccountGone(key.account, *shared),
            (false, true) => Standing::RegionOff,
            (false, false) => Standing::Stale,
        }
    }

    /// The app-config in Port.
    pub fn app_config(&self, kinds: &Value) -> Value {
        let resources = self.scope.mapping.iter().map(|entry| {
            let kind = kinds["kinds"].as_array().into_iter().flatten();
            let mut config = kind
                .filter(|kind| kind["kind"] == entry.kind.name())
                .map(|kind| kind["mapping"].clone())
                .next()
                .unwrap_or_default();
            if entry.renamed {
                config["port"]["entity"]["mappings"]["blueprint"] =
                    json!(format!("\"{}\"", entry.blueprint()));
            }
            if entry.nameless {
                config["port"]["entity"]["mappings"]["identifier"] = json!(".Properties.Nothing");
            }
            if let Some(regions) = &entry.regions {
                let names: Vec<&str> = regions.iter().map(|region| REGIONS[*region]).collect();
                config["selector"]["regionPolicy"] = json!({"allow": names});
            }
            config
        });
        json!({
            "enableMergeEntity": true, "deleteDependentEntities": true,
            "createMissingRelatedEntities": true, "entityDeletionThreshold": 1.0,
            "resources": resources.collect::<Vec<_>>(),
        })
    }
}
