//! Compiled code on disk: when it is kept, when it is compiled again, and whose is not run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth_core::Kind;
use berth_engine::{CodeOrigin, Engine, EngineConfig};

use super::{components::built, config, honest_still_works, map, plugins};

/// Returns the files of a cache, by extension.
fn cached(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

#[tokio::test]
async fn compiled_code_is_kept_and_damage_is_repaired() {
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let cache_dir = cache.path().join("not/yet/there");
    let start = || {
        let config = EngineConfig { cache_dir: Some(cache_dir.clone()), ..config(dir.path()) };
        Engine::new(config).unwrap()
    };
    let origin = |engine: &Engine| engine.plugins()[0].code;

    let first = start();
    assert_eq!(origin(&first), CodeOrigin::Compiled);
    let second = start();
    assert_eq!(origin(&second), CodeOrigin::Cached);
    honest_still_works(&second).await;
    let kind = Kind::new("Guests::Honest").unwrap();
    assert_eq!(first.kinds()[&kind].manifest, second.kinds()[&kind].manifest);

    let [code] = &cached(&cache_dir, "cwasm")[..] else { panic!("one file of code") };
    let good = fs::read(code).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [&flipped[..], &good[..good.len() / 2], b"", b"nonsense"] {
        fs::write(code, damaged).unwrap();
        honest_still_works(&start()).await;
        assert!(fs::read(code).unwrap() == good, "the code is as it was");
    }
    fs::remove_file(code).unwrap();
    honest_still_works(&start()).await;

    let [record] = &cached(&cache_dir, "json")[..] else { panic!("one record") };
    for damaged in ["", "{}", "[1, 2"] {
        fs::write(record, damaged).unwrap();
        let engine = start();
        assert_eq!(origin(&engine), CodeOrigin::Compiled, "{damaged}");
        honest_still_works(&engine).await;
    }
    assert_eq!(origin(&start()), CodeOrigin::Cached);
}

#[cfg(unix)]
#[test]
fn special_files_do_not_block() {
    let dir = plugins(&["honest"]);
    let pipe = dir.path().join("pipe.wasm");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero.wasm")).unwrap();
    fs::create_dir(dir.path().join("folder.wasm")).unwrap();
    let engine = Engine::new(config(dir.path())).unwrap();
    assert_eq!(engine.plugins().len(), 1);
    assert_eq!(engine.refused().len(), 3);
    for refused in engine.refused() {
        assert_eq!(refused.problem.message, "is not a regular file", "{refused:?}");
    }
}

#[tokio::test]
async fn precompiled_code_runs_on_any_machine_and_is_replaced_if_unusable() {
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let (ahead, kept) = (cache.path().join("ahead"), cache.path().join("kept"));
    let start = || {
        let config = EngineConfig {
            cache_dir: Some(kept.clone()),
            precompiled_dirs: vec![ahead.clone()],
            ..config(dir.path())
        };
        Engine::new(config).unwrap()
    };
    assert_eq!(Engine::precompile(&config(dir.path()), &ahead).unwrap(), 1);
    let engine = start();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Cached);
    honest_still_works(&engine).await;
    assert_eq!(cached(&kept, "cwasm"), [] as [PathBuf; 0], "nothing was compiled");

    let [code] = &cached(&ahead, "cwasm")[..] else { panic!("one file of code") };
    // As a new file: the engine still runs the old one.
    fs::remove_file(code).unwrap();
    fs::write(code, "of another machine").unwrap();
    for _ in 0..2 {
        honest_still_works(&start()).await;
        assert_eq!(cached(&kept, "cwasm").len(), 1, "compiled here once, and kept");
    }

    let wrong = plugins(&["wants-network"]);
    let refused = Engine::precompile(&config(wrong.path()), &ahead).unwrap_err();
    assert!(refused.to_string().contains("wants-network.wasm"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn code_that_others_could_have_written_is_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let start = || {
        let config = EngineConfig { cache_dir: Some(cache.path().to_owned()), ..config(dir.path()) };
        Engine::new(config).unwrap()
    };
    let mode = |mode| fs::set_permissions(cache.path(), fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o770, 0o707, 0o777] {
        mode(open);
        let engine = start();
        assert_eq!(engine.plugins()[0].code, CodeOrigin::Compiled);
        honest_still_works(&engine).await;
        assert_eq!(cached(cache.path(), "cwasm"), [] as [PathBuf; 0], "mode {open:o}");
    }
    mode(0o700);
    start();
    assert_eq!(start().plugins()[0].code, CodeOrigin::Cached);
    mode(0o702);
    assert_eq!(start().plugins()[0].code, CodeOrigin::Compiled, "what is there counts no more");

    // Nor is code of a file or directory that others could have replaced.
    mode(0o700);
    let [code] = &cached(cache.path(), "cwasm")[..] else { panic!("one file of code") };
    let [record] = &cached(cache.path(), "json")[..] else { panic!("one record") };
    for file in [code, record] {
        for open in [0o620, 0o602] {
            fs::set_permissions(file, fs::Permissions::from_mode(open)).unwrap();
            honest_still_works(&start()).await;
            let now = fs::metadata(file).unwrap().permissions().mode() & 0o777;
            assert_eq!(now & 0o022, 0, "{} is written again, not used", file.display());
        }
    }
    let elsewhere = cache.path().join("elsewhere");
    fs::rename(record, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, record).unwrap();
    assert_eq!(start().plugins()[0].code, CodeOrigin::Compiled, "a link to another file");
    let inner = cache.path().join("open/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    for (open, used) in [(0o777, false), (0o1777, true), (0o755, true)] {
        fs::set_permissions(inner.parent().unwrap(), fs::Permissions::from_mode(open)).unwrap();
        let config = EngineConfig { cache_dir: Some(inner.clone()), ..config(dir.path()) };
        Engine::new(config).unwrap();
        assert_eq!(cached(&inner, "cwasm").len(), usize::from(used), "in a directory of mode {open:o}");
    }

    // The same directory, read-only.
    start();
    let config = EngineConfig {
        cache_dir: None,
        precompiled_dirs: vec![cache.path().to_owned()],
        ..config(dir.path())
    };
    let engine = Engine::new(config).unwrap();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Cached);
    honest_still_works(&engine).await;
}

/// The manifest in a section of the file saves compiling unused plugins, and is never trusted without a
/// check.
#[tokio::test]
async fn a_manifest_section_is_read_without_compiling_and_checked_at_first_use() {
    let dir = tempfile::tempdir().unwrap();
    let honest = fs::read(built("plugins/account-info.wasm")).unwrap();
    fs::write(dir.path().join("p.wasm"), &honest).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let fresh = || EngineConfig { cache_dir: Some(cache.path().join("c")), ..config(dir.path()) };
    let engine = Engine::new(fresh()).unwrap();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Deferred);
    assert_eq!(cached(&cache.path().join("c"), "cwasm").len(), 0, "nothing was compiled");
    assert!(map(&engine, "AWS::Account::Info", &["a"]).await.is_ok());
    assert_eq!(Engine::new(fresh()).unwrap().plugins()[0].code, CodeOrigin::Cached);

    // A different version in the section than in the code.
    let at = |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap();
    let mut forged = honest.clone();
    let section = at(&forged, "berth:manifest");
    let version = section + at(&forged[section..], "\"version\": \"0");
    forged[version + 12] = b'9';
    fs::write(dir.path().join("p.wasm"), &forged).unwrap();
    let engine = Engine::new(fresh()).unwrap();
    assert!(engine.plugins()[0].version.starts_with('9'));
    let error = map(&engine, "AWS::Account::Info", &["a"]).await.unwrap_err().to_string();
    assert!(error.contains("returns a manifest that differs"), "{error}");
}
