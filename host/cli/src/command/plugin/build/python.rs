//! Python: bundles `mapping.py` with a Python interpreter, using `componentize-py` from `PyPI` in a virtual
//! environment of the plugin.

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth_embed::{Problem, ProblemCode};

use super::{Project, Tool, put, unreadable};

const PYTHON: Tool = Tool { remedy: "install Python 3.10 or later (https://www.python.org)" };
const BASE: &str = if cfg!(windows) { "python" } else { "python3" };

/// Writes the component to `into`.
pub(super) fn build(plugin: &Project, into: &Path) -> Result<(), Problem> {
    let venv = plugin.target("venv");
    install(plugin, &venv)?;
    let componentize = executable(&venv, "componentize-py");
    if !componentize.is_file() {
        return Err(Problem::new(
            ProblemCode::PluginBuild,
            "requirements.txt does not install `componentize-py`",
        )
        .remedy("list it there, as `berth plugin new --lang python` does"));
    }
    let mut componentize = plugin.command(componentize);
    // Where the tool looks for the modules that requirements.txt installs.
    componentize.env("VIRTUAL_ENV", &venv);
    componentize.args(["--quiet", "--wit-path", "sdk/wit", "--world", "plugin", "componentize", "mapping"]);
    componentize.args(["--python-path", ".", "--output"]).arg(into);
    PYTHON.run("componentize-py mapping", &mut componentize)
}

/// Creates the environment and installs what requirements.txt asks for, unless that was done since
/// requirements.txt changed.
pub(super) fn install(plugin: &Project, venv: &Path) -> Result<(), Problem> {
    let file = plugin.dir.join("requirements.txt");
    let wanted = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
    let stamp = venv.join("requirements.txt");
    let python = executable(venv, "python");
    // Runs the interpreter, because a virtual environment breaks when the Python that created it is removed.
    let works = || PYTHON.require(plugin.command(&python).arg("--version"), "python", (3, 10)).is_ok();
    if fs::read_to_string(&stamp).is_ok_and(|held| held == wanted) && works() {
        return Ok(());
    }
    PYTHON.require(plugin.command(BASE).arg("--version"), BASE, (3, 10))?;
    let mut make = plugin.command(BASE);
    make.args(["-m", "venv", "--clear"]).arg(venv);
    PYTHON.run(&format!("{BASE} -m venv"), &mut make).map_err(|problem| Problem {
        remedy: Some(
            "see the output above; on Debian and Ubuntu, Python's module `venv` is in the package \
            `python3-venv`"
                .into(),
        ),
        ..problem
    })?;
    let mut pip = plugin.command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    PYTHON
        .run("pip install --requirement requirements.txt", pip.args(["--requirement", "requirements.txt"]))?;
    put(&stamp, wanted.as_bytes())
}

pub(super) fn executable(venv: &Path, name: &str) -> PathBuf {
    if cfg!(windows) {
        venv.join("Scripts").join(name).with_extension("exe")
    } else {
        venv.join("bin").join(name)
    }
}
