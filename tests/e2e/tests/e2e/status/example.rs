//! A page that shows a resync of an organization, as large as a test needs it.

use std::{fs, path::PathBuf};

use berth_e2e::World;
use serde_json::{Value, json};

/// Texts of others that must not become markup.
pub(super) const HOSTILE: &str =
    "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>";

/// A page as large as asked for, as a report shows it.
pub(super) fn example(world: &World, accounts: usize, regions: &[&str], hostile: bool) -> PathBuf {
    world.tool(&["sync", "--report", "example.html"]);
    let file = world.folder().join("example.html");
    let page = fs::read_to_string(&file).expect("a page");
    let (head, rest) = page.split_once(r#"id="data">"#).expect("data");
    let (_, tail) = rest.split_once("</script>").expect("data");
    let data = data(accounts, regions, hostile).to_string().replace('<', "\\u003c");
    fs::write(&file, format!("{head}id=\"data\">{data}</script>{tail}")).expect("a file");
    file
}

const STAGES: [&str; 5] = ["production", "staging", "development", "sandbox", "security"];
const TEAMS: [&str; 8] = ["payments", "search", "identity", "data", "checkout", "media", "platform", "edge"];
pub(super) const REGIONS: [&str; 10] = [
    "global",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-2",
];

/// What a resync of an organization may look like a little before its end.
fn data(accounts: usize, regions: &[&str], hostile: bool) -> Value {
    let kinds: Vec<String> = [
        "EC2::Instance",
        "EC2::Volume",
        "S3::Bucket",
        "RDS::DBInstance",
        "Lambda::Function",
        "ECS::Cluster",
        "ECS::Service",
        "SQS::Queue",
        "SNS::Topic",
        "DynamoDB::Table",
        "EKS::Cluster",
        "KMS::Key",
    ]
    .iter()
    .map(|kind| format!("AWS::{kind}"))
    .collect();
    let denied = "eu-north-1";
    let mut cells = Vec::new();
    for account in 0..accounts {
        for (place, region) in regions.iter().enumerate() {
            let waits = account + 4 > accounts && accounts > 8;
            let state = |kind: usize| {
                if (*region == "global") != (kind == 2) {
                    '-'
                } else if account == 5 {
                    'f'
                } else if *region == denied && account % 4 == 1 {
                    's'
                } else if account == 2 && kind == 4 && place % 3 == 1 {
                    'f'
                } else if waits && account + 1 == accounts {
                    'q'
                } else if waits && (account * 7 + place * 3 + kind).is_multiple_of(4) {
                    'r'
                } else if waits && (account + place + kind).is_multiple_of(3) {
                    'q'
                } else {
                    'c'
                }
            };
            let states: String = (0..kinds.len()).map(state).collect();
            let trouble = |state: char| match state {
                's' => Some(0),
                'f' if account == 5 => Some(1),
                'f' => Some(2),
                _ => None,
            };
            let troubles: serde_json::Map<String, Value> = states
                .chars()
                .enumerate()
                .filter_map(|(kind, state)| Some((kind.to_string(), trouble(state)?.into())))
                .collect();
            let done = |kind: usize| u64::from(states.as_bytes()[kind] == b'c');
            let fetched: Vec<u64> = (0..kinds.len())
                .map(|kind| done(kind) * ((account * 31 + place * 17 + kind * 7) % 90) as u64)
                .collect();
            let millis: Vec<u64> = (0..kinds.len())
                .map(|kind| (180 + (account * 131 + place * 57 + kind * 97) % 2400) as u64)
                .collect();
            cells.push(json!({"account": account, "place": place, "states": states, "fetched": fetched,
                "millis": millis, "troubles": troubles}));
        }
    }
    let name = |account: usize| {
        let (team, stage) = (TEAMS[account % TEAMS.len()], STAGES[account / TEAMS.len() % STAGES.len()]);
        if hostile { HOSTILE.to_owned() } else { format!("{team}-{stage}") }
    };
    let text = |text: &str| if hostile { format!("{text} {HOSTILE}") } else { text.to_owned() };
    let listed: Vec<Value> = (0..accounts)
        .map(|account| json!([(210_000_000_000_u64 + account as u64 * 7_301_337).to_string(), name(account)]))
        .collect();
    let trouble = |about: &str, message: &str, remedy: &str, concerns: &[&str], count: u64| json!({"about": about, "message": text(message), "remedy": text(remedy), "concerns": concerns, "count": count});
    let troubles = [
        trouble(
            "skipped",
            "eu-north-1 denies access: ec2:DescribeInstances was explicitly denied by a service control policy",
            "leave the region out with the selector's `regionPolicy`, or allow it in the policy",
            &["210007301337 eu-north-1 AWS::EC2::Instance", "210007301337 eu-north-1 AWS::EC2::Volume"],
            66,
        ),
        trouble(
            "account",
            "the role PortOceanReadRole in account 210036506685 cannot be assumed: AccessDenied",
            "check that the role exists, that its trust policy names the base identity, and that the external ID is the one that is set",
            &["account 210036506685"],
            1,
        ),
        trouble(
            "failed",
            "throttled for good: lambda:ListFunctions answered TooManyRequestsException 8 times",
            "lower `concurrency`, or ask AWS for a higher rate",
            &[
                "210014602674 ap-southeast-2 AWS::Lambda::Function",
                "210014602674 eu-north-1 AWS::Lambda::Function",
            ],
            3,
        ),
        trouble(
            "plugin",
            "it imports wasi:sockets/tcp, and plugins have no capability",
            "build it without network access, or remove it from the plugin directory",
            &["plugin cost-explorer.wasm"],
            1,
        ),
    ];
    let numbered: Vec<Value> =
        troubles.iter().enumerate().map(|(at, trouble)| json!([at, trouble])).collect();
    let mut traffic = vec![json!([0, 0, 0, 0, 0])];
    let mut sums = [0_u64; 4];
    for second in 1..=84_u64 {
        let wave = 40 + second.min(30) * 6 + (second * 37 % 23) * 4
            - if second > 60 { (second - 60) * 3 } else { 0 };
        for (sum, share) in sums.iter_mut().zip([10, 3, 4, 1]) {
            *sum += wave * share / 6;
        }
        traffic.push(json!([second, sums[0], sums[1], sums[2], sums[3]]));
    }
    let plugins: Vec<Value> = [
        ("ec2-instance", 420, 6.31, 1_310_720),
        ("lambda-function", 375, 3.62, 2_621_440),
        ("s3-bucket", 330, 2.62, 2_097_152),
        ("rds-db-instance", 285, 2.08, 1_572_864),
        ("dynamodb-table", 240, 1.74, 2_883_584),
        ("ecs-service", 195, 1.50, 2_359_296),
        ("sqs-queue", 150, 1.33, 1_835_008),
        ("jq", 105, 1.19, 0),
    ]
    .iter()
    .map(|(plugin, batches, seconds, memory)| {
        json!({"plugin": plugin, "batches": batches, "seconds": seconds, "peak_memory": memory})
    })
    .collect();
    // Local time of whoever looks: 9:41 in UTC.
    let began = 1_790_156_460_000_u64;
    let past = |number: u64,
                outcome: &str,
                seconds: f64,
                complete: u64,
                failed: u64,
                written: u64,
                deleted: u64| {
        json!({"number": number, "phase": "ended", "reason": "schedule", "started": began - (43 - number) * 3_600_000, "seconds": seconds,
            "outcome": outcome, "dry_run": false, "documents": false, "units": complete + failed, "complete": complete, "skipped": 0, "failed": failed,
            "counts": {"fetched": 0, "created": written, "updated": 0, "unchanged": 0, "refused": 0, "deleted": deleted, "documents": 0}})
    };
    let history = [
        past(42, "partial", 139.4, 3564, 33, 212, 9),
        past(41, "done", 128.8, 3597, 0, 1204, 31),
        past(40, "deletions-held-back", 131.2, 3597, 0, 96, 0),
        past(39, "done", 402.7, 3597, 0, 61_377, 0),
    ];
    json!({
        "berth": "0.1.0", "now": began + 84_000,
        "resync": {"number": 43, "phase": "reading", "reason": "requested at Port", "started": began, "seconds": 84.0,
            "outcome": null, "dry_run": false, "documents": false},
        "counts": {"fetched": sums[0], "created": sums[1] / 5, "updated": sums[1] - sums[1] / 5, "unchanged": sums[0] - sums[1],
            "refused": 0, "deleted": 0, "documents": 0},
        "traffic": traffic, "plugins": plugins, "history": history,
        "notes": if hostile { json!([HOSTILE]) } else { json!([]) }, "untold": 0, "troubles": numbered,
        "layout": {"accounts": listed, "places": regions, "kinds": if hostile { vec![HOSTILE.to_owned(); kinds.len()] } else { kinds }, "cells": cells},
    })
}
