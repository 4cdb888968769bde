//! The status page and the report for people, in a real browser.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{env, fs, path::Path};

use berth_e2e::{Browser, Denial, World};
use serde_json::{Value, json};

use crate::service::{Service, listen, reported, wait_for};

/// What a text must have against its ground, as WCAG 2 asks for (AA).
const CONTRAST: f64 = 4.5;
/// Texts of others that must not become markup.
const HOSTILE: &str =
    "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>";

/// A world in which some things go wrong: one role, one region, one plugin.
fn troubled() -> World {
    let mut world = World::with_accounts(3).buckets(2).instances(1).clusters(1).guest("bad-manifest").build();
    let denied = world.accounts()[0].clone();
    world.gate().deny(Denial { account: denied, service: "ec2".into(), region: "eu-west-1".into() });
    world.break_external_id(&world.accounts()[2]);
    listen(&mut world, &json!({"type": "WEBHOOK", "app_host": "https://berth.example.com"}));
    world
}

/// What the page shows of a resync of the world above.
fn shows_the_troubles(browser: &mut Browser, world: &World) {
    assert_eq!(browser.eval("document.getElementById('badge').textContent"), "✗ Done in part");
    let [denied, whole, broken] = world.accounts() else { panic!("three accounts") };
    let mut cell = |account: &str, place: &str| {
        let wanted = json!(format!("{account}, {place}: "));
        browser.eval(&format!(
            "document.querySelector(`#grid button[aria-label^=${{CSS.escape({wanted})}}]`)?.textContent \
             ?? [...document.querySelectorAll('#grid button')].find((b) => b.ariaLabel.startsWith({wanted}))?.textContent"
        ))
    };
    assert_eq!(cell(denied, "eu-west-1"), "– 1");
    assert_eq!(cell(denied, "us-east-1"), "✓");
    assert_eq!(cell(whole, "eu-west-1"), "✓");
    assert!(cell(broken, "all regions").as_str().is_some_and(|text| text.starts_with('✗')));
    let troubles = browser.eval("document.getElementById('troubles').innerText");
    let troubles = troubles.as_str().expect("a text");
    for told in ["✗ account", "✗ plugin refused", "– skipped", "bad-manifest", "external ID", broken] {
        assert!(troubles.contains(told), "{told}: {troubles}");
    }
    assert!(
        browser.eval("document.querySelectorAll('#troubles .remedy').length").as_u64() >= Some(2),
        "{troubles}"
    );
    let tile = "document.querySelector('#tiles b').textContent";
    assert!(browser.eval(tile).as_str().is_some_and(|read| read.parse::<u32>().is_ok_and(|read| read > 0)));
    assert!(browser.eval("document.querySelectorAll('#plugins tbody tr').length").as_u64() > Some(2));
}

#[test]
fn the_page_follows_resyncs_as_they_run() {
    let world = troubled();
    let service = Service::start(&world);
    let (head, page) = service.ask_for("GET", "/status", "text/html");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert!(service.ask("GET", "/").0.starts_with("HTTP/1.1 307"));
    if let Some(mut browser) = Browser::start() {
        browser.look(1280, 900, false);
        browser.open(&format!("http://{}/", service.address));
        browser.wait("document.getElementById('history').tBodies[0].rows.length === 1");
        shows_the_troubles(&mut browser, &world);
        assert_eq!(browser.eval("document.getElementById('link').textContent"), "● live");

        // The page that is open learns of the next one by itself, and keeps the focus where it was.
        browser.eval("document.querySelector('#grid button').focus()");
        let focused = browser.eval("document.activeElement.ariaLabel.split(':')[0]");
        assert_eq!(service.ask("POST", "/resync").0, "HTTP/1.1 200 OK");
        browser.wait("document.getElementById('history').tBodies[0].rows.length === 2");
        shows_the_troubles(&mut browser, &world);
        assert_eq!(browser.eval("document.activeElement.ariaLabel.split(':')[0]"), focused);

        let all = browser.eval("document.documentElement.outerHTML").to_string();
        for secret in world.secrets().iter().chain(&world.gate().secrets()) {
            assert!(!all.contains(secret), "a secret is shown");
        }
        assert_eq!(browser.complaints(), Vec::<String>::new());
        // Who still looks does not hold the service up.
        let (code, log) = service.terminate();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("still open"), "{log}");
        browser.wait("document.getElementById('link').textContent.includes('lost')");
    } else {
        wait_for("a resync", || reported(&world).len() >= 2);
    }
}

#[test]
fn the_page_can_be_left_out() {
    let mut world = World::with_accounts(1).build();
    listen(&mut world, &json!({"type": "POLLING"}));
    world.set("OCEAN__STATUS_PAGE", "false");
    let service = Service::start(&world);
    for path in ["/", "/status", "/status/events"] {
        assert_eq!(service.ask("GET", path).0, "HTTP/1.1 404 Not Found", "{path}");
    }
}

#[test]
fn a_report_is_one_page_that_needs_no_server() {
    let world = troubled();
    let page = world.folder().join("report of a run.html");
    let json = world.folder().join("second.json");
    let files = ["--report", "report of a run.html", "--report", "second.json"];
    let run = world.berth(&[&["sync"], &files[..]].concat());
    run.exits(3);
    let second: Value = serde_json::from_slice(&fs::read(json).expect("written")).expect("JSON");
    assert_eq!(second, run.report, "every report is written");
    let text = fs::read_to_string(&page).expect("written");
    for secret in world.secrets().iter().chain(&world.gate().secrets()) {
        assert!(!text.contains(secret), "a secret is told");
    }
    let Some(mut browser) = Browser::start() else { return };
    browser.look(1280, 900, true);
    browser.open_file(&page);
    shows_the_troubles(&mut browser, &world);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A page as large as asked for, as a report shows it.
fn example(world: &World, accounts: usize, regions: &[&str], hostile: bool) -> std::path::PathBuf {
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
const REGIONS: [&str; 10] = [
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
            let state = |kind: usize| match () {
                () if (*region == "global") != (kind == 2) => '-',
                () if account == 5 => 'f',
                () if *region == denied && account % 4 == 1 => 's',
                () if account == 2 && kind == 4 && place % 3 == 1 => 'f',
                () if waits && account + 1 == accounts => 'q',
                () if waits && (account * 7 + place * 3 + kind) % 4 == 0 => 'r',
                () if waits && (account + place + kind) % 3 == 0 => 'q',
                () => 'c',
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
    let name = |account: usize| match hostile {
        true => HOSTILE.to_owned(),
        false => format!("{}-{}", TEAMS[account % TEAMS.len()], STAGES[account / TEAMS.len() % STAGES.len()]),
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
        "ec2-instance",
        "lambda-function",
        "s3-bucket",
        "rds-db-instance",
        "dynamodb-table",
        "ecs-service",
        "sqs-queue",
        "jq",
    ]
    .iter()
    .enumerate()
    .map(|(at, plugin)| {
        json!({"plugin": plugin, "batches": 420 - 45 * at, "seconds": 6.31 / (at as f64 + 1.0).powf(0.8),
            "peak_memory": if *plugin == "jq" { 0 } else { 1_310_720 + 262_144 * ((at * 5) % 7) }})
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

/// Every text whose contrast is too low, by the colours that the browser computes.
const LOW: &str = r#"(() => {
    const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    let seen = 0;
    const low = [];
    for (const element of document.body.querySelectorAll("*")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.tagName === "SCRIPT") continue;
        seen++;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < LIMIT) low.push(`${element.outerHTML.slice(0, 120)} ${ratio.toFixed(2)}`);
    }
    return seen < 50 ? ["too little was looked at"] : low;
})()"#;

#[test]
fn everybody_can_use_the_page() {
    let world = World::with_accounts(1).build();
    let Some(mut browser) = Browser::start() else { return };
    browser.open_file(&example(&world, 12, &REGIONS, false));
    for dark in [false, true] {
        browser.look(1280, 900, dark);
        let low = browser.eval(&LOW.replace("LIMIT", &CONTRAST.to_string()));
        assert_eq!(low, json!([]), "dark: {dark}");
    }
    // Nothing is cut off, and nothing but tables in frames of their own scrolls sideways.
    for width in [360, 768, 1280, 1920] {
        browser.look(width, 900, false);
        let overflow = browser.eval("document.documentElement.scrollWidth - innerWidth");
        assert!(overflow.as_i64() <= Some(0), "{width}: {overflow}");
    }
    browser.look(1280, 900, false);

    let nodes = browser.accessibility();
    let roles =
        ["button", "combobox", "searchbox", "link", "grid", "table", "progressbar", "gridcell", "rowheader"];
    for (role, name) in nodes.iter().filter(|(role, _)| roles.contains(&role.as_str())) {
        assert!(!name.is_empty() || role == "gridcell", "a {role} has no name");
    }
    let count = |wanted: &str| nodes.iter().filter(|(role, _)| role == wanted).count();
    assert!(count("columnheader") >= REGIONS.len(), "{nodes:?}");
    assert!(count("rowheader") >= 12 && count("grid") == 1 && count("progressbar") == 1, "{nodes:?}");
    assert_eq!((count("main"), count("banner")), (1, 1), "{nodes:?}");

    // By keyboard alone: the filters, then one cell; arrows move on, Enter opens, Escape leads back.
    let active =
        "document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.className";
    let mut path = Vec::new();
    for _ in 0..6 {
        browser.press("Tab");
        path.push(browser.eval(active).as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(&path[..4], ["skip", "kind", "show", "account"]);
    assert!(
        path.iter().any(|name| name.contains("payments-production") && name.contains("complete")),
        "{path:?}"
    );
    browser.eval("document.querySelector('#grid [tabindex=\"0\"]').focus()");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    browser.press("ArrowRight");
    let name = browser.eval(active);
    let told = "identity-production (210014602674), ap-southeast-2: 1 failed, 10 complete";
    assert_eq!(name, told, "a cell says where it is and how many units are in which state");
    browser.press("Enter");
    assert_eq!(browser.eval("document.getElementById('detail').open"), true);
    let detail = browser.eval("document.getElementById('detail').innerText");
    for part in [
        "identity-production (210014602674), ap-southeast-2",
        "✗ failed",
        "AWS::Lambda::Function",
        "throttled for good",
        "✓ complete",
    ] {
        assert!(detail.as_str().is_some_and(|text| text.contains(part)), "{part}: {detail}");
    }
    let low = browser.eval(&LOW.replace("LIMIT", &CONTRAST.to_string()));
    assert_eq!(low, json!([]), "in the open cell");
    browser.press("Escape");
    assert_eq!(browser.eval("document.getElementById('detail').open"), false);
    assert_eq!(browser.eval(active), told);

    // The filters.
    let rows = "document.getElementById('grid').tBodies[0].rows.length";
    let mut choose = |id: &str, value: &str, event: &str| {
        browser.eval(&format!(
            "{{ const it = document.getElementById('{id}'); it.value = '{value}'; it.dispatchEvent(new Event('{event}', {{bubbles: true}})); }}"
        ));
        browser.eval(rows)
    };
    assert_eq!(
        choose("show", "trouble", "change"),
        4,
        "two with failures, two more with a region that denies"
    );
    assert_eq!(choose("account", "identity", "input"), 1);
    assert_eq!(choose("account", "nobody", "input"), 0);
    assert_eq!(choose("account", "", "input"), 4);
    assert_eq!(choose("kind", "4", "change"), 4);
    assert_eq!(choose("show", "all", "change"), 12);
    let label = browser.eval("document.querySelector('#grid tbody tr:nth-child(3) button').ariaLabel");
    assert_eq!(label, "identity-production (210014602674), ap-southeast-2: 1 failed", "one kind alone");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn texts_of_others_never_become_markup() {
    let world = World::with_accounts(1).build();
    let Some(mut browser) = Browser::start() else { return };
    browser.look(800, 900, true);
    browser.open_file(&example(&world, 12, &REGIONS, true));
    browser.eval("document.querySelectorAll('#grid button')[5].click()");
    let left =
        browser.eval("[document.images.length, document.scripts.length, document.title.includes('owned')]");
    assert_eq!(left, json!([0, 2, false]));
    let shown = browser.eval("document.querySelector('#troubles .message').textContent");
    assert!(shown.as_str().is_some_and(|text| text.ends_with(HOSTILE)), "{shown}");
    let overflow = browser.eval("document.documentElement.scrollWidth - innerWidth");
    assert!(overflow.as_i64() <= Some(0), "{overflow}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn hundreds_of_accounts_are_shown_bit_by_bit() {
    let world = World::with_accounts(1).build();
    let Some(mut browser) = Browser::start() else { return };
    browser.look(1280, 900, false);
    browser.open_file(&example(&world, 600, &REGIONS, false));
    let rows = "document.getElementById('grid').tBodies[0].rows.length";
    assert_eq!(browser.eval(rows), 250);
    assert_eq!(browser.eval("document.getElementById('more').textContent"), "Show 250 more of 600 accounts");
    browser.eval("document.getElementById('more').click()");
    browser.eval("document.getElementById('more').click()");
    assert_eq!(browser.eval(rows), 600);
    assert_eq!(browser.eval("document.getElementById('grid-more').hidden"), true);
}

/// Takes the pictures of the README: `cargo xtask screenshots`.
#[test]
#[ignore = "writes the pictures of the README"]
fn pictures() {
    let Some(folder) = env::var_os("BERTH_SCREENSHOTS") else { return };
    let mut browser = Browser::start().expect("pictures need Chromium");
    let world = World::with_accounts(1).build();
    let page = example(&world, 12, &REGIONS, false);
    for (name, dark) in [("status-light.png", false), ("status-dark.png", true)] {
        browser.look(1180, 920, dark);
        browser.open_file(&page);
        fs::write(Path::new(&folder).join(name), browser.screenshot()).expect("a picture");
    }
    // Those that are looked at, and not committed.
    if let Some(folder) = env::var_os("BERTH_SCREENSHOTS_MORE") {
        for (name, width, height, dark, cell) in [
            ("whole-light.png", 1280, 1800, false, false),
            ("whole-dark.png", 1280, 1800, true, false),
            ("narrow-light.png", 390, 3000, false, false),
            ("narrow-dark.png", 390, 3000, true, false),
            ("cell-light.png", 1280, 900, false, true),
        ] {
            browser.look(width, height, dark);
            browser.open_file(&page);
            if cell {
                browser.eval("document.querySelectorAll('#grid tbody tr:nth-child(3) button')[1].click()");
            }
            fs::write(Path::new(&folder).join(name), browser.screenshot()).expect("a picture");
        }
    }
}
