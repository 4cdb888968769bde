//! Plugins whose files change while an engine runs.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use berth_core::{Kind, MapError, MapperSnapshot, Mapping, Problem, ProblemCode};
use berth_engine::{Asks, Candidate, CodeOrigin, Engine, EngineConfig, PluginPolicy, Trust};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{built, component, config, identifiers, map, page, plugins, request};

/// Another version of the honest guest: it says so, and its titles begin with a `v`.
fn second_version() -> Vec<u8> {
    let mut bytes = fs::read(component("honest")).unwrap();
    replace(&mut bytes, br#""version": "1.0.0""#, br#""version": "2.0.0""#, b"");
    // In the manifest, this text is followed by something else.
    replace(&mut bytes, br#"", "title": ""#, br#"", "title":"v"#, br#"", "blueprint": ""#);
    bytes
}

/// Replaces the one occurrence of a text that is followed closely by another text.
fn replace(bytes: &mut [u8], text: &[u8], by: &[u8], before: &[u8]) {
    assert_eq!(text.len(), by.len());
    let follows = |rest: &[u8]| before.is_empty() || rest.windows(before.len()).any(|part| part == before);
    let at: Vec<usize> = (0..bytes.len() - text.len())
        .filter(|&at| bytes[at..].starts_with(text) && follows(&bytes[at + text.len()..][..before.len() + 4]))
        .collect();
    assert_eq!(at.len(), 1, "the guest was built otherwise");
    bytes[at[0]..][..by.len()].copy_from_slice(by);
}

async fn titles(mapper: &dyn MapperSnapshot) -> Vec<String> {
    let report = mapper.map(request("Guests::Honest", Mapping::Native, page(&["a", "b"]))).await.unwrap();
    report.entities.iter().map(|entity| entity.title.as_ref().unwrap().as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn changed_broken_and_removed_files_are_handled_at_reload() {
    let dir = plugins(&["honest"]);
    let file = dir.path().join("honest.wasm");
    let engine = Engine::new(config(dir.path())).unwrap();
    let first = engine.current();
    assert!(engine.reload().unwrap().is_empty(), "nothing has changed");
    let same = |mapper: &Arc<dyn MapperSnapshot>| {
        std::ptr::addr_eq(Arc::as_ptr(mapper), Arc::as_ptr(&engine.current()))
    };
    assert!(same(&first));

    fs::write(&file, second_version()).unwrap();
    assert_eq!(titles(&*engine.current()).await, ["a", "b"], "not before it is asked for");
    let reloaded = engine.reload().unwrap();
    assert_eq!(reloaded.loaded.len(), 1);
    assert_eq!(reloaded.loaded[0].version.as_deref(), Some("2.0.0"));
    assert!(reloaded.removed.is_empty() && reloaded.refused.is_empty(), "{reloaded:?}");
    assert_eq!(titles(&*engine.current()).await, ["va", "vb"]);
    assert_eq!(titles(&*first).await, ["a", "b"], "what began with a version ends with it");
    assert_eq!(engine.usage()[0].batches, 3, "use is counted on");

    for broken in [&b"not wasm"[..], b"", &second_version()[..1000]] {
        fs::write(&file, broken).unwrap();
        let reloaded = engine.reload().unwrap();
        assert!(reloaded.loaded.is_empty() && reloaded.removed.is_empty(), "{reloaded:?}");
        let [refused] = &engine.refused()[..] else { panic!("one file is refused") };
        assert_eq!(refused.plugin, file.display().to_string());
        let kept = "; `honest 2.0.0`, loaded from it before, stays in use";
        assert!(refused.problem.message.ends_with(kept) && refused.problem.remedy.is_some(), "{refused:?}");
        assert!(engine.reload().unwrap().is_empty(), "it is told once");
        assert_eq!(titles(&*engine.current()).await, ["va", "vb"]);
    }

    fs::copy(component("honest"), &file).unwrap();
    assert_eq!(engine.reload().unwrap().loaded[0].version.as_deref(), Some("1.0.0"));
    assert_eq!(
        (titles(&*engine.current()).await, engine.refused().len()),
        (vec!["a".to_owned(), "b".into()], 0)
    );

    fs::remove_file(&file).unwrap();
    fs::copy(component("panic"), dir.path().join("panic.wasm")).unwrap();
    let reloaded = engine.reload().unwrap();
    let names = |components: &[berth_engine::LoadedComponent]| {
        components.iter().map(|component| component.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&reloaded.loaded), names(&reloaded.removed)),
        (vec!["panic".into()], vec!["honest".into()])
    );
    assert_eq!(engine.kinds().keys().map(Kind::as_str).collect::<Vec<_>>(), ["Hostile::Panic"]);
    let error = map(&engine, "Guests::Honest", &["a"]).await.unwrap_err();
    assert!(matches!(error, MapError::NoPlugin(_)), "{error}");
    assert_eq!(titles(&*first).await, ["a", "b"], "also where the file is gone");

    fs::remove_dir_all(dir.path()).unwrap();
    let error = engine.reload().unwrap_err();
    assert!(error.to_string().starts_with("could not read the plugin directory"), "{error}");
    assert_eq!(engine.kinds().len(), 1, "a directory that cannot be read takes nothing away");
}

#[tokio::test]
async fn a_new_version_with_another_plugins_kind_is_rejected_and_the_old_one_stays() {
    let dir = plugins(&["honest", "panic"]);
    let engine = Engine::new(config(dir.path())).unwrap();
    fs::copy(component("honest"), dir.path().join("panic.wasm")).unwrap();
    let refused = engine.reload().unwrap().refused;
    assert!(refused[0].problem.message.starts_with("maps Guests::Honest, as "), "{refused:?}");
    assert!(refused[0].problem.message.ends_with("`panic 1.0.0`, loaded from it before, stays in use"));
    assert_eq!(engine.kinds().len(), 2);
}

/// Returns the files with compiled code.
fn compiled(cache: &Path) -> usize {
    fs::read_dir(cache).map_or(0, |files| {
        files
            .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "cwasm"))
            .count()
    })
}

#[tokio::test]
async fn unused_compiled_code_of_previous_versions_is_removed() {
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let cache = cache.path().join("cache");
    let file = dir.path().join("honest.wasm");
    let start =
        || Engine::new(EngineConfig { cache_dir: Some(cache.clone()), ..config(dir.path()) }).unwrap();
    let engine = start();
    assert_eq!(titles(&*engine.current()).await, ["a", "b"]);
    assert_eq!(compiled(&cache), 1);
    let running = engine.current();
    fs::write(&file, second_version()).unwrap();
    engine.reload().unwrap();
    assert_eq!(compiled(&cache), 2, "something still runs with the first version");
    assert_eq!(titles(&*running).await, ["a", "b"]);
    drop(running);
    assert_eq!(compiled(&cache), 1);

    // Another process uses the second version.
    let other = start();
    assert_eq!(other.plugins()[0].code, CodeOrigin::Cached);
    fs::copy(component("honest"), &file).unwrap();
    engine.reload().unwrap();
    assert_eq!(compiled(&cache), 2);
    assert_eq!(titles(&*other.current()).await, ["va", "vb"]);
    drop((engine, other));
    assert_eq!(compiled(&cache), 2, "the end of a process removes nothing");
}

#[tokio::test]
async fn an_unused_plugin_stays_usable_when_its_file_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s3-bucket.wasm");
    fs::copy(built("plugins/s3-bucket.wasm"), &file).unwrap();
    let engine = Engine::new(EngineConfig { cache_dir: None, ..config(dir.path()) }).unwrap();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Deferred, "it is not compiled yet");
    fs::write(&file, "broken").unwrap();
    assert_eq!(engine.reload().unwrap().refused.len(), 1);
    let page = berth_core::RawPage {
        resources: json!([{"item": {"Name": "b"}, "steps": {}, "parents": {}}]).to_string().into_bytes(),
        ..page(&["b"])
    };
    let report = engine.current().map(request("AWS::S3::Bucket", Mapping::Native, page)).await.unwrap();
    assert_eq!(identifiers(&report), ["arn:aws:s3:::b"]);
}

#[tokio::test]
async fn without_reloads_the_file_of_an_unused_plugin_must_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s3-bucket.wasm");
    fs::copy(built("plugins/s3-bucket.wasm"), &file).unwrap();
    let engine =
        || Engine::new(EngineConfig { cache_dir: None, reloads: false, ..config(dir.path()) }).unwrap();
    let bucket = || {
        let resources = json!([{"item": {"Name": "b"}, "steps": {}, "parents": {}}]).to_string().into_bytes();
        request("AWS::S3::Bucket", Mapping::Native, berth_core::RawPage { resources, ..page(&["b"]) })
    };
    let report = engine().current().map(bucket()).await.unwrap();
    assert_eq!(identifiers(&report), ["arn:aws:s3:::b"], "it is read when it is used");

    let engine = engine();
    fs::copy(component("honest"), &file).unwrap();
    let Err(MapError::Plugin { problem, .. }) = engine.current().map(bucket()).await else {
        panic!("another file")
    };
    assert!(problem.message.contains("has changed since it was loaded"), "{problem}");
    assert!(problem.remedy.is_some());
}

#[tokio::test]
async fn the_jq_component_is_reloaded_like_a_plugin() {
    let dir = plugins(&["honest"]);
    let engine = Engine::new(config(dir.path())).unwrap();
    fs::copy(built("plugins/jq.wasm"), dir.path().join("jq.wasm")).unwrap();
    assert_eq!(engine.reload().unwrap().loaded[0].name, "jq");
    fs::write(dir.path().join("jq.wasm"), "broken").unwrap();
    assert!(
        engine.reload().unwrap().refused[0]
            .problem
            .message
            .ends_with("`jq`, loaded from it before, stays in use")
    );
    assert!(engine.jq().as_deref().is_some_and(|file| file.ends_with(Path::new("jq.wasm"))));
    fs::remove_file(dir.path().join("jq.wasm")).unwrap();
    assert_eq!(engine.reload().unwrap().removed[0].name, "jq");
    assert_eq!(engine.jq(), None);
}

/// Admits the given digests, and records the requests.
#[derive(Default)]
struct Admitting {
    digests: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

impl PluginPolicy for Admitting {
    fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Problem> {
        let asked = match candidate.asks {
            Asks::Unread => "unread".to_owned(),
            Asks::Evaluation => "evaluation".to_owned(),
            Asks::Kinds(manifest) => manifest.name.clone(),
        };
        self.asked.lock().unwrap().push(asked);
        if let Some(bytes) = candidate.bytes {
            assert_eq!(format!("{:x}", Sha256::digest(bytes)), candidate.sha256, "of the very bytes");
        }
        let admitted = self.digests.lock().unwrap().iter().any(|digest| digest == candidate.sha256);
        if admitted { Ok(()) } else { Err(Problem::new(ProblemCode::Other, "is not for here")) }
    }
}

#[tokio::test]
async fn a_policy_is_asked_before_any_code_runs_and_at_each_reload() {
    let digest = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
    let dir = plugins(&["honest"]);
    let (file, first) = (dir.path().join("honest.wasm"), fs::read(component("honest")).unwrap());
    let policy = Arc::new(Admitting::default());
    let trust = Trust::by(Arc::clone(&policy) as Arc<dyn PluginPolicy>);
    let engine = Engine::new(EngineConfig { cache_dir: None, trust, ..config(dir.path()) }).unwrap();
    assert_eq!(engine.refused()[0].problem.message, "is not for here");
    assert!(engine.kinds().is_empty());
    assert_eq!(*policy.asked.lock().unwrap(), ["unread"], "its manifest was not asked for");
    assert_eq!(engine.inspect(&file).unwrap().name, "honest", "looking is allowed");

    policy.digests.lock().unwrap().push(digest(&first));
    assert_eq!(engine.reload().unwrap().loaded.len(), 1);
    assert_eq!(*policy.asked.lock().unwrap(), ["unread", "unread", "honest"]);

    // Another version is not admitted; the current one stays.
    fs::write(&file, second_version()).unwrap();
    let refused = engine.reload().unwrap().refused;
    assert!(refused[0].problem.message.starts_with("is not for here; `honest 1.0.0`"), "{refused:?}");
    assert_eq!(titles(&*engine.current()).await, ["a", "b"]);

    // A revoked plugin is removed, whatever its file is.
    policy.digests.lock().unwrap().clear();
    assert_eq!(engine.reload().unwrap().removed.len(), 1, "although there is a file");
    assert!(engine.kinds().is_empty());
    policy.digests.lock().unwrap().push(digest(&second_version()));
    assert_eq!(engine.reload().unwrap().loaded[0].version.as_deref(), Some("2.0.0"));
    policy.digests.lock().unwrap().clear();
    assert_eq!(engine.reload().unwrap().removed.len(), 1, "although its file is the same");
}
