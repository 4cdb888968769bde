//! What the simulator can answer, read from the fetch plans in the plugins' manifests: which operation
//! lists which resources, and which operations describe them. No kind is named here.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path as FilePath,
};

use berth_aws_protocol::{AwsService, Operation, Protocol};
use berth_core::{KindManifest, KindReads, Manifest, Path, Scope, Step};
use serde_json::Value;

use crate::{StartError, hash, noun, noun::Form, protocol::rest::Route};

/// Operations that the host itself calls.
const OWN: [(&str, &str); 9] = [
    ("account", "ListRegions"),
    ("ec2", "DescribeRegions"),
    ("organizations", "ListAccounts"),
    ("organizations", "DescribeOrganization"),
    ("organizations", "ListAccountsForParent"),
    ("organizations", "ListOrganizationalUnitsForParent"),
    ("organizations", "ListParents"),
    ("organizations", "ListRoots"),
    ("organizations", "ListTagsForResource"),
];

/// Resources that one operation lists, in every account and region (or only in every account).
#[derive(Debug)]
pub(crate) struct Collection {
    /// `ecs:ListServices`
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) signing_name: String,
    /// The collection whose resources these belong to.
    pub(crate) parent: Option<usize>,
    /// The kinds whose resources these are; none for what is only listed on the way.
    pub(crate) kinds: Vec<String>,
    pub(crate) scope: Scope,
    /// What the resources are called, the best name first.
    pub(crate) nouns: Vec<String>,
    /// For lists of plain texts: what the texts are, and their noun.
    pub(crate) texts: Option<(Form, String)>,
    /// `arn:{partition}:eks:{region}:{account}:cluster/{resource}`, and what the resource is in it.
    pub(crate) arn: Option<(String, Form)>,
    /// `https://sqs.{region}.amazonaws.com/{account}/{resource}`
    pub(crate) url: Option<String>,
    /// Tells the collection from all others.
    pub(crate) salt: u64,
}

impl Collection {
    pub(crate) fn noun(&self) -> &str {
        self.nouns.first().map_or("resource", String::as_str)
    }

    /// Whether its resources are in no region.
    pub(crate) fn is_global(&self) -> bool {
        self.scope != Scope::Regional
    }
}

/// What an operation's answer is about.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// It lists a collection, at this path.
    List { collection: usize, items: Path },
    /// It tells more about resources of one of these collections that the input names.
    About { collections: Vec<usize>, shape: About },
    /// It is about the accounts, or the regions.
    Own,
}

/// Where an answer about resources has what.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// The list with one element for each resource, if there may be several.
    pub(crate) each: Option<Path>,
    /// The member of an element that is the name as the input has it.
    pub(crate) key: Option<Path>,
    /// The structure that is the resource.
    pub(crate) resource: Option<Path>,
}

/// An operation that can be answered.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) operation: Operation,
    pub(crate) role: Role,
    /// `ecs:ListClusters`
    pub(crate) name: String,
}

/// Everything that can be answered.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) collections: Vec<Collection>,
    pub(crate) operations: Vec<Known>,
    index: HashMap<(String, String), usize>,
    /// By signing name and `x-amz-target`.
    pub(crate) targets: HashMap<(String, String), usize>,
    /// By signing name, `Version` and `Action`.
    pub(crate) actions: HashMap<(String, String, String), usize>,
    /// By signing name, the most particular first.
    pub(crate) routes: HashMap<String, Vec<(Route, usize)>>,
    /// What a noun means, within a service.
    nouns: BTreeMap<(String, String), usize>,
}

impl Catalog {
    /// Reads every `*/manifest.json` of a folder of plugins.
    pub(crate) fn read(folder: &FilePath) -> Result<(Self, Vec<KindManifest>), StartError> {
        let unreadable = |path: &FilePath, reason: String| StartError::Manifest { path: path.into(), reason };
        let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error.to_string()))?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path().join("manifest.json")))
            .filter(|file| file.is_file())
            .collect();
        files.sort();
        let mut kinds = Vec::new();
        for file in &files {
            let bytes = fs::read(file).map_err(|error| unreadable(file, error.to_string()))?;
            let manifest = Manifest::parse(&bytes).map_err(|error| unreadable(file, error.to_string()))?;
            kinds.extend(manifest.kinds);
        }
        if kinds.is_empty() {
            return Err(unreadable(folder, "there is no */manifest.json in it".to_owned()));
        }
        let catalog = Self::of(&kinds)?;
        Ok((catalog, kinds))
    }

    /// The catalog of these kinds.
    pub(crate) fn of(kinds: &[KindManifest]) -> Result<Self, StartError> {
        let mut catalog = Self::default();
        for (service, operation) in OWN {
            catalog.add(service, operation, Role::Own)?;
        }
        let mut listed = Vec::new();
        for kind in kinds {
            listed.push(catalog.lists(kind)?);
        }
        for (kind, listed) in kinds.iter().zip(&listed) {
            catalog.enrichments(kind, listed)?;
        }
        for routes in catalog.routes.values_mut() {
            routes.sort_by_key(|(route, _)| std::cmp::Reverse(route.weight()));
        }
        for index in 0..catalog.collections.len() {
            let collection = &catalog.collections[index];
            for noun in collection.nouns.clone() {
                catalog.nouns.entry((collection.service.clone(), noun)).or_insert(index);
            }
        }
        Ok(catalog)
    }

    fn add(&mut self, service: &str, name: &str, role: Role) -> Result<usize, StartError> {
        let key = (service.to_owned(), name.to_owned());
        if let Some(index) = self.index.get(&key) {
            let known = &mut self.operations[*index];
            match (&mut known.role, role) {
                (Role::About { collections, .. }, Role::About { collections: more, .. }) => {
                    collections.extend(more);
                }
                (known @ Role::About { .. }, role @ Role::List { .. }) => *known = role,
                _ => {}
            }
            return Ok(*index);
        }
        let operation = AwsService::load(service).and_then(|service| service.operation(name))?;
        let index = self.operations.len();
        let model = operation.service().model();
        let signing = model.signing_name.clone();
        match model.protocol {
            Protocol::Ec2 | Protocol::Query => {
                self.actions.insert((signing, model.api_version.clone(), name.to_owned()), index);
            }
            Protocol::Json => {
                let target = format!("{}.{name}", model.target_prefix.as_deref().unwrap_or_default());
                self.targets.insert((signing, target), index);
            }
            Protocol::RestJson | Protocol::RestXml => {
                let route = Route::of(operation.model());
                self.routes.entry(signing).or_default().push((route, index));
            }
            Protocol::RpcV2Cbor => {
                return Err(StartError::Protocol { operation: operation.to_string() });
            }
        }
        self.index.insert(key, index);
        self.operations.push(Known { name: format!("{service}:{name}"), operation, role });
        Ok(index)
    }

    /// Adds what a kind lists; gives the collections of its list steps by the steps' ids.
    fn lists<'k>(&mut self, kind: &'k KindManifest) -> Result<BTreeMap<&'k str, usize>, StartError> {
        let mut listed = BTreeMap::new();
        let mut parent = None;
        for step in kind.plan().list_steps() {
            let Some(items) = step.items.clone() else { continue };
            let own = matches!(
                self.index
                    .get(&(step.service.clone(), step.operation.clone()))
                    .map(|index| &self.operations[*index].role),
                Some(Role::Own)
            );
            let collection = self.collection(kind, step, &items, parent)?;
            if !own {
                self.add(&step.service, &step.operation, Role::List { collection, items })?;
            }
            listed.insert(step.id.as_str(), collection);
            parent = Some(collection);
        }
        if let Some(resources) = parent {
            let found = &mut self.collections[resources];
            found.kinds.push(kind.kind.to_string());
            if found.arn.is_none() {
                found.arn = arn_of(kind);
            }
            if found.url.is_none() {
                found.url = gone_text(kind, |text| text.starts_with("https://"));
            }
        }
        Ok(listed)
    }

    fn collection(
        &mut self,
        kind: &KindManifest,
        step: &Step,
        items: &Path,
        parent: Option<usize>,
    ) -> Result<usize, StartError> {
        let name = format!("{}:{}", step.service, step.operation);
        if let Some(index) = self.collections.iter().position(|known| known.name == name) {
            return Ok(index);
        }
        let service = AwsService::load(&step.service)?;
        let list = list_of(items);
        let last = list.rsplit('.').next().unwrap_or_default();
        let mut nouns = vec![noun::of_operation(&step.operation)];
        nouns.extend(noun::of_list(last).filter(|noun| noun != &nouns[0]));
        let main = nouns[0].clone();
        let others = ALSO.iter().filter(|(service, noun, _)| *service == step.service && main == *noun);
        nouns.extend(others.map(|(.., other)| (*other).to_owned()));
        // What its own steps call a plain text tells what it is: `{"deploymentId": "{item}"}`.
        let named =
            kind.plan().steps.iter().filter(|child| child.parent() == Some(&step.id)).find_map(|child| {
                let input = Value::from(child.input.clone());
                let (name, _) = input.as_object()?.iter().find(|(_, value)| is_item(value))?;
                noun::form(name).or_else(|| noun::form(&noun::singular(name)))
            });
        let texts = noun::form(&noun::singular(last)).or(named);
        let texts = texts.map(|(form, noun)| (form, if noun.is_empty() { nouns[0].clone() } else { noun }));
        self.collections.push(Collection {
            salt: hash::text(&name),
            name,
            service: step.service.clone(),
            signing_name: service.signing_name().to_owned(),
            parent,
            kinds: Vec::new(),
            scope: kind.scope,
            texts: texts.or_else(|| Some((Form::Name, nouns[0].clone()))),
            nouns,
            arn: None,
            url: None,
        });
        Ok(self.collections.len() - 1)
    }

    /// Adds the operations that tell more about what a kind lists, and those that read one resource.
    fn enrichments(&mut self, kind: &KindManifest, listed: &BTreeMap<&str, usize>) -> Result<(), StartError> {
        for step in &kind.plan().steps {
            if listed.contains_key(step.id.as_str()) {
                continue;
            }
            let Some(&collection) = step.parent().and_then(|parent| listed.get(parent)) else { continue };
            let many = step.batch.is_some() || has_list_placeholder(&step.input.clone().into());
            let each = match (&step.items, &step.result) {
                (Some(items), _) if many => Some(items.clone()),
                // One of a list that was asked for alone.
                (None, Some(result)) if result.as_str().ends_with("[0]") => {
                    Path::parse(&result.as_str().replace("[0]", "[]")).ok()
                }
                _ => None,
            };
            let resource = step.result.clone().filter(|_| step.items.is_none() && each.is_none());
            let key = step.matching.as_ref().map(|matching| matching.result.clone());
            let shape = About { each, key, resource };
            self.add(&step.service, &step.operation, Role::About { collections: vec![collection], shape })?;
        }
        let Ok(for_single_resource) = kind.for_single_resource() else { return Ok(()) };
        for step in for_single_resource.plan().list_steps() {
            let Some(&collection) = listed.get(step.id.as_str()) else { continue };
            let each = step.items.clone().filter(Path::is_list);
            let shape = About { each, key: None, resource: None };
            self.add(&step.service, &step.operation, Role::About { collections: vec![collection], shape })?;
        }
        Ok(())
    }

    /// The collection from which all above a collection descend.
    pub(crate) fn root(&self, collection: usize) -> usize {
        let parent = self.collections[collection].parent;
        parent.map_or(collection, |parent| self.root(parent))
    }

    /// What a noun means in a service.
    pub(crate) fn meant(&self, service: &str, noun: &str) -> Option<usize> {
        self.nouns.get(&(service.to_owned(), noun.to_owned())).copied()
    }

    /// What a noun means in every service.
    pub(crate) fn meant_everywhere(&self, noun: &str) -> Option<usize> {
        let (service, _, own) = EVERYWHERE.iter().find(|(_, known, _)| *known == noun)?;
        self.meant(service, own)
    }
}

/// Words that mean the same in all services: the service whose resources they are, the word, and what the
/// service calls them.
const EVERYWHERE: [(&str, &str, &str); 18] = [
    ("ec2", "vpc", "vpc"),
    ("ec2", "subnet", "subnet"),
    ("ec2", "vpczone", "subnet"),
    ("ec2", "securitygroup", "securitygroup"),
    ("ec2", "vpcsecuritygroup", "securitygroup"),
    ("ec2", "clientsubnet", "subnet"),
    ("ec2", "instance", "instance"),
    ("ec2", "volume", "volume"),
    ("ec2", "image", "image"),
    ("ec2", "networkinterface", "networkinterface"),
    ("iam", "role", "role"),
    ("iam", "servicerole", "role"),
    ("acm", "certificate", "certificate"),
    ("acm", "acmcertificate", "certificate"),
    ("kms", "kmskey", "key"),
    ("kms", "encryptionkey", "key"),
    ("elbv2", "targetgroup", "targetgroup"),
    ("elbv2", "loadbalancer", "loadbalancer"),
];

/// What services call their resources besides.
const ALSO: [(&str, &str, &str); 1] = [("ec2", "securitygroup", "group")];

/// The part of a path before its first `[]`.
pub(crate) fn list_of(items: &Path) -> &str {
    items.as_str().split("[]").next().unwrap_or_default()
}

fn is_item(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "{item}" || text == "{items[]}",
        Value::Array(values) => values.iter().any(is_item),
        _ => false,
    }
}

fn has_list_placeholder(input: &Value) -> bool {
    match input {
        Value::String(text) => text.starts_with("{item") && text.contains("[]"),
        Value::Array(values) => values.iter().any(has_list_placeholder),
        Value::Object(members) => members.values().any(has_list_placeholder),
        _ => false,
    }
}

/// The ARN that a kind's plugin is given for a resource that is gone, and what the resource is in it.
fn arn_of(kind: &KindManifest) -> Option<(String, Form)> {
    let arn = gone_text(kind, |text| text.starts_with("arn:"))?;
    let gone = Value::from(kind.events()?.gone.clone()?);
    let named = gone.get("item").and_then(Value::as_object).into_iter().flatten();
    let form = named
        .filter(|(_, value)| *value == "{resource}")
        .find_map(|(name, _)| Some(noun::form(name)?.0))
        .unwrap_or(Form::Name);
    Some((arn, form))
}

fn gone_text(kind: &KindManifest, fits: impl Fn(&str) -> bool + Copy) -> Option<String> {
    fn find(value: &Value, fits: impl Fn(&str) -> bool + Copy) -> Option<String> {
        match value {
            Value::String(text) if fits(text) && text.contains("{resource}") => Some(text.clone()),
            Value::Array(values) => values.iter().find_map(|value| find(value, fits)),
            Value::Object(members) => members.values().find_map(|value| find(value, fits)),
            _ => None,
        }
    }
    find(&Value::from(kind.events()?.gone.clone()?), fits)
}
