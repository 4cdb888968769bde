//! Settings: `berth.toml`, `.env`, and variables, separated by lines of `===`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Reads the settings in a folder: the texts of `berth.toml` and `.env`, and variables. Gives findings: the
/// setting, what is wrong, and what to do.
pub type ReadSettings = fn(&Path, &str, &str, &[(&str, &str)]) -> io::Result<Vec<[String; 3]>>;

/// What no finding may repeat where it is the value of a secret.
const SECRET: &str = "S3CR3T-S3CR3T";

/// Variables that hold secrets.
const SECRETS: &[&str] = &[
    "OCEAN__PORT__CLIENT_SECRET",
    "OCEAN__EVENT_LISTENER__RESYNC_KEY",
    "OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY",
    "OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_KEYS",
    "OCEAN__INTEGRATION__CONFIG__AWS_SECRET_ACCESS_KEY",
    "OCEAN__INTEGRATION__CONFIG__AWS_SESSION_TOKEN",
];

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("berth-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// The settings of a service.
pub(crate) fn sources(read: ReadSettings, input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts = text.splitn(3, "===\n");
    let (toml, dotenv) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let lines = parts.next().unwrap_or_default().lines();
    let variables: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
    let issues = read(folder(), toml, dotenv, &variables).unwrap();
    for [setting, problem, remedy] in &issues {
        let whole = !setting.is_empty() && !problem.is_empty() && !remedy.is_empty();
        assert!(whole, "a finding has its setting, problem and remedy: {setting}: {problem}; {remedy}");
    }
    let elsewhere = [toml, dotenv].iter().any(|text| text.contains(SECRET))
        || variables.iter().any(|(name, value)| {
            name.contains(SECRET) || (!SECRETS.contains(name) && value.contains(SECRET))
        });
    for [setting, problem, remedy] in &issues {
        let reported = format!("{setting}: {problem}; {remedy}");
        // A mistake in the file's form may be next to a secret.
        let secret = !elsewhere || problem.starts_with("not valid TOML");
        assert!(!secret || !reported.contains(SECRET), "a finding repeats a secret: {reported}");
    }
}
