//! What may be deleted. Pure.
//!
//! An entity that Port holds for this integration and that this resync did not produce is *stale*.
//! It may be deleted only when every unit that might own it has completed: a unit that failed or
//! was skipped protects whatever it might own. Which units might own an entity is told by the
//! blueprint, and, where the mapping leaves a trace of it in the entity, by account and region.
//! Without such a trace the entity might belong to any account, and is protected the more. Where a
//! ledger remembers the unit, that is known exactly.

use std::collections::BTreeSet;

use berth_core::{
    AccountId, BlueprintId, Entity, EntityKey, EntityMapping, FieldSet, Kind, Origin, Place, Region, Scope,
    UnitId, UnitState,
};
use serde_json::Value;

use crate::ResolvedResource;

/// What is known of the unit that an entity belongs to: shown by the entity, or remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The account, where the entity tells it.
    pub account: Option<AccountId>,
    /// The region, where the entity tells it.
    pub region: Option<Region>,
    /// The kind, where it is remembered which produced it.
    pub kind: Option<Kind>,
}

impl Evidence {
    /// What is remembered of an entity: better evidence than any that it could show.
    pub fn remembered(origin: &Origin) -> Self {
        Self {
            account: Some(origin.account.clone()),
            region: origin.place.region().cloned(),
            kind: Some(origin.kind.clone()),
        }
    }
}

/// Where a mapping leaves the account and the region in its entities.
///
/// Read from the mapping's expressions: `.__ExtraContext.AccountId` and `.__ExtraContext.Region`
/// (or `.__AccountId`, `.__Region`) as a whole field, and an ARN as the identifier, or as a field
/// that is composed with the region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    account: Vec<Field>,
    region: Vec<Field>,
    arn: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Identifier,
    Property(String),
    Relation(String),
}

impl Hints {
    /// Reads the hints out of a mapping. `scope` is the kind's, where its plugin is known: the
    /// identifier of an account-level kind that maps `.Properties.Id` is the account.
    pub fn of(mapping: &EntityMapping, scope: Option<Scope>) -> Self {
        let mut hints = Self::default();
        if let Some(expression) = mapping.identifier.as_str() {
            if scope == Some(Scope::Account) && expression.trim() == ".Properties.Id" {
                hints.account.push(Field::Identifier);
            }
            hints.add(expression, Field::Identifier);
            // The identifier names the resource itself, so an ARN in it is the resource's own.
            hints.arn.push(Field::Identifier);
        }
        for (name, expression) in &mapping.properties {
            if let Some(expression) = expression.as_str() {
                hints.add(expression, Field::Property(name.clone()));
            }
        }
        for (name, expression) in &mapping.relations {
            if let Some(expression) = expression.as_str() {
                hints.add(expression, Field::Relation(name.clone()));
            }
        }
        hints
    }

    fn add(&mut self, expression: &str, field: Field) {
        let expression = expression.trim();
        match expression {
            ".__ExtraContext.AccountId" | ".__AccountId" => self.account.push(field),
            ".__ExtraContext.Region" | ".__Region" => self.region.push(field),
            _ if expression.starts_with("\"arn:")
                && (expression.contains(".__Region") || expression.contains(".__ExtraContext.Region")) =>
            {
                self.arn.push(field);
            }
            _ => {}
        }
    }

    /// The fields that hold the hints: what has to be fetched to read them.
    pub fn fields(&self) -> FieldSet {
        let mut fields = FieldSet::default();
        for field in self.account.iter().chain(&self.region).chain(&self.arn) {
            match field {
                Field::Identifier => {}
                Field::Property(name) => _ = fields.properties.insert(name.clone()),
                Field::Relation(name) => _ = fields.relations.insert(name.clone()),
            }
        }
        fields
    }

    /// Reads the evidence out of an entity. Fields that contradict each other are no evidence.
    pub fn read(&self, entity: &Entity) -> Evidence {
        let text = |field: &Field| match field {
            Field::Identifier => Some(entity.key.identifier.as_str()),
            Field::Property(name) => entity.properties.get(name).and_then(Value::as_str),
            Field::Relation(name) => entity.relations.get(name).and_then(Value::as_str),
        };
        let arns: Vec<Vec<&str>> = self
            .arn
            .iter()
            .filter_map(text)
            .filter(|text| text.starts_with("arn:"))
            .map(|text| text.splitn(6, ':').collect())
            .collect();
        let account_in_arn = arns.iter().filter_map(|parts| parts.get(4).copied());
        let region_in_arn = arns.iter().filter_map(|parts| parts.get(3).copied());
        Evidence {
            account: unanimous(
                self.account
                    .iter()
                    .filter_map(text)
                    .chain(account_in_arn)
                    .filter_map(|t| AccountId::new(t).ok()),
            ),
            region: unanimous(
                self.region.iter().filter_map(text).chain(region_in_arn).filter_map(|t| Region::new(t).ok()),
            ),
            kind: None,
        }
    }
}

fn unanimous<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

/// Whether a stale entity may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every unit that might own it has completed: it is gone in AWS.
    Delete,
    /// This unit might own it and has not completed.
    Protected(UnitId),
}

/// The scopes of a resync that were not read completely.
#[derive(Debug, Default)]
pub struct Scopes {
    incomplete: Vec<Incomplete>,
    /// All kinds of the resync.
    kinds: BTreeSet<Kind>,
}

#[derive(Debug)]
struct Incomplete {
    unit: UnitId,
    /// `None`: might own entities of any blueprint.
    blueprint: Option<BlueprintId>,
    /// Its entities may belong to other accounts than the one it is read through.
    any_account: bool,
}

impl Scopes {
    /// Takes the units that did not complete, with the blueprint each would have filled.
    pub fn new<'u>(
        units: impl IntoIterator<Item = (&'u UnitId, &'u UnitState)>,
        resources: &[ResolvedResource],
    ) -> Self {
        let mut kinds = BTreeSet::new();
        let incomplete = units
            .into_iter()
            .inspect(|(unit, _)| {
                if !kinds.contains(&unit.kind) {
                    kinds.insert(unit.kind.clone());
                }
            })
            .filter(|(_, state)| !state.is_complete())
            .map(|(unit, _)| {
                let resource = resources.get(unit.resource);
                let scope = resource.and_then(|resource| Some(resource.mapping.as_ref().ok()?.0.scope));
                Incomplete {
                    unit: unit.clone(),
                    blueprint: resource.and_then(|resource| resource.blueprint.clone()),
                    // Without its plugin nobody knows what a kind reaches.
                    any_account: scope.is_none_or(|scope| scope == Scope::Organization),
                }
            })
            .collect();
        Self { incomplete, kinds }
    }

    fn candidates<'s>(&'s self, blueprint: &'s BlueprintId) -> impl Iterator<Item = &'s Incomplete> {
        self.incomplete.iter().filter(move |i| i.blueprint.as_ref().is_none_or(|own| own == blueprint))
    }

    /// Judges one stale entity.
    pub fn judge(&self, key: &EntityKey, evidence: &Evidence) -> Verdict {
        // A kind that is mapped no more may have handed its entities on to another.
        let kind = evidence.kind.as_ref().filter(|kind| self.kinds.contains(*kind));
        let might_own = |Incomplete { unit, any_account, .. }: &Incomplete| {
            let account =
                *any_account || evidence.account.as_ref().is_none_or(|account| *account == unit.account);
            let region = match (&unit.place, &evidence.region) {
                // A global unit and one whose regions are unknown reach into every region.
                (None | Some(Place::Global), _) | (_, None) => true,
                (Some(Place::Region(own)), Some(region)) => own == region,
            };
            account && region && kind.is_none_or(|kind| *kind == unit.kind)
        };
        self.candidates(&key.blueprint)
            .find(|incomplete| might_own(incomplete))
            .map_or(Verdict::Delete, |incomplete| Verdict::Protected(incomplete.unit.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use berth_core::{AppConfig, Problem};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::plan::resolve;

    fn mapping(value: Value) -> EntityMapping {
        serde_json::from_value(value).unwrap()
    }

    fn ec2() -> EntityMapping {
        mapping(json!({"identifier": ".Properties.InstanceId", "blueprint": "\"ec2Instance\"",
            "properties": {"arn": "\"arn:aws:ec2:\" + .__Region + \":\" + .__AccountId + \":instance/\" + .Properties.InstanceId",
                           "role": ".Properties.RoleArn"},
            "relations": {"account": ".__ExtraContext.AccountId"}}))
    }

    fn entity(value: Value) -> Entity {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn evidence_is_read_where_the_mapping_leaves_it() {
        let hints = Hints::of(&ec2(), Some(Scope::Regional));
        let full = entity(json!({"blueprint": "ec2Instance", "identifier": "i-1",
            "properties": {"arn": "arn:aws:ec2:eu-west-1:111111111111:instance/i-1",
                           "role": "arn:aws:iam::999999999999:role/x"},
            "relations": {"account": "111111111111"}}));
        let evidence = hints.read(&full);
        assert_eq!(evidence.account.unwrap().as_str(), "111111111111");
        assert_eq!(evidence.region.unwrap().as_str(), "eu-west-1");
        assert_eq!(hints.fields().properties.iter().collect::<Vec<_>>(), ["arn"]);

        let contradicting = entity(json!({"blueprint": "ec2Instance", "identifier": "i-1",
            "properties": {"arn": "arn:aws:ec2:eu-west-1:111111111111:instance/i-1"},
            "relations": {"account": "222222222222"}}));
        assert_eq!(hints.read(&contradicting).account, None);

        // The peer's malformed ARN tells nothing.
        let malformed = entity(json!({"blueprint": "ec2Instance", "identifier": "i-1",
            "properties": {"arn": "arn:aws:ec2:::instance/i-1"}}));
        assert_eq!(hints.read(&malformed), Evidence::default());

        let account = mapping(json!({"identifier": ".Properties.Id", "blueprint": "\"awsAccount\""}));
        let hints = Hints::of(&account, Some(Scope::Account));
        let evidence = hints.read(&entity(json!({"blueprint": "awsAccount", "identifier": "111111111111"})));
        assert_eq!(evidence.account.unwrap().as_str(), "111111111111");

        let cluster = mapping(json!({"identifier": ".Properties.ClusterArn", "blueprint": "\"ecsCluster\""}));
        let evidence = Hints::of(&cluster, Some(Scope::Regional)).read(&entity(
            json!({"blueprint": "ecsCluster", "identifier": "arn:aws:ecs:eu-west-1:111111111111:cluster/x"}),
        ));
        assert_eq!(evidence.region.unwrap().as_str(), "eu-west-1");
    }

    fn config() -> AppConfig {
        let resource = |kind: &str, mapping: &EntityMapping| json!({"kind": kind, "selector": {"query": "true"}, "port": {"entity": {"mappings": mapping}}});
        let computed = mapping(json!({"identifier": ".x", "blueprint": ".Properties.Blueprint"}));
        serde_json::from_value(json!({"resources": [resource("AWS::EC2::Instance", &ec2()), resource("X::Computed", &computed)]}))
            .unwrap()
    }

    fn unit(account: &str, place: Option<&str>, resource: usize) -> UnitId {
        let config = config();
        UnitId {
            account: AccountId::new(account).unwrap(),
            place: place
                .map(|p| if p == "global" { Place::Global } else { Place::Region(Region::new(p).unwrap()) }),
            kind: config.resources[resource].kind.clone(),
            resource,
        }
    }

    fn judge(
        units: &[(UnitId, UnitState)],
        blueprint: &str,
        account: Option<&str>,
        region: Option<&str>,
    ) -> Verdict {
        judge_scoped("regional", units, blueprint, account, region)
    }

    fn judge_scoped(
        scope: &str,
        units: &[(UnitId, UnitState)],
        blueprint: &str,
        account: Option<&str>,
        region: Option<&str>,
    ) -> Verdict {
        let evidence = Evidence {
            account: account.map(|a| AccountId::new(a).unwrap()),
            region: region.map(|r| Region::new(r).unwrap()),
            kind: None,
        };
        judge_by(scope, units, blueprint, &evidence)
    }

    fn judge_by(scope: &str, units: &[(UnitId, UnitState)], blueprint: &str, evidence: &Evidence) -> Verdict {
        let kinds = ["AWS::EC2::Instance", "X::Computed"].map(|name| {
            let entry = crate::plan::tests::kind(name, scope, &json!({}));
            (entry.manifest.kind.clone(), entry)
        });
        let (resources, _) = resolve(&config(), &BTreeMap::from(kinds), &[]);
        let scopes = Scopes::new(units.iter().map(|(id, state)| (id, state)), &resources);
        let key = EntityKey { blueprint: BlueprintId::new(blueprint).unwrap(), identifier: "i".into() };
        scopes.judge(&key, evidence)
    }

    const A: &str = "111111111111";
    const B: &str = "222222222222";

    #[test]
    fn only_the_failed_scope_is_protected() {
        let failed = || UnitState::Failed(Problem::new("x"));
        let regional =
            [(unit(A, Some("eu-west-1"), 0), failed()), (unit(B, Some("eu-west-1"), 0), UnitState::Complete)];
        assert!(matches!(judge(&regional, "ec2Instance", Some(A), Some("eu-west-1")), Verdict::Protected(_)));
        assert_eq!(judge(&regional, "ec2Instance", Some(A), Some("us-east-1")), Verdict::Delete);
        assert_eq!(judge(&regional, "ec2Instance", Some(B), Some("eu-west-1")), Verdict::Delete);
        assert_eq!(judge(&regional, "s3Bucket", Some(A), Some("eu-west-1")), Verdict::Delete);
        // Without evidence, protected.
        assert!(matches!(judge(&regional, "ec2Instance", None, Some("eu-west-1")), Verdict::Protected(_)));
        assert!(matches!(judge(&regional, "ec2Instance", Some(A), None), Verdict::Protected(_)));
        // A whole account, and a resource whose blueprint is computed.
        let account = [(unit(A, None, 0), UnitState::Skipped(Problem::new("x")))];
        assert!(matches!(judge(&account, "ec2Instance", Some(A), Some("sa-east-1")), Verdict::Protected(_)));
        let computed = [(unit(A, Some("global"), 1), failed())];
        assert!(matches!(judge(&computed, "anything", Some(A), Some("sa-east-1")), Verdict::Protected(_)));
        assert_eq!(judge(&computed, "anything", Some(B), None), Verdict::Delete);
        // What is read once for the organization belongs to any of its accounts.
        let organization = judge_scoped("organization", &account, "ec2Instance", Some(B), None);
        assert!(matches!(organization, Verdict::Protected(_)));
    }

    #[test]
    fn the_remembered_unit_decides_whatever_else_failed() {
        let failed = || UnitState::Failed(Problem::new("x"));
        // Two kinds may fill the blueprint; the one that is computed failed everywhere.
        let others = [(unit(A, None, 1), failed()), (unit(B, None, 1), failed())];
        let whole = (unit(A, Some("eu-west-1"), 0), UnitState::Complete);
        let broken = (unit(A, Some("eu-west-1"), 0), failed());
        let remembered = Evidence::remembered(&Origin::of(&whole.0).unwrap());
        let judge = |unit: Option<&(UnitId, UnitState)>| {
            let units: Vec<_> = others.iter().chain(unit).cloned().collect();
            judge_by("regional", &units, "ec2Instance", &remembered)
        };
        assert_eq!(judge(Some(&whole)), Verdict::Delete);
        assert_eq!(judge(Some(&broken)), Verdict::Protected(broken.0.clone()));
        // The regions of the account could not be told, so neither could this one.
        assert!(matches!(judge(Some(&(unit(A, None, 0), failed()))), Verdict::Protected(_)));
        // A region or an account that is read no more has nothing; nor has the whole account, where
        // its kind is still mapped.
        assert_eq!(judge(Some(&(unit(A, Some("us-east-1"), 0), failed()))), Verdict::Delete);
        assert_eq!(judge(Some(&(unit(B, None, 0), failed()))), Verdict::Delete);
        // A kind that is mapped no more may have left its entities to the other.
        assert!(matches!(judge(None), Verdict::Protected(_)));
    }

    proptest! {
        /// Nothing that an incomplete unit owns is ever deleted, whatever part of it the entity shows.
        #[test]
        fn incomplete_units_protect_what_they_own(
            account in prop::sample::select(vec![A, B]),
            region in prop::sample::select(vec!["eu-west-1", "us-east-1"]),
            shows_account: bool, shows_region: bool, whole_account: bool, skipped: bool,
        ) {
            let state = if skipped { UnitState::Skipped(Problem::new("x")) } else { UnitState::Failed(Problem::new("x")) };
            let units = [(unit(account, (!whole_account).then_some(region), 0), state)];
            let verdict = judge(&units, "ec2Instance", shows_account.then_some(account), shows_region.then_some(region));
            prop_assert!(matches!(verdict, Verdict::Protected(_)));
        }
    }
}
