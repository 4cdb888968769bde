//! Loops when the host asks for its manifest.

use support::{Context, Guest};

struct Plugin;

impl Guest for Plugin {
    fn manifest() -> Vec<u8> {
        loop {
            std::hint::spin_loop();
        }
    }

    fn map_batch(_: Context, _: Vec<u8>) -> Result<Vec<u8>, String> {
        Err(String::new())
    }
}

support::bindings::export_plugin!(Plugin);
