//! Gateways, proxies and private certificate authorities.

use std::time::{Duration, Instant};

use berth_e2e::{ForwardProxy, World};

/// The port of an address such as `https://localhost:1234`.
fn authority(url: &str) -> String {
    url.split("://").nth(1).unwrap_or_default().trim_end_matches('/').to_owned()
}

#[test]
fn a_certificate_authority_of_ones_own_is_trusted_where_it_is_named() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let (roots, plain_port) = (world.serve_tls(), world.variable("OCEAN__PORT__BASE_URL"));
    assert!(plain_port.starts_with("https://"), "{plain_port}");
    // Nobody trusts it by itself, and what would help is told.
    world.sync().exits(4).says("certificate").says("SSL_CERT_FILE").hides("trying");
    assert!(world.entities().is_empty());

    world.set("SSL_CERT_FILE", roots.to_str().unwrap_or_default());
    let run = world.sync();
    run.exits(0);
    assert_eq!(world.entities(), world.expected(), "{run}");

    // A directory does as well, and a file for AWS alone is for AWS alone.
    world.unset("SSL_CERT_FILE");
    world.set("SSL_CERT_DIR", roots.parent().and_then(|path| path.to_str()).unwrap_or_default());
    world.sync().exits(0);
    world.unset("SSL_CERT_DIR");
    world.set("AWS_CA_BUNDLE", roots.to_str().unwrap_or_default());
    let doctor = world.tool(&["doctor"]);
    doctor.exits(3).says("✗   Port").says("✓   AWS base identity").says("SSL_CERT_FILE");
}

#[test]
fn certificates_are_not_checked_only_where_that_is_said_and_then_loudly() {
    let mut world = World::with_accounts(1).buckets(1).build();
    world.serve_tls();
    world.set("OCEAN__SSL__PORT__VERIFY", "false");
    let doctor = world.tool(&["doctor"]);
    doctor.exits(3).says("✓   Port").says("✗   AWS base identity").says("AWS_CA_BUNDLE");
    doctor.says("certificates are not verified");

    world.set("OCEAN__SSL__THIRD_PARTY__VERIFY", "false");
    let run = world.sync();
    run.exits(0).says("OCEAN__SSL__PORT__VERIFY=false").says("OCEAN__SSL__THIRD_PARTY__VERIFY=false");
    assert_eq!(world.entities(), world.expected(), "{run}");
}

#[test]
fn everything_goes_through_the_proxy_and_its_password_is_shown_nowhere() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let proxy = world.start_proxy();
    let (port, aws) = (authority(&world.variable("OCEAN__PORT__BASE_URL")), authority(&world.aws_url()));
    world.set("HTTP_PROXY", &proxy.url());
    let run = world.berth(&["sync", "--log-level", "trace"]);
    run.exits(0).hides(ForwardProxy::LOGIN.1);
    assert_eq!(world.entities(), world.expected(), "{run}");
    let passed = proxy.passed();
    let asked: Vec<&String> = passed.keys().collect();
    let mut expected = [format!("http {port}"), format!("http {aws}")];
    expected.sort();
    assert_eq!(asked, expected.iter().collect::<Vec<_>>());

    world.set("no_proxy", "127.0.0.1");
    world.sync().exits(0);
    assert_eq!(proxy.passed(), passed, "nothing more went through");
}

#[test]
fn a_proxy_that_refuses_the_password_is_reported_at_once() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let roots = world.serve_tls();
    let proxy = world.start_proxy();
    world.set("SSL_CERT_FILE", roots.to_str().unwrap_or_default());
    world.set("HTTPS_PROXY", &proxy.url().replace(ForwardProxy::LOGIN.1, "hush-other"));
    let begun = Instant::now();
    for run in [world.tool(&["doctor"]), world.sync()] {
        assert!(run.code.is_some_and(|code| code != 0), "{run}");
        run.says("407").says("HTTPS_PROXY").hides("hush-other").hides("trying");
        // Whoever does not get through to AWS has no reason to doubt the keys.
        run.hides("AWS_ACCESS_KEY_ID");
    }
    // With repeats it would be minutes.
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    assert!(proxy.passed().is_empty() && world.entities().is_empty());
}

#[test]
fn what_no_proxy_names_with_a_port_is_asked_directly() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let roots = world.serve_tls();
    let proxy = world.start_proxy();
    let port = authority(&world.variable("OCEAN__PORT__BASE_URL"));
    world.set("SSL_CERT_FILE", roots.to_str().unwrap_or_default());
    world.set("HTTPS_PROXY", &proxy.url());
    world.set("NO_PROXY", &format!("{port} other.example:1"));
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
    let aws = format!("CONNECT {}", authority(&world.aws_url()));
    assert_eq!(proxy.passed().keys().collect::<Vec<_>>(), [&aws]);
}

#[test]
fn a_tunnel_is_asked_for_what_is_encrypted() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let roots = world.serve_tls();
    let proxy = world.start_proxy();
    let (port, aws) = (authority(&world.variable("OCEAN__PORT__BASE_URL")), authority(&world.aws_url()));
    world.set("SSL_CERT_FILE", roots.to_str().unwrap_or_default());
    world.set("HTTPS_PROXY", &proxy.url());
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
    let passed = proxy.passed();
    let asked: Vec<&String> = passed.keys().collect();
    let mut expected = [format!("CONNECT {port}"), format!("CONNECT {aws}")];
    expected.sort();
    assert_eq!(asked, expected.iter().collect::<Vec<_>>());
}

#[test]
fn the_files_that_settings_come_from_are_named_and_must_be_ours() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let world = World::with_accounts(1).buckets(1).build();
    world.file("berth.toml", "max_deletions = 500\n");
    world.sync().exits(0).says("read settings from a file").says("berth.toml");
    let file = world.folder().join("berth.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("a file of ours");
    world.sync().exits(2).says("berth.toml").says("everyone may write to it").says("chmod o-w");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a file of ours");
    world.sync().exits(0);
}
