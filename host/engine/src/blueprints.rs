//! The blueprints that a batch's entities may have. The mapping decides, never the output of a plugin:
//! otherwise a plugin that may read queues could write the `service` entities of users.

use std::{collections::BTreeSet, fmt};

use berth_core::{
    BlueprintId, Entity, EntityMapping, ItemError, Kind, KindManifest, KindReads, Manifest, MapReport,
    Mapping,
};
use serde_json::Value;

use crate::sandbox::PluginFailure;

/// The allowed blueprints of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blueprints {
    /// The mapping names it.
    Literal(BlueprintId),
    /// The mapping computes it: allows the blueprints of the plugin's manifest, and those that the
    /// expression names.
    Computed(BTreeSet<BlueprintId>),
}

impl Blueprints {
    /// Returns the blueprints of a mapping, for a kind of a plugin with this manifest. A plugin maps
    /// natively with the kind's default mapping.
    pub(crate) fn of(mapping: &Mapping, kind: &Kind, manifest: &Manifest) -> Self {
        let given = match mapping {
            Mapping::Custom(resource) => Some(&**resource),
            Mapping::Native | Mapping::Documents => {
                manifest.kinds.iter().find(|own| own.kind == *kind).and_then(|own| own.mapping.as_ref())
            }
        };
        let expression = given.map(|given| &given.port.entity.mappings);
        if let Some(literal) = expression.and_then(EntityMapping::literal_blueprint) {
            return Self::Literal(literal);
        }
        let mut all: BTreeSet<BlueprintId> =
            manifest.kinds.iter().flat_map(KindManifest::declared_blueprints).collect();
        all.extend(expression.into_iter().flat_map(|expression| named(&expression.blueprint)));
        Self::Computed(all)
    }

    fn allow(&self, entity: &Entity) -> bool {
        let blueprint = &entity.key.blueprint;
        match self {
            Self::Literal(literal) => literal == blueprint,
            Self::Computed(all) => all.contains(blueprint),
        }
    }

    /// Rejects all entities of a plugin if one has another blueprint: no output is trusted of a plugin that
    /// does not follow its default mapping.
    ///
    /// # Errors
    /// [`PluginFailure::Nonsense`] with the place.
    pub(crate) fn check(&self, entities: &[Entity]) -> Result<(), PluginFailure> {
        match entities.iter().enumerate().find(|(_, entity)| !self.allow(entity)) {
            None => Ok(()),
            Some((index, entity)) => Err(PluginFailure::Nonsense(format!(
                "at `entities[{index}].blueprint`: the mapping allows only {self}, not `{}`",
                entity.key.blueprint
            ))),
        }
    }

    /// Rejects entities of other blueprints that a JQ mapping returned, each as a resource that could not
    /// be mapped.
    pub(crate) fn confine(&self, report: &mut MapReport) {
        let (entities, others) =
            std::mem::take(&mut report.entities).into_iter().partition(|entity| self.allow(entity));
        report.entities = entities;
        report.errors.extend(Vec::into_iter(others).map(|entity: Entity| ItemError {
            index: 0,
            resource: entity.key.identifier,
            reason: format!(
                "its blueprint is `{}`, but the mapping allows only {self}: name the blueprint in the mapping's \
                 expression",
                entity.key.blueprint
            ),
        }));
    }
}

impl fmt::Display for Blueprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => write!(f, "`{literal}`"),
            Self::Computed(all) if all.is_empty() => f.write_str("none"),
            Self::Computed(all) => {
                let names: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// Returns the quoted texts in a JQ expression: `if .prod then "service" else "sandbox" end` contains two.
fn named(expression: &Value) -> Vec<BlueprintId> {
    let text = expression.as_str().unwrap_or_default();
    text.split('"').skip(1).step_by(2).filter_map(|name| BlueprintId::new(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use berth_core::ResourceConfig;
    use serde_json::json;

    use super::*;

    fn mapping(blueprint: &str) -> Mapping {
        let resource: ResourceConfig =
            serde_json::from_value(json!({"kind": "Acme::Widget", "selector": {"query": "true"}, "port": {
            "entity": {"mappings": {"identifier": ".id", "blueprint": blueprint}}}}))
            .unwrap();
        Mapping::Custom(std::sync::Arc::new(resource))
    }

    fn of(mapping: &Mapping) -> Blueprints {
        Blueprints::of(mapping, &Kind::new("Acme::Widget").unwrap(), &manifest())
    }

    fn manifest() -> Manifest {
        let manifest = json!({"name": "widget", "version": "1.0.0", "kinds": [{
            "kind": "Acme::Widget", "scope": "regional",
            "plan": {"steps": [{"id": "x", "service": "ec2", "operation": "DescribeVolumes", "items": "Volumes[]"}]},
            "blueprints": [{"identifier": "widget", "title": "Widget"}],
        }]});
        Manifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn entity(blueprint: &str) -> Entity {
        Entity::new(blueprint.parse().unwrap(), "i")
    }

    #[test]
    fn the_mapping_decides_about_blueprints() {
        for (blueprint, allowed) in [
            (r#""widget""#, vec!["widget"]),
            (r#""mine""#, vec!["mine"]),
            (".type", vec!["widget"]),
            (r#"if .prod then "service" else "sandbox" end"#, vec!["sandbox", "service", "widget"]),
            (r#".tags["blueprint"]"#, vec!["blueprint", "widget"]),
            (r#""wid" + "get""#, vec!["get", "wid", "widget"]),
        ] {
            let blueprints = of(&mapping(blueprint));
            for name in ["widget", "mine", "service", "sandbox", "blueprint", "get", "wid", "person"] {
                assert_eq!(blueprints.allow(&entity(name)), allowed.contains(&name), "{blueprint}: {name}");
            }
        }
        let native = of(&Mapping::Native);
        assert!(native.allow(&entity("widget")) && !native.allow(&entity("person")));
    }

    #[test]
    fn other_blueprints_are_rejected_with_their_name() {
        let entities = vec![entity("widget"), entity("person")];
        let mut report = MapReport { entities, ..MapReport::default() };
        let blueprints = of(&mapping(".type"));
        let refused = blueprints.check(&report.entities).unwrap_err();
        assert!(refused.to_string().contains("entities[1].blueprint"), "{refused}");
        blueprints.confine(&mut report);
        assert_eq!(report.entities.len(), 1);
        assert!(report.errors[0].reason.contains("`person`"), "{:?}", report.errors);
        assert!(report.errors[0].reason.contains("only `widget`"), "{:?}", report.errors);
    }
}
