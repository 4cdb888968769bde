//! The status page and the HTML report, in a real browser.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

mod example;

use std::{env, fs, path::Path};

use berth_e2e::{Browser, Denial, World};
use serde_json::{Value, json};

use crate::service::{Service, listen, reported, wait_for};
use example::{HOSTILE, REGIONS, example};

/// What a text must have against its ground, as WCAG 2 asks for (AA).
const CONTRAST: f64 = 4.5;

/// A world in which some things go wrong: one role, one region, one plugin.
fn troubled() -> World {
    let mut world = World::with_accounts(3).buckets(2).instances(1).clusters(1).guest("bad-manifest").build();
    let denied = world.accounts()[0].clone();
    world.gate().deny(Denial { account: denied, service: "ec2".into(), region: "eu-west-1".into() });
    world.break_external_id(&world.accounts()[2]);
    listen(&mut world, &json!({"type": "WEBHOOK", "app_host": "https://berth.example.com"}));
    world.set("OCEAN__STATUS_PAGE", "true");
    world
}

/// What the page shows of a resync of the world above.
fn shows_the_troubles(browser: &mut Browser, world: &World) {
    assert_eq!(browser.eval("document.getElementById('badge').textContent"), "✗ Done in part");
    let (denied, whole, broken) = (&world.accounts()[0], &world.accounts()[1], &world.accounts()[2]);
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
    for named in ["✗ account", "✗ plugin refused", "– skipped", "bad-manifest", "external ID", broken] {
        assert!(troubles.contains(named), "{named}: {troubles}");
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
        assert_eq!(browser.violations(), Vec::<String>::new());
        // Who still looks does not hold the service up.
        let (code, log) = service.terminate();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("before all HTTP requests were answered"), "{log}");
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
    assert_eq!(browser.violations(), Vec::<String>::new());
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
    let named = "identity-production (210014602674), ap-southeast-2: 1 failed, 10 complete";
    assert_eq!(name, named, "a cell says where it is and how many units are in which state");
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
    assert_eq!(browser.eval(active), named);

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
    assert_eq!(browser.violations(), Vec::<String>::new());
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
    assert_eq!(browser.violations(), Vec::<String>::new());
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
