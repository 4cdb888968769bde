//! What stops a plugin that does harm, and that it stops nothing else.

use std::time::{Duration, Instant};

use super::{engine, failure, honest_still_works, identifiers, log_lines, map};

#[tokio::test]
async fn each_limit_stops_only_its_attack() {
    let attacks = [
        ("loop-forever", "Hostile::Loop", "ran longer than 1 s, the limit for a batch"),
        ("memory-bomb", "Hostile::Memory", "needed more than 32 MiB of memory"),
        ("output-flood", "Hostile::Output", "returned more than 1 MiB, the limit for this batch"),
        ("panic", "Hostile::Panic", "panicked at panic/src/lib.rs:"),
        ("deep-recursion", "Hostile::Recursion", "crashed ("),
        (
            "bad-json",
            "Hostile::Json",
            "returned invalid output: at `entities[1].identifier`: invalid type: integer `7`",
        ),
        ("bad-utf8", "Hostile::Utf8", "returned invalid output: invalid UTF-8 at byte 13"),
        (
            "foreign-blueprint",
            "Hostile::Blueprint",
            "returned invalid output: at `entities[0].blueprint`: the mapping allows only `foreign-blueprint`, not `service`",
        ),
        ("refuse", "Hostile::Refuse", "refused the batch: not on a Monday"),
    ];
    let mut guests: Vec<&str> = attacks.iter().map(|(plugin, ..)| *plugin).collect();
    guests.push("honest");
    let engine = engine(&guests);
    for (plugin, kind, expected) in attacks {
        let begun = Instant::now();
        let message = failure(&engine, plugin, kind, &["a", "b", "c"]).await;
        assert!(message.starts_with(expected), "{plugin}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{plugin} took {:?}", begun.elapsed());
        honest_still_works(&engine).await;
    }
    let message = failure(&engine, "panic", "Hostile::Panic", &["a"]).await;
    assert!(message.ends_with("no mood for mapping"), "{message}");
}

#[tokio::test]
async fn a_looping_plugin_takes_one_deadline_per_batch() {
    let engine = engine(&["loop-forever"]);
    let begun = Instant::now();
    failure(&engine, "loop-forever", "Hostile::Loop", &["x"; 50]).await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_resource_that_crashes_a_plugin_fails_alone() {
    let engine = engine(&["panic-on-one-item"]);
    let report = map(&engine, "Hostile::OneItem", &["a", "panic", "c", "panic", "e"]).await.unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-2", "id-4"]);
    let errors: Vec<(usize, &str)> =
        report.errors.iter().map(|error| (error.index, error.resource.as_str())).collect();
    assert_eq!(errors, [(1, "id-1"), (3, "id-3")]);
    let reason = &report.errors[0].reason;
    assert!(reason.starts_with("plugin `panic-on-one-item` panicked at "), "{reason}");
    assert!(reason.ends_with("this one again"), "{reason}");
}

#[tokio::test]
async fn the_search_for_a_bad_resource_has_a_deadline() {
    let engine = engine(&["panic-on-one-item"]);
    let begun = Instant::now();
    let names = ["panic", "loop", "loop", "loop", "loop", "loop", "loop", "loop", "loop"];
    let message = failure(&engine, "panic-on-one-item", "Hostile::OneItem", &names).await;
    assert_eq!(message, "ran longer than 1 s, the limit for a batch");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn a_flood_of_log_lines_is_bounded_and_cannot_forge_others() {
    let lines = log_lines();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(async {
        let engine = engine(&["log-flood"]);
        map(&engine, "Hostile::LogFlood", &["a"]).await.unwrap()
    });
    assert_eq!(identifiers(&report), ["id-0"]);

    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    let of_plugin: Vec<&str> = text.lines().filter(|line| line.contains("plugin=log-flood")).collect();
    assert_eq!(of_plugin.len(), 101, "100 lines and one on those that were dropped");
    assert!(of_plugin[0].contains(&"x".repeat(4096)) && !of_plugin[0].contains(&"x".repeat(4097)));
    assert!(of_plugin[1].contains("line 0\\nforged\\u{1b}[2J plugin="), "{}", of_plugin[1]);
    assert!(of_plugin[1].contains("at=Hostile::LogFlood 111122223333 eu-west-1"), "{}", of_plugin[1]);
    assert!(of_plugin[100].contains("dropped 9901 more log lines of the plugin"), "{}", of_plugin[100]);
}
