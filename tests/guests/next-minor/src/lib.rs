//! Built for a minor version of the contract that does not exist yet.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "plugin" });
}

struct Plugin;

impl bindings::exports::berth::plugin::mapper::Guest for Plugin {
    fn manifest() -> Vec<u8> {
        Vec::new()
    }
}

bindings::export!(Plugin with_types_in bindings);
