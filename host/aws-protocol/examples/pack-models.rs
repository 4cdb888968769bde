//! Packs the JSON output of `models/generate.py` into the archive that the crate embeds: `cargo run -p
//! berth-aws-protocol --example pack-models -- <json dir> <out file>`.

use std::{collections::BTreeMap, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(to), None) = (args.next(), args.next(), args.next()) else {
        return Err("usage: pack-models <json dir> <out file>".into());
    };
    let mut models = BTreeMap::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a file name is not UTF-8")?;
            models.insert(name.to_owned(), fs::read(&path)?);
        }
    }
    fs::write(to, berth_aws_protocol::pack(&models)?)?;
    Ok(())
}
