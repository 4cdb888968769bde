//! The addresses that credentials are sent to: Port's API and the AWS endpoints.

use berth_embed::EndpointOverrides;
use berth_http::{Proxies, is_private, is_same_owner};
use serde_json::Value;
use url::{Host, Url};

use super::{
    Issue,
    check::SettingsCheck,
    port_access::PortAccess,
    schema::Setting,
    tree::Origin,
    values::{FromValue, ValueProblem},
};

const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// Returns what is wrong with an address, and the remedy.
fn objection(address: &Url, proxies: &Proxies) -> Option<(String, &'static str)> {
    // Without the rest of the address, which may hold a password.
    let shown = format!("{}://{}", address.scheme(), address.host_str().unwrap_or_default());
    if !is_private(address) {
        return Some((
            format!("`{shown}` is not encrypted: anyone on the network path could read credentials and data"),
            "use an address that begins with `https://`; Berth uses plain HTTP only with this machine \
            (`localhost`, `127.0.0.1`, `[::1]`)",
        ));
    }
    let is_tunnelled = address.scheme() == "https" && proxies.of(address).is_some();
    if is_tunnelled && matches!(address.host(), Some(Host::Ipv6(_))) {
        return Some((
            format!("`{shown}` is an IPv6 address, which Berth does not reach through a proxy"),
            "use a host name, or name the address in `NO_PROXY` to reach it directly",
        ));
    }
    None
}

/// Checks Port's address, which is a valid URL already.
pub(super) fn check_port(check: &mut SettingsCheck<'_>, access: &PortAccess, proxies: &Proxies) {
    let text = access.base_url.value().and_then(Value::as_str);
    let Some(address) = text.and_then(|text| Url::parse(text.trim()).ok()) else { return };
    if let Some((problem, remedy)) = objection(&address, proxies) {
        check.issue(&access.base_url, problem, remedy);
    }
    refuse_a_found_address(check, access, &address);
}

/// A file that happens to be in the working directory must not decide where a secret from the environment
/// goes. Port's own addresses are safe.
fn refuse_a_found_address(check: &mut SettingsCheck<'_>, access: &PortAccess, address: &Url) {
    let secret = access.client_secret.given().filter(|given| given.value().is_some());
    let of_environment = secret.is_some_and(|given| matches!(given.origin, Origin::Variable(_)));
    let base_url = access.base_url.given().filter(|given| given.value().is_some());
    let is_found = base_url.is_some_and(|given| given.origin.is_found());
    let ports = ["https://getport.io", "https://port.io"].map(Url::parse);
    let is_ports = ports.iter().flatten().any(|own| is_same_owner(own, address));
    if of_environment && is_found && !is_ports {
        check.issue(
            &access.base_url,
            "it says where to send a client secret that comes from the environment, but Berth only found it \
            in the working directory",
            "set OCEAN__PORT__BASE_URL in the environment as well, or name the file with `--config`",
        );
    }
}

/// Returns the endpoints that replace AWS's own.
pub(super) fn endpoints(check: &mut SettingsCheck<'_>, proxies: &Proxies) -> EndpointOverrides {
    let mut endpoints = EndpointOverrides::new();
    for (name, value) in check.environment().iter() {
        let Some(service) = name.strip_prefix(ENDPOINT).filter(|_| !value.is_empty()) else { continue };
        let service = service.strip_prefix('_').or_else(|| service.is_empty().then_some(""));
        let Some(service) = service else { continue };
        let (problem, remedy) = match Url::parse(value) {
            Ok(url) => match objection(&url, proxies) {
                Some(objection) => objection,
                None if service.is_empty() => {
                    endpoints = endpoints.all(url);
                    continue;
                }
                None => {
                    endpoints = endpoints.service(service, url);
                    continue;
                }
            },
            Err(error) => (
                format!("found `{value}`, which is not a URL: {error}"),
                "use one such as `http://localhost:5000`, or unset it",
            ),
        };
        check.push(Issue { setting: name.to_owned(), problem, remedy: remedy.into() });
    }
    endpoints
}

/// Returns a choice among AWS's own endpoints, from our setting or the variable of AWS's tools.
pub(super) fn endpoint_flag(check: &mut SettingsCheck<'_>, setting: &Setting<bool>, variable: &str) -> bool {
    let Some(text) = check.environment().get(variable).filter(|_| !setting.is_set()) else {
        return check.value(setting).unwrap_or_default();
    };
    if !text.eq_ignore_ascii_case("true") && !text.eq_ignore_ascii_case("false") {
        check.push(Issue {
            setting: variable.to_owned(),
            problem: format!("found `{text}`"),
            remedy: "use `true` or `false`".into(),
        });
    }
    text.eq_ignore_ascii_case("true")
}

/// Domains that Port may have the token sent to.
pub(super) struct Domains(pub(super) Vec<String>);

impl FromValue for Domains {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let is_domain = |text: &String| matches!(Host::parse(text.trim_start_matches('.')), Ok(Host::Domain(name)) if name.contains('.'));
        let domains = Vec::from_value(value, example).ok();
        domains.filter(|domains| domains.iter().all(is_domain)).map(Self).ok_or_else(|| {
            ValueProblem::new(
                "not a list of domains",
                "list domains such as `ingest.example.com`; each includes its subdomains",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    const SECRETS: [(&str, &str); 2] =
        [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "hush")];

    fn load(variables: &[(&str, &str)]) -> Result<Settings, Vec<Issue>> {
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &Environment::of(&[&SECRETS, variables].concat()))
    }

    fn load_in(
        dir: &Path,
        variables: &[(&str, &str)],
        config: Option<&Path>,
    ) -> Result<Settings, Vec<Issue>> {
        let mut environment = Environment::of(variables);
        environment.working_dir = dir.to_owned();
        let mut args = vec!["berth", "--plugins", "/"];
        args.extend(config.iter().flat_map(|file| ["--config", file.to_str().unwrap()]));
        args.push("sync");
        Settings::load(&Args::parse_from(args).global, &environment)
    }

    #[test]
    fn credentials_go_without_tls_to_this_machine_only() {
        for variable in ["OCEAN__PORT__BASE_URL", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"] {
            for address in
                ["http://port.example", "http://10.0.0.1:3000", "http://[fd00::1]", "http://u:hush@a.example"]
            {
                let issues = load(&[(variable, address)]).unwrap_err();
                assert_eq!((issues.len(), issues[0].setting.as_str()), (1, variable), "{issues:?}");
                assert!(issues[0].remedy.contains("https://"), "{issues:?}");
                assert!(!format!("{issues:?}").contains("hush"), "{issues:?}");
            }
            for address in
                ["https://port.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000"]
            {
                assert!(load(&[(variable, address)]).is_ok(), "{variable}={address}");
            }
        }
    }

    #[test]
    fn an_ipv6_address_is_asked_directly_or_not_at_all() {
        for variable in ["OCEAN__PORT__BASE_URL", "AWS_ENDPOINT_URL"] {
            let address = (variable, "https://[fd00::1]:8443");
            let proxy = ("HTTPS_PROXY", "http://proxy.example:3128");
            assert!(load(&[address]).is_ok());
            assert!(load(&[address, proxy, ("NO_PROXY", "[fd00::1]")]).is_ok());
            let issues = load(&[address, proxy]).unwrap_err();
            assert_eq!((issues.len(), issues[0].setting.as_str()), (1, variable), "{issues:?}");
            assert!(
                issues[0].problem.contains("IPv6") && issues[0].remedy.contains("NO_PROXY"),
                "{issues:?}"
            );
        }
    }

    #[test]
    fn the_kind_of_awss_endpoints_can_be_chosen() {
        const DUAL: &str = "AWS_USE_DUALSTACK_ENDPOINT";
        const OURS: &str = "OCEAN__INTEGRATION__CONFIG__USE_DUALSTACK_ENDPOINT";
        let of = |variables: &[(&str, &str)]| {
            load(variables).map(|settings| (settings.aws.dual_stack, settings.aws.fips))
        };
        assert_eq!(of(&[]), Ok((false, false)));
        assert_eq!(of(&[(DUAL, "TRUE")]), Ok((true, false)));
        assert_eq!(of(&[(OURS, "yes")]), Ok((true, false)));
        assert_eq!(
            of(&[(DUAL, "true"), (OURS, "false")]),
            Ok((false, false)),
            "our setting wins over the variable"
        );
        assert_eq!(of(&[("AWS_USE_FIPS_ENDPOINT", "true")]), Ok((false, true)));
        assert_eq!(of(&[(DUAL, "1")]).unwrap_err()[0].setting, DUAL);
    }

    #[test]
    fn a_file_that_was_only_found_does_not_say_where_secrets_of_the_environment_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("berth.toml");
        let elsewhere = "https://port.evil.example";
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();

        write("berth.toml", &format!("[port]\nbase_url = '{elsewhere}'\n"));
        let issues = load_in(dir.path(), &SECRETS, None).unwrap_err();
        assert!(
            issues[0].setting.contains("berth.toml") && issues[0].remedy.contains("--config"),
            "{issues:?}"
        );
        // A file that is named explicitly is trusted.
        assert!(load_in(dir.path(), &SECRETS, Some(&file)).is_ok());
        let both = [&SECRETS[..], &[("OCEAN__PORT__BASE_URL", elsewhere)]].concat();
        assert!(load_in(dir.path(), &both, None).is_ok());
        // Port's own addresses are allowed in any file.
        write("berth.toml", "[port]\nbase_url = 'https://api.us.getport.io'\n");
        assert!(load_in(dir.path(), &SECRETS, None).is_ok());
        // So is an address next to its own secret.
        write("berth.toml", &format!("[port]\nbase_url = '{elsewhere}'\nclient_secret = 'hush'\n"));
        assert!(load_in(dir.path(), &SECRETS[..1], None).is_ok());

        std::fs::remove_file(&file).unwrap();
        write(".env", &format!("OCEAN__PORT__BASE_URL={elsewhere}\n"));
        let issues = load_in(dir.path(), &SECRETS, None).unwrap_err();
        assert!(
            issues[0].setting.contains("OCEAN__PORT__BASE_URL in ") && issues[0].setting.contains(".env"),
            "{issues:?}"
        );
        write(".env", &format!("OCEAN__PORT__BASE_URL={elsewhere}\nOCEAN__PORT__CLIENT_SECRET=hush\n"));
        assert!(load_in(dir.path(), &SECRETS[..1], None).is_ok());
    }

    #[test]
    fn domains_for_the_token_are_checked() {
        let domains = |list: &str| {
            load(&[("OCEAN__INGEST_DOMAINS", list)]).map(|settings| settings.port.ingest_domains)
        };
        assert_eq!(
            domains("ingest.example.com, .b.example"),
            Ok(vec!["ingest.example.com".into(), ".b.example".into()])
        );
        for bad in ["com", "https://a.example", "10.0.0.1"] {
            assert_eq!(domains(bad).unwrap_err()[0].setting, "OCEAN__INGEST_DOMAINS", "{bad}");
        }
    }
}
