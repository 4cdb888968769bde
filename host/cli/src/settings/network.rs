//! How requests leave: proxies, trusted certificates, timeouts. The variables are those of the
//! contract, of AWS's SDKs and of everybody else.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use berth_embed::{HttpConfig, NoProxy, Proxies, ProxyUrl, Roots};

use super::{Issue, Reader};

/// Where containers get certificates mounted (the chart's `selfSignedCertificate`), and where they
/// stand before `update-ca-certificates` has run.
const MOUNTED: &str = "/usr/local/share/ca-certificates";

/// What the HTTP clients need to know.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) http: HttpConfig,
    /// Where AWS is asked in another way than Port.
    pub(super) aws_http: Option<HttpConfig>,
    /// How long one request to AWS may take.
    pub(super) timeout: Option<Duration>,
}

impl Reader<'_> {
    pub(super) fn network(&mut self) -> Network {
        let proxies = self.proxies();
        let roots = self.roots();
        let aws_roots = self.paths("AWS_CA_BUNDLE").and_then(|(name, paths)| self.trust_only(&name, &paths));
        let port = self.verify("ssl.port.verify", "Port");
        let aws = self.verify("ssl.third_party.verify", "AWS");
        // The parser of certificates has its own idea of strictness, which is not to be loosened.
        for path in ["ssl.port.x509.strict", "ssl.third_party.x509.strict"] {
            self.flag(path, true);
        }
        let timeout = self
            .tree
            .get("client_timeout")
            .is_some()
            .then(|| Duration::from_secs(self.number("client_timeout", 60) as u64));
        let http = HttpConfig { proxies, roots, unverified: !port };
        let aws_http = (aws_roots.is_some() || aws != port).then(|| HttpConfig {
            roots: aws_roots.or_else(|| http.roots.clone()),
            unverified: !aws,
            ..http.clone()
        });
        Network { http, aws_http, timeout }
    }

    /// How requests leave that go neither to Port nor to AWS.
    #[cfg(any(feature = "oci", feature = "otlp"))]
    pub(super) fn third_party(&mut self) -> HttpConfig {
        let http = self.network().http;
        // What is said of third parties holds for them: Port is the other side here.
        HttpConfig { unverified: !self.flag("ssl.third_party.verify", true), ..http }
    }

    fn verify(&mut self, path: &str, whom: &str) -> bool {
        let verify = self.flag(path, true);
        if !verify {
            self.notes.push(format!(
                "{}=false: the certificates of {whom} are not checked, so whoever is on the way can read and change everything, secrets included. Better name your certificate authority with SSL_CERT_FILE",
                super::variable(path)
            ));
        }
        verify
    }

    /// As in Python, the variable in lower case wins.
    fn either_case(&self, name: &str) -> Option<(String, String)> {
        [name.to_lowercase(), name.to_owned()]
            .into_iter()
            .find_map(|name| self.environment.get(&name).map(|value| (name.clone(), value.to_owned())))
    }

    fn proxies(&mut self) -> Proxies {
        let all = self.proxy("ALL_PROXY");
        let http = self.proxy("HTTP_PROXY").or_else(|| all.clone());
        let https = self.proxy("HTTPS_PROXY").or(all);
        Proxies { http, https, except: self.no_proxy() }
    }

    fn no_proxy(&mut self) -> NoProxy {
        let Some((name, list)) = self.either_case("NO_PROXY") else { return NoProxy::default() };
        let (no_proxy, unknown) = NoProxy::parse(&list);
        for entry in unknown {
            // The list is meant for many programs: one that only others understand is no mistake.
            self.notes.push(format!(
                "{name}: `{entry}` is ignored: it is neither a host name, an IP address nor a network such as `10.0.0.0/8`"
            ));
        }
        no_proxy
    }

    fn proxy(&mut self, name: &str) -> Option<ProxyUrl> {
        let (name, value) = self.either_case(name)?;
        ProxyUrl::parse(&value)
            .map_err(|error| {
                self.issues.push(Issue {
                    setting: name,
                    // Not what was found: there may be a password in it.
                    problem: error.to_string(),
                    remedy: "use the address of an HTTP proxy, such as `http://proxy.example.com:3128`, or unset it".into(),
                });
            })
            .ok()
    }

    /// Certificates named by the operator replace those of the system, as with OpenSSL and `httpx`;
    /// those mounted into a container come besides.
    fn roots(&mut self) -> Option<Roots> {
        let named: Vec<(String, Vec<PathBuf>)> =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| self.paths(name)).collect();
        if !named.is_empty() {
            for (name, paths) in &named {
                // Each on its own first, so that the variable at fault is told.
                self.trust_only(name, paths)?;
            }
            let all: Vec<PathBuf> = named.into_iter().flat_map(|(_, paths)| paths).collect();
            return self.trust_only("SSL_CERT_FILE", &all);
        }
        let mounted = certificates_in(Path::new(MOUNTED));
        if mounted.is_empty() {
            return None;
        }
        Roots::system()
            .and(mounted.iter().map(PathBuf::as_path))
            .map_err(|error| {
                self.issues.push(Issue {
                    setting: format!("{MOUNTED}/*.crt"),
                    problem: told(&error),
                    remedy:
                        "mount a certificate in PEM form, readable for the user that Berth runs as, or none"
                            .into(),
                });
            })
            .ok()
    }

    /// The files and directories that a variable names.
    fn paths(&self, name: &str) -> Option<(String, Vec<PathBuf>)> {
        let value = self.environment.get(name)?;
        let base = &self.environment.working_dir;
        // OpenSSL takes a list of directories, but only one file.
        let paths: Vec<PathBuf> = if name.ends_with("_DIR") {
            std::env::split_paths(value).map(|path| base.join(path)).collect()
        } else {
            vec![base.join(value)]
        };
        Some((name.to_owned(), paths))
    }

    fn trust_only(&mut self, name: &str, paths: &[PathBuf]) -> Option<Roots> {
        Roots::of(paths.iter().map(PathBuf::as_path))
            .map_err(|error| {
                self.issues.push(Issue {
                    setting: name.to_owned(),
                    problem: told(&error),
                    remedy: "name a file (or, with SSL_CERT_DIR, a directory) of certificates in PEM form (`-----BEGIN CERTIFICATE-----`), or unset it to trust what the system trusts".into(),
                });
            })
            .ok()
    }
}

fn told(error: &dyn std::error::Error) -> String {
    berth_embed::Problem::from_error(error).message
}

/// The `*.crt` files of a directory, which need not exist.
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
    fn what_no_proxy_does_not_mean_is_told() {
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
        let told = format!("{issues:?}");
        assert!(told.contains("missing.pem") && told.contains("holds no certificate"), "{told}");
        assert!(!told.contains("hush"), "{told}");
        // A directory without any, too.
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
