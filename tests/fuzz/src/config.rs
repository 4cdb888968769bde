//! Files and settings that people write: Port's app-config, manifests of plugins, the plugins lockfile, plans.

use std::collections::BTreeSet;

use berth_aws_protocol::validate_plan;
use berth_core::{AppConfig, Ask, Grants, KindReads, Manifest, Path, Template, from_json, mend_json};
use berth_sync::PlanFile;
use serde_json::{Value, json};

/// An app-config: Port's JSON.
pub(crate) fn app_config(input: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Value>(input) else { return };
    let read = match AppConfig::read(&config) {
        Ok(read) => read,
        Err(reason) => {
            let named = reason.starts_with("at `") || reason.starts_with("expected an app-config, ");
            assert!(named, "the reason names the place: {reason}");
            return;
        }
    };
    let entries = config["resources"].as_array().map_or(0, Vec::len);
    assert_eq!(read.resources.len(), entries, "each entry is there, whether or not it can be read");
    assert!((0.0..=1.0).contains(&read.entity_deletion_threshold));
    for (position, problem) in &read.broken {
        assert!(*position < entries);
        let place = format!("`resources[{position}].");
        assert!(problem.message.contains(&place) && problem.remedy.is_some(), "the problem names its place");
    }
    if read.broken.is_empty() {
        let written = serde_json::to_value(&read).unwrap();
        let again = AppConfig::read(&written).unwrap();
        assert_eq!(again, read, "what was written reads as the same");
    }
    for entry in &read.resources {
        assert!(berth_sync::maps_like(entry, entry));
        _ = entry.port.entity.mappings.literal_blueprint();
    }
}

/// A manifest.
pub(crate) fn manifest(input: &[u8]) {
    let manifest = match Manifest::parse(input) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(!error.at.is_empty() && !error.reason.is_empty(), "the error names its place: {error}");
            return;
        }
    };
    let written = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(Manifest::parse(&written).as_ref(), Ok(&manifest), "what was written reads as the same");
    for kind in &manifest.kinds {
        // Promised for what was parsed.
        kind.for_single_resource().unwrap();
        // Validated by AWS's models; each violation is a message.
        for violation in validate_plan(kind) {
            assert!(!violation.is_empty());
        }
    }
    let ask = Ask::of(&manifest, "0");
    assert_eq!(ask.plugin, manifest.name);
}

/// `plugins.lock`.
pub(crate) fn lock(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match toml::from_str::<Grants>(text) {
        Ok(grants) => {
            let written = toml::to_string_pretty(&grants).unwrap();
            assert_eq!(toml::from_str::<Grants>(&written).as_ref(), Ok(&grants), "it reads as the same");
        }
        Err(error) => {
            let reported = error.to_string();
            assert!(
                reported.contains("line ") || reported.contains("missing field"),
                "the error names its place: {reported}"
            );
        }
    }
}

/// A plan of `berth plan --out`.
pub(crate) fn plan(input: &[u8]) {
    let plan = match PlanFile::parse(input) {
        Ok(plan) => plan,
        Err(problem) => {
            let named = problem.message.contains("at `") || problem.remedy.is_some();
            assert!(named, "the problem names its place: {}", problem.message);
            return;
        }
    };
    let written = serde_json::to_vec(&plan).unwrap();
    assert_eq!(PlanFile::parse(&written).ok().as_ref(), Some(&plan), "what was written reads as the same");
    let entities: BTreeSet<_> = plan.changes.iter().map(|change| &change.entity).collect();
    if entities.len() == plan.changes.len() {
        plan.approve(&plan).unwrap();
    }
}

/// JSON with malformed texts, and paths and templates of fetch plans on it: a path in the first line.
pub(crate) fn json(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (line, body) =
        (input.get(..at).unwrap_or_default(), input.get(at + usize::from(at > 0)..).unwrap_or_default());
    let mended = mend_json(body);
    if let Some(mended) = &mended {
        assert!(mended.replaced > 0 && mended.json.len() <= body.len() * 6 + 16);
        assert_eq!(mend_json(&mended.json), None, "what is mended stays as it is");
    }
    let value = match (serde_json::from_slice::<Value>(body), from_json::<Value>(body)) {
        (Ok(as_it_is), Ok((read, replaced))) => {
            assert_eq!((&read, replaced), (&as_it_is, 0), "what is well-formed stays as it is");
            assert_eq!(mended, None);
            read
        }
        (Ok(_), Err(error)) => panic!("well-formed JSON is refused: {error}"),
        (Err(_), Ok((read, replaced))) => {
            assert!(replaced > 0, "what is malformed is counted");
            read
        }
        (Err(_), Err(_)) => return,
    };
    let Ok(line) = std::str::from_utf8(line) else { return };
    if let Ok(path) = Path::parse(line) {
        let all: Vec<Value> = path.all(&value).into_iter().cloned().collect();
        assert_eq!(path.first(&value), all.first(), "the first is the first of all");
        let mut rest = value.clone();
        assert_eq!(path.take_all(&mut rest), all, "what is taken is what was found");
        assert_eq!(Path::parse(path.as_str()).ok(), Some(path));
    }
    if let (Ok(template), Value::Object(scope)) = (Template::parse(&json!(line)), &value) {
        _ = template.roots();
        _ = template.render(scope);
    }
}

/// An answer of Port, taken for one to each request.
pub(crate) fn port_answers(input: &[u8]) {
    for violation in berth_port::fuzzing::violations(input) {
        assert!(violation.starts_with("at `"), "a complaint names its place: {violation}");
    }
}
