//! Exits when the host asks for its manifest.

struct Plugin;

impl support::Guest for Plugin {
    fn manifest() -> Vec<u8> {
        eprintln!("not today");
        std::process::exit(1)
    }

    fn map_batch(_: support::Context, _: Vec<u8>) -> Result<Vec<u8>, String> {
        Err("nothing was to be mapped".to_owned())
    }
}

support::bindings::export_plugin!(Plugin);
