//! The reader of batches in the SDK for plugins. It skips unused data sixteen bytes at a time, so it is compared
//! with an ordinary reader.

use berth_plugin::{
    Context, Documents, Entities, Mapper, Output, Properties, RawResource, Refused, map_batch,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

/// Passes everything on.
struct Everything;

const PROPERTIES: Properties = Properties::keeping_unknown(&[]);

impl Mapper for Everything {
    const KIND: &'static str = "Fuzz::Any::Thing";
    type Resource<'a> = RawResource<'a>;

    fn entities(_: &Context, resource: RawResource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let mut entity = out.entity("any", "id");
        entity.title(resource.item);
        for (name, value) in resource.steps.iter() {
            entity.property(name, value);
        }
        for (name, value) in resource.parents.iter() {
            entity.relation(name, value);
        }
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        // Nothing may panic, whatever the text is.
        _ = resource.item.elements();
        _ = resource.item.port_identifier();
        _ = resource.item.typed::<u64>();
        resource.item.fields()?;
        out.document(&PROPERTIES).merge(resource.item).origin();
        Ok(())
    }
}

fn context(output: Output) -> Context {
    Context {
        output,
        kind: Everything::KIND.to_owned(),
        account_id: "111122223333".to_owned(),
        account_name: "prod".to_owned(),
        region: Some("eu-west-1".to_owned()),
        partition: "aws".to_owned(),
        options: Vec::new(),
    }
}

/// Batches of resources.
pub(crate) fn batches(input: &[u8]) {
    let entities = map_batch::<Everything>(&context(Output::Entities), input);
    let documents = map_batch::<Everything>(&context(Output::Documents), input);
    if std::str::from_utf8(input).is_err() {
        assert!(entities.is_err() && documents.is_err(), "what is no UTF-8 is refused");
        return;
    }
    // What the host writes is JSON. Of anything else only so much is asked that nothing goes wrong.
    let Ok(elements) = serde_json::from_slice::<Vec<Value>>(input) else { return };
    let (entities, documents): (Value, Value) = (
        serde_json::from_slice(&entities.unwrap()).unwrap(),
        serde_json::from_slice(&documents.unwrap()).unwrap(),
    );
    // Not of the values: a member that comes twice is a mistake in one place, and the last one counts in
    // another.
    let resources: Vec<&RawValue> = serde_json::from_slice(input).unwrap();
    let (expected, refused): (Vec<_>, Vec<_>) =
        resources.iter().map(|text| serde_json::from_str::<Resource>(text.get())).partition(Result::is_ok);
    let expected: Vec<Value> = expected.into_iter().flatten().map(Resource::into_entity).collect();
    let count = |output: &Value, name: &str| output[name].as_array().map_or(0, Vec::len);
    assert_eq!(entities["entities"], Value::Array(expected));
    assert_eq!(count(&entities, "errors"), refused.len());
    let reported = count(&documents, "documents") + count(&documents, "errors");
    assert_eq!(reported, elements.len(), "each resource is a document or an error");
}

/// A resource as an ordinary reader of JSON has it.
#[derive(Deserialize)]
struct Resource {
    item: Value,
    #[serde(default)]
    steps: Map<String, Value>,
    #[serde(default)]
    parents: Map<String, Value>,
}

impl Resource {
    fn into_entity(self) -> Value {
        let mut entity = json!({"blueprint": "any", "identifier": "id", "title": self.item});
        for (name, members) in [("properties", self.steps), ("relations", self.parents)] {
            if !members.is_empty() {
                entity[name] = Value::Object(members);
            }
        }
        entity
    }
}
