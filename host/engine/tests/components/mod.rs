//! Locates the components that the task runner built.

use std::path::{Path, PathBuf};

/// Returns a guest that the task runner built.
pub(crate) fn component(name: &str) -> PathBuf {
    built(&format!("guests/{name}.wasm"))
}

/// Returns a component by its path below the folder of all components.
pub(crate) fn built(component: &str) -> PathBuf {
    let components = std::env::var_os("BERTH_TEST_COMPONENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components"), PathBuf::from);
    let file = components.join(component);
    assert!(file.is_file(), "{} is missing: run `cargo xtask components --guests` first", file.display());
    file
}
