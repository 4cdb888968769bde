//! Plans units from accounts, regions and app-config. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use berth_core::{
    Account, AccountAccess, AccountId, AppConfig, BlueprintId, EntityMapping, FieldSet, Install, Kind,
    KindEntry, KindManifest, KindReads, Mapping, Place, Problem, ProblemCode, RefusedPlugin, Region,
    RegionHints, ResourceConfig, Scope, Unit, UnitId, UnitState, main_region,
};

use crate::deletion::{AttributionRules, MappingFacts};

/// The most options that one selector may enable; Ocean has the same limit.
const MAX_OPTIONS: usize = 3;

/// A resource mapping of the app-config, together with the plugin that maps its kind.
#[derive(Debug, Clone)]
pub struct ResolvedResource {
    /// Its position in `resources[]`.
    pub index: usize,
    /// The resource mapping.
    pub config: Arc<ResourceConfig>,
    /// How it maps, or why it cannot be mapped.
    pub mapping: Result<(Arc<KindManifest>, Mapping), Problem>,
    /// The blueprint of its entities; `None` if only evaluating the mapping shows it.
    pub blueprint: Option<BlueprintId>,
    /// The fields its entities set.
    pub fields: Arc<FieldSet>,
    /// The data that deletion depends on.
    pub entry: Arc<MappingFacts>,
}

impl ResolvedResource {
    /// Returns whether it can be mapped, and is read in regions.
    pub(crate) fn reads_regions(&self) -> bool {
        self.mapping.as_ref().is_ok_and(|(kind, _)| kind.scope != Scope::Account)
    }
}

/// Finds the plugin of each resource mapping of the app-config.
///
/// A resource mapping without a usable plugin keeps its place with the reason: its units fail, and entities
/// that it may own are protected. The second value holds warnings for the operator.
pub fn resolve(
    config: &AppConfig,
    kinds: &BTreeMap<Kind, KindEntry>,
    refused: &[RefusedPlugin],
) -> (Vec<ResolvedResource>, Vec<String>) {
    let mut notes = Vec::new();
    let resources = config
        .resources
        .iter()
        .enumerate()
        .map(|(index, resource)| {
            let generic = || {
                kinds.values().find_map(|entry| {
                    let manifest = entry.manifest.standing_for(&resource.kind)?;
                    Some(KindEntry { plugin: entry.plugin.clone(), manifest: Arc::new(manifest) })
                })
            };
            let entry = kinds.get(&resource.kind).cloned().or_else(generic);
            let entry = entry.as_ref();
            let mapping = match config.broken.get(&index) {
                Some(problem) => Err(problem.clone()),
                None => mapping_of(index, resource, entry, refused),
            };
            if let Some(entry) = entry {
                for option in &resource.selector.include_actions {
                    if !entry.manifest.options().iter().any(|known| known.name == *option) {
                        let known: Vec<_> =
                            entry.manifest.options().iter().map(|o| o.name.as_str()).collect();
                        notes.push(format!(
                            "resources[{index}] ({}): `includeActions` names `{option}`, which is not an \
                            option of the kind and has no effect (its options: {})",
                            resource.kind,
                            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                        ));
                    }
                }
            }
            let entity = &resource.port.entity.mappings;
            ResolvedResource {
                index,
                blueprint: entity.literal_blueprint(),
                fields: Arc::new(fields_of(entity)),
                entry: Arc::new(deletion_entry(resource, entry.map(|entry| &*entry.manifest))),
                config: Arc::new(resource.clone()),
                mapping,
            }
        })
        .collect();
    for (kind, entry) in kinds {
        let mapped = config.resources.iter().any(|resource| resource.kind == *kind);
        if entry.manifest.install() == Install::All && !mapped {
            notes.push(format!(
                "plugin `{}` maps {kind}, but the integration's mapping in Port has no resource mapping for \
                that kind: Berth does not read it",
                entry.plugin
            ));
        }
    }
    (resources, notes)
}

/// Returns what deletion depends on in a resource mapping whose kind has this manifest.
fn deletion_entry(resource: &ResourceConfig, manifest: Option<&KindManifest>) -> MappingFacts {
    let mapping = &resource.port.entity.mappings;
    // With another identifier it is unknown whether two accounts may have the same one.
    let own_identifier = |manifest: &KindManifest| {
        let default = manifest.mapping.as_ref().map(|default| &default.port.entity.mappings.identifier);
        default == Some(&mapping.identifier) && resource.port.items.items_to_parse.is_none()
    };
    MappingFacts {
        kind: resource.kind.clone(),
        scope: manifest.map(|manifest| manifest.scope),
        blueprint: mapping.literal_blueprint(),
        searched: mapping.identifier.is_object(),
        single_account: manifest
            .is_some_and(|manifest| manifest.single_account() && own_identifier(manifest)),
        rules: AttributionRules::of(mapping),
    }
}

fn mapping_of(
    index: usize,
    resource: &ResourceConfig,
    entry: Option<&KindEntry>,
    refused: &[RefusedPlugin],
) -> Result<(Arc<KindManifest>, Mapping), Problem> {
    let Some(entry) = entry else {
        let mut message = format!("no plugin maps {}", resource.kind);
        for plugin in refused {
            // Writing to a String cannot fail.
            _ = write!(message, "; plugin `{}` was refused: {}", plugin.plugin, plugin.problem.message);
        }
        return Err(Problem::new(ProblemCode::PluginMissing, message).remedy(format!(
            "add a plugin for this kind to the plugin directory (`--plugins`), or remove resources[{index}] \
            from the integration's mapping in Port"
        )));
    };
    if resource.selector.include_actions.len() > MAX_OPTIONS {
        return Err(Problem::new(
            ProblemCode::MappingInvalid,
            format!(
                "resources[{index}] ({}): `selector.includeActions` has {} names",
                resource.kind,
                resource.selector.include_actions.len()
            ),
        )
        .remedy(format!("keep at most {MAX_OPTIONS}, in the integration's mapping in Port")));
    }
    let native = entry.manifest.mapping.as_ref().is_some_and(|default| maps_like(default, resource));
    let mapping = if native { Mapping::Native } else { Mapping::Custom(Arc::new(resource.clone())) };
    Ok((Arc::clone(&entry.manifest), mapping))
}

/// The units of a resync.
#[derive(Debug, Default)]
pub struct Planned {
    /// Units to run, in their starting order.
    pub units: Vec<Arc<Unit>>,
    /// Units that ended before they started, with the reason.
    pub settled: Vec<(UnitId, UnitState)>,
    /// Warnings for the operator.
    pub notes: Vec<String>,
}

/// Plans all units.
///
/// Kinds whose resource is the account itself come first, so that the targets of other relations exist early;
/// then the resource mappings of the app-config in order, each over all accounts.
pub fn plan(
    accounts: &[AccountAccess],
    regions: &BTreeMap<AccountId, Result<Vec<Region>, Problem>>,
    resources: &[ResolvedResource],
) -> Planned {
    let mut planned = Planned::default();
    let account_scope = |resource: &&ResolvedResource| {
        resource.mapping.as_ref().is_ok_and(|(kind, _)| kind.scope == Scope::Account)
    };
    let (first, rest): (Vec<_>, Vec<_>) = resources.iter().partition(account_scope);
    for resource in first.into_iter().chain(rest) {
        // A resource of the organization needs one readable account, no matter which.
        let once = resource.mapping.as_ref().is_ok_and(|(kind, _)| kind.scope == Scope::Organization);
        let usable = |account: &&AccountAccess| {
            account.access.is_ok() && matches!(regions.get(&account.account.id), Some(Ok(_)))
        };
        let through = if once { accounts.iter().find(usable).or(accounts.first()) } else { None };
        let accounts = through.map_or(accounts, std::slice::from_ref);
        for AccountAccess { account, access } in accounts {
            let id = |place| UnitId {
                account: account.id.clone(),
                place,
                kind: resource.config.kind.clone(),
                resource: resource.index,
            };
            let fail = |problem: &Problem| (id(None), UnitState::Failed(problem.clone()));
            let (kind, _) = match (&resource.mapping, access) {
                (_, Err(problem)) | (Err(problem), Ok(())) => {
                    planned.settled.push(fail(problem));
                    continue;
                }
                (Ok(mapping), Ok(())) => mapping,
            };
            let unit = |place: Place, regions: Vec<Region>| {
                Arc::new(Unit {
                    id: id(Some(place)),
                    account: Arc::clone(account),
                    regions,
                    kind: Arc::clone(kind),
                    resource: Arc::clone(&resource.config),
                })
            };
            if kind.scope == Scope::Account {
                planned.units.push(unit(Place::Global, Vec::new()));
                continue;
            }
            let allowed = match regions.get(&account.id) {
                Some(Ok(regions)) => allowed_regions(account, regions, resource, kind),
                Some(Err(problem)) => {
                    planned.settled.push(fail(problem));
                    continue;
                }
                None => {
                    let problem = Problem::new(
                        ProblemCode::AwsRegionsUnknown,
                        "the regions of this account were not listed",
                    );
                    planned.settled.push(fail(&problem));
                    continue;
                }
            };
            if allowed.is_empty() {
                planned.notes.push(format!(
                    "{}: no enabled region of account {} is left for {} after `regionPolicy` and the \
                    regions of the service",
                    resource.config.kind, account.id, resource.config.kind
                ));
                continue;
            }
            if matches!(kind.scope, Scope::Global | Scope::Organization) {
                planned.units.push(unit(Place::Global, allowed));
            } else {
                for region in allowed {
                    planned.units.push(unit(Place::Region(region.clone()), vec![region]));
                }
            }
        }
    }
    planned
}

/// Returns the regions of an account to read a kind in: enabled, allowed by the selector, and supported by
/// the service. The partition's main region comes first: global kinds are then read where their service
/// lives.
pub(crate) fn allowed_regions(
    account: &Account,
    enabled: &[Region],
    resource: &ResolvedResource,
    kind: &KindManifest,
) -> Vec<Region> {
    let mut regions: Vec<Region> = enabled
        .iter()
        .filter(|region| resource.allows(region))
        .filter(|region| kind.regions().is_none_or(|served| served.contains(*region)))
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    main_region_first(account, &mut regions);
    regions
}

/// Whether an entry maps exactly as another does: the same fields by the same expressions,
/// every resource selected, nothing split. Regions and options may differ.
pub fn maps_like(entry: &ResourceConfig, other: &ResourceConfig) -> bool {
    entry.kind == other.kind
        && entry.selector.query.trim() == other.selector.query.trim()
        && entry.port == other.port
}

/// The fields that a mapping sets.
fn fields_of(mapping: &EntityMapping) -> FieldSet {
    FieldSet {
        title: mapping.title.is_some(),
        team: mapping.team.is_some(),
        properties: mapping.properties.keys().cloned().collect(),
        relations: mapping.relations.keys().cloned().collect(),
    }
}

/// Returns what the resource mappings say about the regions that they read.
pub(crate) fn region_hints(resources: &[ResolvedResource]) -> RegionHints {
    hints_of(resources.iter().filter(|resource| resource.reads_regions()).map(|resource| &*resource.config))
}

fn hints_of<'c>(entries: impl IntoIterator<Item = &'c ResourceConfig>) -> RegionHints {
    let mut hints = RegionHints { allowed: BTreeSet::new(), complete: true };
    for entry in entries {
        let policy = &entry.selector.region_policy;
        hints.complete &= !policy.allow.is_empty();
        // A name that is none allows nothing.
        let names = policy.allow.iter().filter_map(|name| Region::new(name).ok());
        hints.allowed.extend(names.filter(|region| policy.allows(region)));
    }
    hints
}

/// Moves the partition's main region to the front: global services live there, and it is always enabled.
pub(crate) fn main_region_first(account: &Account, regions: &mut [Region]) {
    let main = main_region(account.partition);
    regions.sort_by_key(|region| region.as_str() != main);
}

impl ResolvedResource {
    /// Returns whether the selector's `regionPolicy` allows a region.
    pub(crate) fn allows(&self, region: &Region) -> bool {
        self.config.selector.region_policy.allows(region)
    }
}

/// Returns the default mapping of a new installation. Kinds whose resource is the account come first, because
/// other blueprints relate to theirs.
pub(crate) fn defaults(kinds: &BTreeMap<Kind, KindEntry>) -> Vec<KindEntry> {
    let mut defaults: Vec<KindEntry> = kinds
        .values()
        .filter(|entry| entry.manifest.install() != Install::None)
        .map(|entry| {
            let mut entry = entry.clone();
            if entry.manifest.install() == Install::Blueprints {
                Arc::make_mut(&mut entry.manifest).mapping = None;
            }
            entry
        })
        .collect();
    defaults.sort_by_key(|entry| entry.manifest.scope != Scope::Account);
    defaults
}

#[cfg(test)]
pub(crate) mod tests {
    use berth_core::Partition;
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn kind(name: &str, scope: &str, extra: &Value) -> KindEntry {
        let steps = match scope {
            "account" => json!([]),
            _ => json!([{"id": "list", "service": "x", "operation": "ListX", "items": "X[]"}]),
        };
        let mut manifest = json!({"kind": name, "scope": scope, "plan": {"steps": steps},
            "options": [{"name": "TagsAction", "description": "tags"}],
            "mapping": resource(name, &json!({"query": "true"}))});
        for (key, value) in extra.as_object().into_iter().flatten() {
            manifest[key] = value.clone();
        }
        KindEntry { plugin: "p".into(), manifest: Arc::new(serde_json::from_value(manifest).unwrap()) }
    }

    pub(crate) fn resource(kind: &str, selector: &Value) -> Value {
        json!({"kind": kind, "selector": selector, "port": {"entity": {"mappings": {
            "identifier": ".Properties.Id", "blueprint": "\"bp\"", "properties": {"a": ".Properties.A"}}}}})
    }

    fn access(id: &str, access: Result<(), Problem>) -> AccountAccess {
        let account = Account::unnamed(AccountId::new(id).unwrap(), Partition::Aws);
        AccountAccess { account: Arc::new(account), access }
    }

    fn planned(resources: &Value, kinds: Vec<KindEntry>) -> (Planned, Vec<String>) {
        let kinds = kinds.into_iter().map(|entry| (entry.manifest.kind.clone(), entry)).collect();
        let config: AppConfig = serde_json::from_value(json!({ "resources": resources })).unwrap();
        let (resolved, notes) = resolve(&config, &kinds, &[]);
        let accounts = [
            access("111111111111", Ok(())),
            access("222222222222", Err(Problem::new(ProblemCode::Other, "Unable to assume role"))),
            access("333333333333", Ok(())),
        ];
        let region = |name| Region::new(name).unwrap();
        let regions = BTreeMap::from([
            (
                accounts[0].account.id.clone(),
                Ok(vec![region("eu-west-1"), region("us-east-1"), region("ap-south-1")]),
            ),
            (accounts[2].account.id.clone(), Err(Problem::new(ProblemCode::Other, "denied"))),
        ]);
        (plan(&accounts, &regions, &resolved), notes)
    }

    fn names(planned: &Planned) -> (Vec<String>, Vec<String>) {
        (
            planned.units.iter().map(|unit| unit.id.to_string()).collect(),
            planned.settled.iter().map(|(id, _)| id.to_string()).collect(),
        )
    }

    #[test]
    fn units_cover_accounts_regions_and_kinds() {
        let (planned, _) = planned(
            &json!([
                resource(
                    "X::Regional",
                    &json!({"query": "true", "regionPolicy": {"allow": [], "deny": ["ap-south-1"]}})
                ),
                resource("X::Global", &json!({"query": "true"})),
                resource("X::Served", &json!({"query": "true"})),
                resource("X::Account", &json!({"query": "true"})),
                resource("X::Missing", &json!({"query": "true"})),
                resource("X::Organization", &json!({"query": "true"})),
            ]),
            vec![
                kind("X::Regional", "regional", &json!({})),
                kind("X::Global", "global", &json!({})),
                kind("X::Served", "regional", &json!({"regions": ["eu-west-1", "eu-west-2"]})),
                kind("X::Account", "account", &json!({})),
                kind("X::Organization", "organization", &json!({})),
            ],
        );
        let (units, settled) = names(&planned);
        assert_eq!(
            units,
            [
                "111111111111 global X::Account",
                "333333333333 global X::Account",
                "111111111111 us-east-1 X::Regional",
                "111111111111 eu-west-1 X::Regional",
                "111111111111 global X::Global",
                "111111111111 eu-west-1 X::Served",
                "111111111111 global X::Organization",
            ]
        );
        assert_eq!(
            planned.units[4].regions.iter().map(Region::as_str).collect::<Vec<_>>(),
            ["us-east-1", "ap-south-1", "eu-west-1"]
        );
        // The account without a role fails in every kind, the one without a region list in all but the kind
        // that needs no region, and the kind without a plugin fails everywhere.
        assert_eq!(settled.len(), 5 + 3 + 2, "{settled:?}");
        assert!(settled.contains(&"222222222222 all regions X::Account".to_owned()));
        assert!(settled.contains(&"111111111111 all regions X::Missing".to_owned()));
        assert!(planned.settled.iter().all(|(_, state)| !state.is_complete()));
    }

    #[test]
    fn a_generic_kind_stands_for_those_without_a_plugin() {
        let (planned, _) = planned(
            &json!([
                resource("X::Other", &json!({"query": "true"})),
                resource("Y::Other", &json!({"query": "true"}))
            ]),
            vec![kind("X::Any", "global", &json!({"fallback": true}))],
        );
        let (units, settled) = names(&planned);
        assert_eq!(units, ["111111111111 global X::Other"]);
        assert_eq!(planned.units[0].kind.kind.as_str(), "X::Other");
        assert!(settled.contains(&"111111111111 all regions Y::Other".to_owned()), "{settled:?}");
    }

    #[test]
    fn a_broken_entry_fails_its_units_and_no_other() {
        let kinds = ["X::Good", "X::Bad"].map(|name| kind(name, "regional", &json!({})));
        let kinds = BTreeMap::from(kinds.map(|entry| (entry.manifest.kind.clone(), entry)));
        let mut bad = resource("X::Bad", &json!({"query": "true"}));
        bad["port"]["entity"]["mappings"]["properties"]["a"] = json!({});
        let good = resource("X::Good", &json!({"query": "true"}));
        let config = AppConfig::read(&json!({"resources": [bad, good]})).unwrap();
        let (resolved, _) = resolve(&config, &kinds, &[]);
        let problem = resolved[0].mapping.as_ref().unwrap_err();
        assert!(problem.message.contains("`resources[0].port.entity.mappings.properties.a`"), "{problem}");
        assert_eq!(
            resolved[0].blueprint.as_ref().unwrap().as_str(),
            "bp",
            "the protected blueprint is known"
        );
        assert!(resolved[1].mapping.is_ok() && resolved[1].index == 1);
    }

    #[test]
    fn a_mapping_is_native_only_when_it_is_the_default() {
        let entry = kind("X::Regional", "regional", &json!({}));
        let kinds = BTreeMap::from([(entry.manifest.kind.clone(), entry)]);
        let mut custom = resource("X::Regional", &json!({"query": "true"}));
        custom["port"]["entity"]["mappings"]["properties"]["a"] = json!(".Properties.B");
        let config: AppConfig = serde_json::from_value(json!({"resources": [
            resource("X::Regional", &json!({"query": "true", "includeActions": ["TagsAction", "Nope"]})),
            custom,
            resource("X::Regional", &json!({"query": ".Properties.Id != null"})),
            resource("X::Regional", &json!({"query": "true", "includeActions": ["a", "b", "c", "d"]})),
        ]}))
        .unwrap();
        let (resolved, notes) = resolve(&config, &kinds, &[]);
        let native: Vec<_> = resolved
            .iter()
            .map(|r| r.mapping.as_ref().map(|(_, m)| matches!(m, Mapping::Native)).ok())
            .collect();
        assert_eq!(native, [Some(true), Some(false), Some(false), None]);
        assert!(notes.iter().any(|note| note.contains("`Nope`") && note.contains("TagsAction")), "{notes:?}");
        assert_eq!(resolved[0].blueprint.as_ref().unwrap().as_str(), "bp");
    }

    fn allowing(policy: &Value) -> ResourceConfig {
        serde_json::from_value(json!({"kind": "AWS::A::B",
            "selector": {"query": "true", "regionPolicy": policy},
            "port": {"entity": {"mappings": {"identifier": ".Id", "blueprint": "\"b\""}}}}))
        .unwrap()
    }

    #[test]
    fn hints_are_complete_if_every_entry_names_its_regions() {
        let eu = allowing(&json!({"allow": ["eu-central-1", "eu-west-1", "nowhere"], "deny": ["eu-west-1"]}));
        let us = allowing(&json!({"allow": ["us-east-1"], "deny": []}));
        let all = allowing(&json!({"allow": [], "deny": ["us-west-2"]}));
        let reported = |entries: &[&ResourceConfig]| {
            let hints = hints_of(entries.iter().copied());
            let names: Vec<String> = hints.allowed.iter().map(ToString::to_string).collect();
            (names.join(" "), hints.complete)
        };
        assert_eq!(reported(&[&eu, &us]), ("eu-central-1 us-east-1".into(), true));
        assert_eq!(reported(&[&eu, &all]), ("eu-central-1".into(), false));
    }
}
