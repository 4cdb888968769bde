//! The Python environment of the test servers and of the model generator, in `target/venv`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::repo::{Repo, is_missing, run};

/// Creates the environment when it is missing or was made from other requirements. Gives the path
/// of its interpreter.
pub(crate) fn ensure(repo: &Repo) -> Result<PathBuf> {
    let requirements = repo.path("tests/requirements.txt");
    let wanted = digest(&requirements)?;
    let venv = repo.path("target/venv");
    let python = interpreter(&venv);
    let stamp = venv.join("requirements.sha256");
    // The interpreter is asked, since a virtual environment dies with the Python it was made from.
    let alive = fs::read_to_string(&stamp).is_ok_and(|held| held == wanted)
        && Command::new(&python).arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if alive {
        println!("venv: {} is up to date", repo.shown(&venv));
        return Ok(python);
    }

    println!("venv: creating {}", repo.shown(&venv));
    if venv.exists() {
        fs::remove_dir_all(&venv).with_context(|| format!("could not remove {}", venv.display()))?;
    }
    let base = base_python(repo)?;
    let made =
        repo.command(base).args(["-m", "venv"]).arg(&venv).status().context("could not start Python")?;
    if !made.success() {
        bail!(
            "`{base} -m venv` failed ({made}): Python's venv module is missing or broken. On Debian and \
             Ubuntu install the package `python3-venv`"
        );
    }
    install(repo, &python, &requirements, &[])?;
    fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))?;
    Ok(python)
}

/// The environment, with what the deployment examples are checked with besides.
pub(crate) fn ensure_with_tools(repo: &Repo) -> Result<PathBuf> {
    let python = ensure(repo)?;
    let tools = repo.path("tests/deploy/requirements.txt");
    // The packages in this one would bring much along that nobody here uses.
    let files = repo.path("tests/deploy/requirements-files.txt");
    let wanted = digest(&tools)? + &digest(&files)?;
    let stamp = repo.path("target/venv/tools.sha256");
    if fs::read_to_string(&stamp).is_ok_and(|held| held == wanted) {
        return Ok(python);
    }
    println!("venv: adding helm and the linters");
    install(repo, &python, &tools, &[])?;
    install(repo, &python, &files, &["--no-deps"])?;
    fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))?;
    Ok(python)
}

fn digest(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    Ok(format!("{:x}\n", Sha256::digest(bytes)))
}

fn install(repo: &Repo, python: &Path, requirements: &Path, options: &[&str]) -> Result<()> {
    let mut install = repo.command(python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    run(install.args(options).arg("--requirement").arg(requirements))
}

fn interpreter(venv: &Path) -> PathBuf {
    if cfg!(windows) { venv.join("Scripts/python.exe") } else { venv.join("bin/python") }
}

/// The first Python that is recent enough for the pinned packages.
fn base_python(repo: &Repo) -> Result<&'static str> {
    const CHECK: &str = "import sys; raise SystemExit(sys.version_info < (3, 10))";
    let mut too_old = None;
    for name in ["python3", "python"] {
        match repo.command(name).args(["-c", CHECK]).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => return Ok(name),
            Ok(_) => too_old = Some(name),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("could not start {name}")),
        }
    }
    match too_old {
        Some(name) => {
            bail!("`{name}` is older than Python 3.10, which the stand-ins need: install a newer one")
        }
        None => bail!(
            "neither `python3` nor `python` was found: install Python 3.10 or later with its venv module"
        ),
    }
}
