//! Built for version 1.0.0 of the contract as published: its bindings come from the copy in `wit/`, which never
//! changes. Every later host must run it.
//!
//! It shows its input, and returns everything that a plugin of 1.0 may return. It builds fast because it has no
//! JSON library: the test writes its batches in a form that this guest reads.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "plugin" });
}

use bindings::{
    berth::plugin::log::{Level, log},
    exports::berth::plugin::mapper::{Context, Guest, Output},
};

struct Plugin;

impl Guest for Plugin {
    fn manifest() -> Vec<u8> {
        include_bytes!("../manifest.json").to_vec()
    }

    fn map_batch(context: Context, resources: Vec<u8>) -> Result<Vec<u8>, String> {
        for (level, name) in
            [(Level::Debug, "debug"), (Level::Info, "info"), (Level::Warn, "warn"), (Level::Error, "error")]
        {
            log(level, &format!("a line that is {name}"));
        }
        let text = String::from_utf8(resources).map_err(|_| "the batch is not UTF-8".to_owned())?;
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for (index, name) in names(&text).into_iter().enumerate() {
            match name {
                "refuse-all" => return Err("the whole batch is refused".to_owned()),
                "refuse" => errors.push(format!(
                    r#"{{"index": {index}, "resource": "{name}", "reason": "one resource is refused"}}"#
                )),
                "nothing" => {}
                "two" => results.extend([1, 2].map(|n| result(&context, &format!("{name}-{n}"), "[]"))),
                // One shows what the host hands over.
                "first" => results.push(result(&context, name, &text)),
                name => results.push(result(&context, name, "[]")),
            }
        }
        let member = match context.output {
            Output::Entities => "entities",
            Output::Documents => "documents",
        };
        // `errors` may be left out.
        let errors = match errors.is_empty() {
            true => String::new(),
            false => format!(r#", "errors": [{}]"#, errors.join(", ")),
        };
        Ok(format!(r#"{{"{member}": [{}]{errors}}}"#, results.join(", ")).into_bytes())
    }
}

/// The names of the resources. Each has one.
fn names(text: &str) -> Vec<&str> {
    text.split("\"Name\"").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect()
}

fn result(context: &Context, name: &str, batch: &str) -> String {
    let Context { kind, account_id, account_name, region, partition, options, .. } = context;
    let region = region.as_deref().unwrap_or("none");
    let told = format!("{kind} {account_id} {account_name} {region} {partition} {}", options.join("+"));
    match (context.output, name) {
        (Output::Documents, _) => format!(
            r#"{{"Type": "{kind}", "Properties": {{"Name": "{name}", "Batch": {batch}}},
                "__ExtraContext": {{"AccountId": "{account_id}", "Region": "{region}", "Context": "{told}"}},
                "__AccountId": "{account_id}", "__Region": "{region}"}}"#
        ),
        // The least that an entity may have.
        (Output::Entities, "bare") => r#"{"identifier": "bare", "blueprint": "contractPart"}"#.to_owned(),
        // Null empties what is in Port.
        (Output::Entities, "nulls") => r#"{"identifier": "nulls", "blueprint": "contractPart", "title": null,
            "icon": null, "team": null, "properties": {"context": null}, "relations": {"account": null}}"#
            .to_owned(),
        (Output::Entities, _) => format!(
            r#"{{"identifier": "{name}", "blueprint": "contractPart", "title": "{name}", "icon": "AWS",
                "team": ["one", "two"], "properties": {{"context": "{told}", "batch": {batch}}},
                "relations": {{"account": "{account_id}", "parts": ["bare", "nulls"], "none": null}}}}"#
        ),
    }
}

bindings::export!(Plugin with_types_in bindings);
