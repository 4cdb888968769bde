//! Writes the host's side of the contract with its text in it.
//!
//! `bindgen!` would read `wit/` itself, by its absolute path, and leave that path in what it makes: all
//! positions in the sources behind it would depend on how long it is, and with them, by way of the
//! hashes that name what link-time optimisation moves, the bytes of a release.

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
