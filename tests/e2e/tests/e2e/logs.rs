//! The log, as programs that collect it read it.
#![expect(clippy::panic, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;

use berth_e2e::{Denial, World};
use serde_json::Value;

/// The lines of a JSON log.
fn lines(log: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(read).collect()
}

#[test]
fn a_container_logs_json_with_the_unit_that_each_line_is_about() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let account = world.accounts()[0].clone();
    world.gate().deny(Denial {
        account: account.clone(),
        service: "ec2".to_owned(),
        region: "eu-west-1".to_owned(),
    });
    world.set("BERTH_LOG_FORMAT", "json");
    world.set("APPLICATION__LOG_LEVEL", "DEBUG");
    let run = world.sync();
    run.exits(3);
    let all = lines(&run.stderr);
    for line in &all {
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member} of {line}");
        }
    }
    let about = |line: &&Value| line["message"] == "unit complete" || line["message"] == "unit skipped";
    let reported: BTreeSet<(String, String, bool)> = all
        .iter()
        .filter(about)
        .filter(|line| line["kind"] == "AWS::EC2::Instance")
        .map(|line| {
            assert_eq!(line["account"], account.as_str(), "{line}");
            let region = line["region"].as_str().unwrap_or_default();
            (
                region.to_owned(),
                line["level"].as_str().unwrap_or_default().to_owned(),
                line["fetched"].is_u64(),
            )
        })
        .collect();
    let expected = [("eu-west-1", "WARN", false), ("us-east-1", "DEBUG", true)];
    assert_eq!(
        reported,
        expected.map(|(region, level, counted)| (region.to_owned(), level.to_owned(), counted)).into()
    );

    // A unit that went well is one of many.
    world.unset("APPLICATION__LOG_LEVEL");
    let run = world.sync();
    assert!(!run.stderr.contains("unit complete") && run.stderr.contains("Extract phase complete"), "{run}");

    // A line still knows its unit when only warnings are asked for, here by the settings file.
    world.file("berth.toml", "log_level = \"WARNING\"\n");
    let run = world.sync();
    let all = lines(&run.stderr);
    assert!(all.iter().all(|line| line["level"] == "WARN" || line["level"] == "ERROR"), "{run}");
    let skipped = all.iter().find(|line| line["message"] == "unit skipped");
    assert_eq!(skipped.map(|line| &line["region"]), Some(&Value::from("eu-west-1")), "{run}");
    // The environment is stronger.
    world.set("APPLICATION__LOG_LEVEL", "DEBUG");
    assert!(lines(&world.sync().stderr).iter().any(|line| line["level"] == "DEBUG"));
}

#[test]
fn a_problem_of_many_units_is_logged_once_with_their_number() {
    let mut world = World::with_accounts(2).buckets(1).build();
    for account in world.accounts() {
        for region in ["eu-west-1", "us-east-1"] {
            let (account, region) = (account.clone(), region.to_owned());
            world.gate().deny(Denial { account, service: "ec2".to_owned(), region });
        }
    }
    world.set("BERTH_LOG_FORMAT", "json");
    let run = world.sync();
    run.exits(3);
    let all = lines(&run.stderr);
    let about = |message: &str| -> Vec<&Value> {
        let of_kind = all.iter().filter(|line| line["kind"] == "AWS::EC2::Instance");
        of_kind
            .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)))
            .collect()
    };
    assert_eq!(about("unit skipped").len(), 2, "the first, and the number: {run}");
    let more = about("unit skipped: 3 more like it");
    assert_eq!((more.len(), &more[0]["more"], &more[0]["level"]), (1, &Value::from(3), &Value::from("WARN")));
}

#[test]
fn a_level_that_makes_no_sense_is_reported() {
    let world = World::with_accounts(0).build();
    world.file("berth.toml", "log_level = \"berth=loud\"\n");
    world.sync().exits(2).says("log_level").says("berth=loud");
}
