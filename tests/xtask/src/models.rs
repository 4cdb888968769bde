//! `cargo xtask models`: regenerates the service models from the pinned `botocore`, and writes or compares them.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    repo::{Repo, run, write_if_changed},
    venv,
};

const MODELS: &str = "host/aws-protocol/models/models.bin";

/// Regenerates the committed table; with `check`, only compares byte for byte.
///
/// `packer` is an already built `pack-models`, where there is one.
pub(crate) fn run_models(repo: &Repo, check: bool, packer: Option<&Path>) -> Result<()> {
    let python = venv::ensure(repo)?;
    let work = repo.path("target/models");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("could not remove {}", work.display()))?;
    }
    let (tables, packed) = (work.join("json"), work.join("models.bin"));
    fs::create_dir_all(&tables).with_context(|| format!("could not create {}", tables.display()))?;
    run(repo.command(python).arg("host/aws-protocol/models/generate.py").arg(&tables))?;
    let mut pack = if let Some(packer) = packer {
        repo.command(packer)
    } else {
        let mut cargo = repo.cargo();
        cargo.args(["run", "--quiet", "--package=berth-aws-protocol", "--example=pack-models", "--"]);
        cargo
    };
    run(pack.arg(&tables).arg(&packed))?;

    let made = fs::read(&packed).with_context(|| format!("could not read {}", packed.display()))?;
    let committed = repo.path(MODELS);
    if check {
        let held = fs::read(&committed).with_context(|| format!("could not read {MODELS}"))?;
        if held != made {
            bail!(
                "{MODELS} is not what host/aws-protocol/models/generate.py makes of the pinned botocore \
                 ({} bytes against {}): run `cargo xtask models` and commit the result",
                held.len(),
                made.len()
            );
        }
        println!("models: {MODELS} regenerates byte for byte ({} bytes)", made.len());
    } else {
        let note = if write_if_changed(&committed, &made)? { "written" } else { "unchanged" };
        println!("models: {MODELS} {} bytes, {note}", made.len());
    }
    Ok(())
}
