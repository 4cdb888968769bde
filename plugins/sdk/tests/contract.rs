//! What an author relies on: bad resources stay alone, fields come in any order, documents follow
//! their table.

#![expect(clippy::unwrap_used, reason = "helpers fail as their tests do")]

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Output, Properties, Property, RawResource, Refused, Resource,
    map_batch,
};
use serde::Deserialize;
use serde_json::{Value, json};

berth_plugin::export!([Widgets, Gadgets], manifest = b"{}");

#[derive(Default, Deserialize)]
#[serde(default)]
struct Widget<'a> {
    #[serde(borrow)]
    id: Json<'a>,
    size: u32,
}

struct Widgets;

const PROPERTIES: Properties = Properties::dropping_unknown(&[
    Property::new("Id").required(),
    Property::new("Size").int(),
    Property::new("Open").bool(),
    Property::new("MadeAt").raw("creation").time(),
    Property::new("Parts").times(&["At"]),
]);

impl Mapper for Widgets {
    const KIND: &'static str = "Acme::Widget";
    type Resource<'a> = Resource<Widget<'a>>;

    fn entities(_: &Context, widget: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Widget { id, size } = widget.item;
        out.entity("widget", id).relation("owner", "a").property("size", size).team(["t"]).title(id);
        match size {
            1 => Err("too small".into()),
            2 => {
                out.refuse("half", "only half of it");
                out.refuse("half", "and that half is old");
                out.refuse("other half", "gone");
                Ok(())
            }
            3 => {
                let not_json = std::collections::BTreeMap::from([((1, 2), 3)]);
                out.entity("widget", "other").property("odd", not_json);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn documents(_: &Context, widget: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        out.document(&PROPERTIES).merge(widget.item).context("Extra", 1).origin();
        Ok(())
    }
}

struct Gadgets;

const ANYTHING: Properties = Properties::keeping_unknown(&[Property::new("Size").int()]);

impl Mapper for Gadgets {
    const KIND: &'static str = "Acme::Gadget";
    type Resource<'a> = Resource<Json<'a>>;

    fn entities(_: &Context, _: Self::Resource<'_>, _: &mut Entities) -> Result<(), Refused> {
        Ok(())
    }

    fn documents(_: &Context, gadget: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&ANYTHING);
        document.merge(gadget.item);
        if let Some(more) = gadget.step("more") {
            document.merge(more);
        }
        document.set("Made", "by hand");
        Ok(())
    }
}

fn map<M: Mapper>(output: Output, region: Option<&str>, batch: &str) -> Result<Value, String> {
    let context = Context {
        kind: M::KIND.into(),
        account_id: "111122223333".into(),
        account_name: "Test".into(),
        region: region.map(Into::into),
        partition: "aws".into(),
        options: Vec::new(),
        output,
    };
    map_batch::<M>(&context, batch.as_bytes()).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn a_resource_that_cannot_be_mapped_stays_alone() {
    let batch = json!([
        {"item": {"id": "first", "size": 9}},
        {"item": {"id": "small", "size": 1}},
        {"item": {"id": "text", "size": "9"}},
        {"item": {"id": "whole", "size": 2}},
        {"item": {"id": "odd", "size": 3}},
        {"item": {"size": 9, "someArn": "arn:x"}},
        {"item": {"id": "", "size": 9}},
        {"item": {"id": 5, "size": 9}},
        "no resource",
        {"item": {"id": "last", "size": 9}},
    ]);
    let report = map::<Widgets>(Output::Entities, None, &batch.to_string()).unwrap();
    let identifiers: Vec<_> =
        report["entities"].as_array().unwrap().iter().map(|entity| entity["identifier"].clone()).collect();
    assert_eq!(identifiers, ["first", "whole", "odd", "last"]);
    let errors: Vec<_> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["resource"].as_str().unwrap()))
        .collect();
    assert_eq!(
        errors,
        [(1, "small"), (2, "text"), (3, "half"), (4, "odd"), (5, "arn:x"), (6, "#6"), (7, "#7"), (8, "#8")]
    );
    assert_eq!(report["errors"][2]["reason"], "only half of it; and that half is old; other half: gone");
    assert_eq!(
        report["entities"][0],
        json!({"blueprint": "widget", "identifier": "first", "title": "first", "team": ["t"],
               "properties": {"size": 9}, "relations": {"owner": "a"}})
    );
}

#[test]
fn only_a_batch_that_is_no_list_fails_as_a_whole() {
    for batch in ["", "{}", "[", "[{}] x", "null"] {
        for output in [Output::Entities, Output::Documents] {
            let reason = map::<Widgets>(output, None, batch).unwrap_err();
            assert!(reason.contains("not a JSON array"), "{reason}");
        }
    }
    let context = |output| Context { output, ..context_of("Acme::Widget") };
    assert!(map_batch::<Widgets>(&context(Output::Entities), b"[\"\xff\"]").unwrap_err().contains("UTF-8"));
    assert_eq!(map::<Widgets>(Output::Entities, None, "[]").unwrap(), json!({"entities": [], "errors": []}));
}

fn context_of(kind: &str) -> Context {
    Context {
        kind: kind.into(),
        account_id: "111122223333".into(),
        account_name: "Test".into(),
        region: None,
        partition: "aws".into(),
        options: Vec::new(),
        output: Output::Entities,
    }
}

#[test]
fn documents_follow_their_table() {
    let documents =
        |region, batch: Value| map::<Widgets>(Output::Documents, region, &batch.to_string()).unwrap();
    let report = documents(
        Some("eu-west-1"),
        json!([
            {"item": {"id": "raw", "Id": "named", "size": "12", "open": "true", "unknown": 1,
                      "creation": "2024-01-01T00:00:00+00:00", "parts": [{"At": "2024-01-01T00:00:00.5Z"}]}},
            {"item": {"Id": "odd", "size": "twelve", "open": "yes", "MadeAt": null}},
            {"item": {"id": null}},
            {"item": 5},
        ]),
    );
    assert_eq!(
        report["documents"],
        json!([
            {"Type": "Acme::Widget",
             "Properties": {"Id": "named", "Size": 12, "Open": true, "MadeAt": "2024-01-01T00:00:00Z",
                            "Parts": [{"At": "2024-01-01T00:00:00.500000Z"}]},
             "__ExtraContext": {"Extra": 1, "AccountId": "111122223333", "Region": "eu-west-1"},
             "__AccountId": "111122223333", "__Region": "eu-west-1"},
            {"Type": "Acme::Widget",
             "Properties": {"Id": "odd", "Size": "twelve", "Open": "yes", "MadeAt": null},
             "__ExtraContext": {"Extra": 1, "AccountId": "111122223333", "Region": "eu-west-1"},
             "__AccountId": "111122223333", "__Region": "eu-west-1"},
        ])
    );
    assert_eq!(report["errors"][0]["index"], 2);
    assert_eq!(report["errors"][0]["reason"], "it has no `Id`");
    assert_eq!(report["errors"][1]["index"], 3);
}

#[test]
fn what_is_merged_later_wins_and_unknown_members_can_be_kept() {
    let batch = json!([{"item": {"size": 1, "raw": {"deep": 1}, "Made": "?"}, "steps": {"more": {"Size": 2, "new": null}}}]);
    let report = map::<Gadgets>(Output::Documents, None, &batch.to_string()).unwrap();
    assert_eq!(
        report["documents"],
        json!([{"Type": "Acme::Gadget", "__AccountId": "111122223333",
                "Properties": {"Size": 2, "raw": {"deep": 1}, "new": null, "Made": "by hand"}}])
    );
}
