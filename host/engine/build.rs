//! Generates the host's bindings of the contract, with the contract's text in them.
//!
//! `bindgen!` would read `wit/` by its absolute path and leave that path in its output. All source
//! positions after it would depend on the length of the path. So would the hashes in the names of symbols
//! that link-time optimization moves, and with them the bytes of a release.

use std::{env, error::Error, fs, path::PathBuf};

/// By way of a link, so that a published package has the files. It is not called `wit`: `bindgen!` would read a folder of
/// that name, too.
const WORLDS: [(&str, &str, &str); 2] = [
    ("plugin", "contracts/plugin.wit", "ownership: Borrowing { duplicate_if_necessary: true },"),
    ("jq", "contracts/jq/jq.wit", ""),
];

fn main() -> Result<(), Box<dyn Error>> {
    let to = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    for (world, file, more) in WORLDS {
        println!("cargo::rerun-if-changed={file}");
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let bindings = format!(
            "wasmtime::component::bindgen!({{ inline: r####\"{text}\"####, world: \"{world}\", {more} }});\n"
        );
        fs::write(to.join(format!("{world}.rs")), bindings)?;
    }
    Ok(())
}
