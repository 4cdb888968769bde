//! Shared by the guests: bindings, manifests, and a correct mapping. It has no JSON library, so that the guests
//! build fast: the tests only send flat resources.

pub mod preview1;

/// The Rust form of the contract, generated.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "support::bindings",
    });
}

pub use bindings::berth::plugin::log::{Level, log};
pub use bindings::exports::berth::plugin::mapper::{Context, Guest, Output};

/// A manifest with one kind of scope `account`: the host feeds it, so that no AWS call is needed.
/// Its blueprint is called like its plugin.
pub fn manifest(name: &str, kind: &str) -> Vec<u8> {
    format!(
        r#"{{"name": "{name}", "version": "1.0.0", "kinds": [{{
            "kind": "{kind}", "scope": "account",
            "blueprints": [{{"identifier": "{name}", "title": "{kind}",
                "schema": {{"properties": {{}}, "required": []}}, "relations": {{}}}}],
            "mapping": {{"kind": "{kind}", "selector": {{"query": "true"}}, "port": {{"entity": {{"mappings": {{
                "identifier": ".Properties.Id", "title": ".Properties.Name",
                "blueprint": "\"{name}\""}}}}}}}}
        }}]}}"#
    )
    .into_bytes()
}

/// Maps as the manifest's default mapping does: one entity for each resource.
pub fn map(name: &str, resources: &[u8], output: Output) -> Vec<u8> {
    let text = String::from_utf8_lossy(resources);
    let results: Vec<String> = values(&text, "Id")
        .into_iter()
        .zip(values(&text, "Name"))
        .map(|(id, title)| match output {
            Output::Entities => {
                format!(r#"{{"identifier": "{id}", "title": "{title}", "blueprint": "{name}"}}"#)
            }
            Output::Documents => {
                format!(r#"{{"Type": "", "Properties": {{"Id": "{id}", "Name": "{title}"}}}}"#)
            }
        })
        .collect();
    let member = match output {
        Output::Entities => "entities",
        Output::Documents => "documents",
    };
    format!(r#"{{"{member}": [{}]}}"#, results.join(",")).into_bytes()
}

/// The string values of a member, wherever it stands.
pub fn values<'t>(text: &'t str, member: &str) -> Vec<&'t str> {
    let member = format!("\"{member}\"");
    text.split(&member).skip(1).filter_map(|rest| rest.split('"').nth(1)).collect()
}

/// Sends the text of a panic to the host, as the SDK does.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string())));
}

/// Makes a guest of a function that maps a batch.
#[macro_export]
macro_rules! guest {
    ($name:literal, $kind:literal, $map:expr) => {
        struct Plugin;

        impl $crate::Guest for Plugin {
            fn manifest() -> Vec<u8> {
                $crate::manifest($name, $kind)
            }

            fn map_batch(context: $crate::Context, resources: Vec<u8>) -> Result<Vec<u8>, String> {
                $crate::report_panics();
                let map: fn($crate::Context, Vec<u8>) -> Result<Vec<u8>, String> = $map;
                map(context, resources)
            }
        }

        $crate::bindings::export_plugin!(Plugin);
    };
}
