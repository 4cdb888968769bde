//! Outgoing connections: proxies and trusted certificates. The variables are those of the contract, of AWS's
//! SDKs and of common tools.

use std::path::{Path, PathBuf};

use berth_embed::error_chain;
use berth_http::{HttpParts, NoProxy, Proxies, ProxyUrl, Roots};
use serde::Deserialize;

use super::{
    Issue,
    check::{Section, SettingsCheck},
    schema::Setting,
    tree::variable,
};

/// Where containers get certificates mounted (the chart's `selfSignedCertificate`), and where certificates
/// are before `update-ca-certificates` has run.
const MOUNTED: &str = "/usr/local/share/ca-certificates";

#[derive(Debug, Deserialize)]
pub(super) struct NetworkTable {
    ssl: Ssl,
}

#[derive(Debug, Deserialize)]
struct Ssl {
    port: Tls,
    third_party: Tls,
}

#[derive(Debug, Deserialize)]
struct Tls {
    verify: Setting<bool>,
    x509: X509,
}

#[derive(Debug, Deserialize)]
struct X509 {
    strict: Setting<bool>,
}

/// The settings of the HTTP clients.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) http: HttpParts,
    /// Where AWS is asked in another way than Port.
    pub(super) aws_http: Option<HttpParts>,
    /// Whether to verify the certificates of third parties.
    #[cfg(any(feature = "oci", feature = "otlp"))]
    third_party: bool,
}

impl Section for Network {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: NetworkTable = check.table()?;
        let proxies = proxies(check);
        let roots = roots(check);
        let bundle = paths(check, "AWS_CA_BUNDLE");
        let aws_roots = bundle.and_then(|(name, paths)| trust_only(check, &name, &paths));
        let port = verify(check, &table.ssl.port.verify, "Port");
        let aws = verify(check, &table.ssl.third_party.verify, "AWS");
        // The certificate parser's own strictness cannot be loosened.
        for side in [&table.ssl.port, &table.ssl.third_party] {
            check.value(&side.x509.strict);
        }
        let (port, aws) = (port?, aws?);
        let http = HttpParts { proxies, roots, unverified: !port };
        let aws_http = (aws_roots.is_some() || aws != port).then(|| HttpParts {
            roots: aws_roots.or_else(|| http.roots.clone()),
            unverified: !aws,
            ..http.clone()
        });
        Some(Self {
            http,
            aws_http,
            #[cfg(any(feature = "oci", feature = "otlp"))]
            third_party: aws,
        })
    }
}

/// How requests are sent that go neither to Port nor to AWS.
#[cfg(any(feature = "oci", feature = "otlp"))]
#[derive(Debug)]
pub(crate) struct ThirdParty(pub(crate) HttpParts);

#[cfg(any(feature = "oci", feature = "otlp"))]
impl Section for ThirdParty {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        // The settings for third parties apply, because the other side here is Port.
        let Network { http, third_party, .. } = Network::read(check)?;
        Some(Self(HttpParts { unverified: !third_party, ..http }))
    }
}

fn verify(check: &mut SettingsCheck<'_>, setting: &Setting<bool>, whom: &str) -> Option<bool> {
    let verify = check.value(setting)?;
    if !verify {
        check.note(format!(
            "{}=false: Berth does not verify the certificates of {whom}, so anyone on the network path can \
            read and change everything, including secrets. Set SSL_CERT_FILE to your certificate authority \
            instead",
            variable(setting.path())
        ));
    }
    Some(verify)
}

/// As in Python, the lower-case variable wins.
fn either_case(check: &SettingsCheck<'_>, name: &str) -> Option<(String, String)> {
    [name.to_lowercase(), name.to_owned()]
        .into_iter()
        .find_map(|name| check.environment().get(&name).map(|value| (name.clone(), value.to_owned())))
}

/// Returns the proxies, which other sections need to check addresses.
pub(super) fn proxies(check: &mut SettingsCheck<'_>) -> Proxies {
    let all = proxy(check, "ALL_PROXY");
    let http = proxy(check, "HTTP_PROXY").or_else(|| all.clone());
    let https = proxy(check, "HTTPS_PROXY").or(all);
    Proxies { http, https, except: no_proxy(check) }
}

fn no_proxy(check: &mut SettingsCheck<'_>) -> NoProxy {
    let Some((name, list)) = either_case(check, "NO_PROXY") else { return NoProxy::default() };
    let (no_proxy, unknown) = NoProxy::parse(&list);
    for entry in unknown {
        // Many programs share this list, so an entry that only others understand is not a mistake.
        check.note(format!(
            "{name}: `{entry}` is ignored: it is neither a host name, an IP address nor a network such as \
             `10.0.0.0/8`"
        ));
    }
    no_proxy
}

fn proxy(check: &mut SettingsCheck<'_>, name: &str) -> Option<ProxyUrl> {
    let (name, value) = either_case(check, name)?;
    ProxyUrl::parse(&value)
        .map_err(|error| {
            check.push(Issue {
                setting: name,
                // Without the value: it may hold a password.
                problem: error.to_string(),
                remedy:
                    "use the address of an HTTP proxy, such as `http://proxy.example.com:3128`, or unset it"
                        .into(),
            });
        })
        .ok()
}

/// Certificates that the operator names replace those of the system, as in OpenSSL and `httpx`; certificates
/// mounted into a container are added.
fn roots(check: &mut SettingsCheck<'_>) -> Option<Roots> {
    let named: Vec<(String, Vec<PathBuf>)> =
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| paths(check, name)).collect();
    if !named.is_empty() {
        for (name, paths) in &named {
            // Each alone first, so that the issue names the right variable.
            trust_only(check, name, paths)?;
        }
        let all: Vec<PathBuf> = named.into_iter().flat_map(|(_, paths)| paths).collect();
        return trust_only(check, "SSL_CERT_FILE", &all);
    }
    let mounted = certificates_in(Path::new(MOUNTED));
    if mounted.is_empty() {
        return None;
    }
    Roots::system()
        .and(mounted.iter().map(PathBuf::as_path))
        .map_err(|error| {
            check.push(Issue {
                setting: format!("{MOUNTED}/*.crt"),
                problem: error_chain(&error),
                remedy: "mount certificates in PEM form that the user that runs Berth can read, or none"
                    .into(),
            });
        })
        .ok()
}

/// Returns the files and directories that a variable names.
fn paths(check: &SettingsCheck<'_>, name: &str) -> Option<(String, Vec<PathBuf>)> {
    let value = check.environment().get(name)?;
    let base = &check.environment().working_dir;
    // OpenSSL accepts a list of directories, but only one file.
    let paths: Vec<PathBuf> = if name.ends_with("_DIR") {
        std::env::split_paths(value).map(|path| base.join(path)).collect()
    } else {
        vec![base.join(value)]
    };
    Some((name.to_owned(), paths))
}

fn trust_only(check: &mut SettingsCheck<'_>, name: &str, paths: &[PathBuf]) -> Option<Roots> {
    Roots::of(paths.iter().map(PathBuf::as_path))
        .map_err(|error| {
            check.push(Issue {
                setting: name.to_owned(),
                problem: error_chain(&error),
                remedy: "name a file (or, with SSL_CERT_DIR, a directory) of certificates in PEM form \
                    (`-----BEGIN CERTIFICATE-----`), or unset it to trust the system's certificates"
                    .into(),
            });
        })
        .ok()
}

/// Returns the `*.crt` files of a directory, which need not exist.
fn certificates_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "crt") && path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use url::Url;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<Settings, Vec<Issue>> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &environment)
    }

    #[test]
    fn proxies_are_found_under_every_name() {
        let settings = load(&[
            ("ALL_PROXY", "http://all:1"),
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://name:hush@lower:1"),
            ("no_proxy", "localhost, .internal"),
        ])
        .unwrap();
        let proxies = &settings.http.proxies;
        assert_eq!(format!("{:?}", proxies.http.as_ref().unwrap()), "http://all:1/");
        assert_eq!(format!("{:?}", proxies.https.as_ref().unwrap()), "http://lower:1/");
        let direct = ["https://localhost", "https://api.internal"].map(|url| Url::parse(url).unwrap());
        assert!(direct.iter().all(|url| proxies.except.contains(url)));
        assert!(!proxies.except.contains(&Url::parse("https://api.getport.io").unwrap()));
        assert!(!format!("{settings:?}").contains("hush"), "{settings:?}");
    }

    #[test]
    fn what_no_proxy_does_not_mean_is_reported() {
        let settings = load(&[("NO_PROXY", "10.*, .internal")]).unwrap();
        assert_eq!(settings.notes.len(), 1, "{:?}", settings.notes);
        assert!(settings.notes[0].starts_with("NO_PROXY: `10.*`"), "{:?}", settings.notes);
    }

    #[test]
    fn every_mistake_names_its_variable_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, empty) = (dir.path().join("missing.pem"), dir.path().join("empty.pem"));
        std::fs::write(&empty, "no certificate\n").unwrap();
        let issues = load(&[
            ("HTTPS_PROXY", "socks5://name:hush@proxy:1"),
            ("SSL_CERT_FILE", missing.to_str().unwrap()),
            ("AWS_CA_BUNDLE", empty.to_str().unwrap()),
            ("OCEAN__SSL__PORT__VERIFY", "perhaps"),
            ("OCEAN__CLIENT_TIMEOUT", "0"),
        ])
        .unwrap_err();
        let mut settings: Vec<&str> = issues.iter().map(|issue| issue.setting.as_str()).collect();
        settings.sort_unstable();
        assert_eq!(
            settings,
            [
                "AWS_CA_BUNDLE",
                "HTTPS_PROXY",
                "OCEAN__CLIENT_TIMEOUT",
                "OCEAN__SSL__PORT__VERIFY",
                "SSL_CERT_FILE"
            ]
        );
        let debug = format!("{issues:?}");
        assert!(debug.contains("missing.pem") && debug.contains("contains no usable certificate"), "{debug}");
        assert!(!debug.contains("hush"), "{debug}");
        // A directory without certificates, too.
        let issues = load(&[("SSL_CERT_DIR", dir.path().to_str().unwrap())]).unwrap_err();
        assert_eq!(issues[0].setting, "SSL_CERT_DIR");
    }

    #[test]
    fn aws_has_a_client_of_its_own_only_where_it_differs() {
        let settings =
            load(&[("OCEAN__SSL__PORT__X509__STRICT", "false"), ("OCEAN__CLIENT_TIMEOUT", "7")]).unwrap();
        assert!(settings.aws_http.is_none());
        assert_eq!(settings.aws.retry.attempt_timeout, Duration::from_secs(7));

        let settings = load(&[("OCEAN__SSL__THIRD_PARTY__VERIFY", "false")]).unwrap();
        assert!(!settings.http.unverified && settings.aws_http.unwrap().unverified);
        assert!(settings.notes[0].contains("OCEAN__SSL__THIRD_PARTY__VERIFY=false"), "{:?}", settings.notes);

        let both = [("OCEAN__SSL__THIRD_PARTY__VERIFY", "false"), ("OCEAN__SSL__PORT__VERIFY", "false")];
        let settings = load(&both).unwrap();
        assert!(settings.http.unverified && settings.aws_http.is_none());
    }

    #[test]
    fn only_certificates_are_taken_from_where_they_are_mounted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.crt", "a.crt", "c.pem", "README"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.crt")).unwrap();
        assert_eq!(certificates_in(dir.path()), [dir.path().join("a.crt"), dir.path().join("b.crt")]);
        assert!(certificates_in(&dir.path().join("missing")).is_empty());
    }
}
