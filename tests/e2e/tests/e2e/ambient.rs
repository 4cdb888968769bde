//! Base credentials that are found instead of configured: the AWS SDK's default chain.
#![expect(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    thread,
};

use berth_e2e::World;

const KEYS: &str = r#"{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKIAAMBIENT", "SecretAccessKey": "hush-ambient",
    "Token": "hush-token", "Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z"}"#;

/// A world whose settings hold no keys.
fn keyless() -> World {
    let mut world = World::with_accounts(1).buckets(1).build();
    world.unset("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID");
    world.unset("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY");
    // Nothing of the machine's own is looked at unless the test says so.
    world.set("AWS_EC2_METADATA_DISABLED", "true");
    world
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    path.to_str().expect("a path that is text").to_owned()
}

/// Serves what `answer` has for a request line's path; 404 else.
fn serve(answer: fn(&str) -> Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("a bound address"));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = lines.next().and_then(|line| line.split(' ').nth(1).map(ToOwned::to_owned));
            for _ in lines.take_while(|line| !line.is_empty()) {}
            let (status, body) = match path.as_deref().and_then(answer) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", ""),
            };
            let length = body.len();
            // A client that went away is none of the server's business.
            _ = write!(
                &stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nx-aws-ec2-metadata-token-ttl-seconds: 600\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

fn arrives(world: &World) {
    let run = world.sync();
    run.exits(0).hides("hush-ambient").hides("hush-token");
    assert_eq!(world.entities(), world.expected(), "{run}");
}

#[test]
fn a_profile_is_found() {
    let (mut world, folder) = (keyless(), tempfile::tempdir().expect("a folder"));
    let keys = "[berth]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = hush-ambient\n";
    world.set("AWS_SHARED_CREDENTIALS_FILE", &file(folder.path(), "credentials", keys));
    world.set("AWS_CONFIG_FILE", &file(folder.path(), "config", "[profile berth]\nregion = eu-west-1\n"));
    world.set("AWS_PROFILE", "berth");
    arrives(&world);
}

#[test]
fn a_pod_identity_is_found() {
    let (mut world, folder) = (keyless(), tempfile::tempdir().expect("a folder"));
    let agent = serve(|path| (path == "/v1/credentials").then_some(KEYS));
    world.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{agent}/v1/credentials"));
    world.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file(folder.path(), "token", "pod-token"));
    arrives(&world);
}

#[test]
fn an_instance_profile_is_found() {
    let mut world = keyless();
    let metadata = serve(|path| match path {
        "/latest/api/token" => Some("imds-token"),
        "/latest/meta-data/iam/security-credentials/" => Some("berth"),
        "/latest/meta-data/iam/security-credentials/berth" => Some(KEYS),
        _ => None,
    });
    world.set("AWS_EC2_METADATA_DISABLED", "false");
    world.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata);
    arrives(&world);
}

#[test]
fn a_web_identity_is_found() {
    let (mut world, folder) = (keyless(), tempfile::tempdir().expect("a folder"));
    world.set("AWS_WEB_IDENTITY_TOKEN_FILE", &file(folder.path(), "token", "irsa-token"));
    world.set("AWS_ROLE_ARN", &format!("arn:aws:iam::{}:role/PortOceanReadRole", world.accounts()[0]));
    arrives(&world);
}

#[test]
fn without_any_identity_that_is_said() {
    let world = keyless();
    let run = world.sync();
    run.exits(4).says("credentials");
    assert!(world.entities().is_empty(), "{run}");
}
