//! Reads the settings without a process around them, for the fuzzer, which is a separate crate.

use clap::Parser;

use crate::{
    args::Args,
    settings::{Environment, Settings},
};

/// Reads the settings of a service from a file, `.env` and variables. Returns the setting, the problem and
/// the remedy of each mistake.
///
/// # Errors
/// Fails if the files cannot be written to `folder`.
pub fn settings(
    folder: &std::path::Path,
    toml: &str,
    dotenv: &str,
    variables: &[(&str, &str)],
) -> std::io::Result<Vec<[String; 3]>> {
    std::fs::write(folder.join("berth.toml"), toml)?;
    std::fs::write(folder.join(".env"), dotenv)?;
    let args = Args::try_parse_from(["berth", "run"]).map_err(std::io::Error::other)?;
    let mut environment = Environment::of(variables);
    folder.clone_into(&mut environment.working_dir);
    let issues = Settings::load_service(&args.global, &environment).err().unwrap_or_default();
    Ok(issues.into_iter().map(|issue| [issue.setting, issue.problem, issue.remedy]).collect())
}
