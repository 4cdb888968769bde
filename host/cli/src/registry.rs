//! Plugins in OCI registries, in the format that `wkg` uses for WebAssembly components: one layer of
//! `application/wasm`, and a config that lists imports and exports ([Wasm OCI
//! Artifact](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/)). The signature is an
//! annotation of the manifest, because there is exactly one layer.

mod client;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use berth_embed::{Problem, ProblemCode};
use berth_engine::PluginInfo;
use berth_http::{HttpParts, Peer, TransportCause};
use bytes::Bytes;
use oci_spec::distribution::Reference;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use self::client::{ClientError, Login, RegistryClient};
use crate::{args::RegistryArgs, settings::Environment};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation of the signature: a `.minisig` file, in Base64.
const SIGNATURE: &str = "io.github.berth-sync.minisig";
/// The largest plugin that is pulled.
const COMPONENT_BYTES: usize = 256 << 20;
/// The scheme that distinguishes a reference from a file on the command line.
const SCHEME: &str = "oci://";

/// The variable that names a token service of another domain, which also gets the password.
const REALM: &str = "BERTH_REGISTRY_REALM";
/// The registry, for remedies.
const REGISTRY: Peer = Peer {
    name: "the registry",
    address: "the reference",
    roots: "`SSL_CERT_FILE`",
    unreachable: ProblemCode::RegistryFailed,
    untrusted: ProblemCode::RegistryFailed,
};

/// A repository of a registry, and the credentials for it.
#[derive(Debug)]
pub(crate) struct Registry {
    reference: Reference,
    login: Login,
    /// A token service that is not the registry's own.
    realm: Option<Url>,
    plain: bool,
    http: HttpParts,
}

/// A manifest's description of a blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// An image manifest, with the members that artifacts use.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A plugin that was pulled.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// The component. Its digest is the one in the manifest.
    pub(crate) component: Vec<u8>,
    /// The text of its signature, if it has one.
    pub(crate) signature: Option<String>,
    /// The manifest's digest.
    pub(crate) digest: String,
    /// A name for its file.
    pub(crate) file_name: String,
}

/// Returns whether an argument is a reference to a registry.
pub(crate) fn is_reference(argument: &Path) -> bool {
    argument.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

impl Registry {
    /// Parses a reference (`oci://registry/repository:tag`, with or without the scheme) and finds the
    /// credentials for it.
    ///
    /// # Errors
    /// A [`Problem`] that names the reference or the file with the credentials.
    pub(crate) fn new(
        reference: &str,
        args: &RegistryArgs,
        environment: &Environment,
        http: HttpParts,
    ) -> Result<Self, Problem> {
        let text = reference.strip_prefix(SCHEME).unwrap_or(reference);
        let example = "name it as in `registry.example.com/plugins/acme-widget:1.0.0`";
        let first = text.split('/').next().unwrap_or_default();
        // A reference without a registry means Docker Hub.
        if !(first.contains(['.', ':']) || first == "localhost") || !text.contains('/') {
            return Err(Problem::new(
                ProblemCode::CommandArgument,
                format!("`{reference}` does not name a registry"),
            )
            .remedy(example));
        }
        let reference: Reference = text.parse().map_err(|error| {
            Problem::new(ProblemCode::CommandArgument, format!("`{reference}`: {error}")).remedy(example)
        })?;
        let host = reference.resolve_registry();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let plain = args.plain_http || matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        let login = match &args.username {
            Some(username) => {
                let password = environment.get("BERTH_REGISTRY_PASSWORD").ok_or_else(|| {
                    Problem::new(ProblemCode::CommandArgument, "no password for --username").remedy(
                        "set BERTH_REGISTRY_PASSWORD; other users could see a password on the command line",
                    )
                })?;
                Login::Password { username: username.clone(), password: password.into() }
            }
            None => docker_credentials(host, environment)?
                .map_or(Login::Anonymous, |(username, password)| Login::Password { username, password }),
        };
        let realm = environment.get(REALM).map(|realm| {
            Url::parse(realm).map_err(|error| {
                Problem::new(
                    ProblemCode::CommandArgument,
                    format!("{REALM}: `{realm}` is not a URL: {error}"),
                )
                .remedy("name the token service as in `https://auth.example.com`")
            })
        });
        Ok(Self { reference, login, realm: realm.transpose()?, plain, http })
    }

    fn client(&self, actions: &'static str) -> Result<RegistryClient<'_>, Problem> {
        let scheme = if self.plain { "http" } else { "https" };
        let host = self.reference.resolve_registry();
        let registry = Url::parse(&format!("{scheme}://{host}/")).map_err(|error| {
            Problem::new(ProblemCode::CommandArgument, format!("`{host}` is not a valid address: {error}"))
        })?;
        Ok(RegistryClient {
            http: self.http.client().map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?,
            registry,
            repository: self.reference.repository(),
            login: &self.login,
            realm: self.realm.as_ref(),
            actions,
            authorization: Mutex::default(),
        })
    }

    /// Returns what the reference names: a digest or a tag.
    fn tag(&self) -> &str {
        self.reference.digest().or_else(|| self.reference.tag()).unwrap_or("latest")
    }

    /// Pushes a component. Returns the manifest's digest.
    ///
    /// # Errors
    /// A [`Problem`] that names the registry and its answer.
    pub(crate) async fn push(
        &self,
        info: &PluginInfo,
        component: Vec<u8>,
        signature: Option<String>,
    ) -> Result<String, Problem> {
        let component = Bytes::from(component);
        let layer = blob(LAYER, &component);
        let config = json!({
            "created": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer.digest],
            "component": {
                "exports": [format!("berth:plugin/mapper@{}", info.contract)],
                "imports": info.imports,
                "target": null,
            },
        });
        let config_bytes = Bytes::from(config.to_string());
        let mut annotations = BTreeMap::from([
            ("org.opencontainers.image.title".to_owned(), info.name.clone()),
            ("org.opencontainers.image.version".to_owned(), info.version.clone()),
        ]);
        // Lists show this text.
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        annotations.extend(
            info.manifest
                .description
                .clone()
                .map(|text| ("org.opencontainers.image.description".to_owned(), one_line(text))),
        );
        annotations.extend(signature.map(|text| (SIGNATURE.to_owned(), BASE64_STANDARD.encode(text))));
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: blob(CONFIG, &config_bytes),
            layers: vec![layer],
            annotations,
        };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
        let digest = client::digest(&manifest);
        let client = self.client("pull,push")?;
        let pushed = async {
            client.put_blob(component).await?;
            client.put_blob(config_bytes).await?;
            client.put_manifest(self.tag(), MANIFEST, manifest.into()).await
        };
        pushed.await.map_err(|error| self.problem("cannot push the plugin", &error))?;
        Ok(digest)
    }

    /// Pulls the plugin.
    ///
    /// # Errors
    /// A [`Problem`] that names the registry and its answer, or what the reference points to instead of a
    /// plugin.
    pub(crate) async fn pull(&self) -> Result<Pulled, Problem> {
        let client = self.client("pull")?;
        let failed = |error| self.problem("cannot pull the plugin", &error);
        let (bytes, digest) = client.manifest(self.tag()).await.map_err(failed)?;
        let other = |what: String| {
            Problem::new(
                ProblemCode::PluginInvalid,
                format!("{} is not a WebAssembly component: {what}", self.reference),
            )
            .remedy("push a plugin there with `berth plugin push` or `wkg oci push`")
        };
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if value["mediaType"] == INDEX {
            return Err(other(format!("it is an index ({INDEX})")));
        }
        let manifest: Manifest = serde_json::from_value(value)
            .map_err(|error| other(format!("cannot parse its manifest: {error}")))?;
        if manifest.config.media_type != CONFIG {
            return Err(other(format!("its config is `{}`, not `{CONFIG}`", manifest.config.media_type)));
        }
        let [layer] = &manifest.layers[..] else {
            return Err(other(format!("it has {} layers, not one", manifest.layers.len())));
        };
        if layer.media_type != LAYER {
            return Err(other(format!("its layer is `{}`, not `{LAYER}`", layer.media_type)));
        }
        let component = client.blob(&layer.digest, COMPONENT_BYTES).await.map_err(failed)?;
        let signature = manifest.annotations.get(SIGNATURE).cloned();
        let text = |encoded: String| {
            let bytes = BASE64_STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok()
        };
        let signature = match signature.map(text) {
            Some(None) => return Err(other(format!("its annotation `{SIGNATURE}` is not a text in Base64"))),
            signature => signature.flatten(),
        };
        let name = self.reference.repository().rsplit('/').next().unwrap_or("plugin");
        Ok(Pulled { component: component.into(), signature, digest, file_name: format!("{name}.wasm") })
    }

    fn problem(&self, what: &str, error: &ClientError) -> Problem {
        let remedy = match error {
            ClientError::Transport(error) if error.cause() == TransportCause::NotTls => {
                "use --plain-http for a registry without TLS".into()
            }
            ClientError::Transport(error) => error.remedy(REGISTRY),
            ClientError::Refused { status: 401 | 403, .. } => {
                "log in with `docker login`, or give --username and BERTH_REGISTRY_PASSWORD".into()
            }
            ClientError::ForeignRealm(realm) => format!(
                "if the service may get the password, set {REALM}={realm}; otherwise tell the registry's \
                operator"
            ),
            ClientError::Unprotected(_) => {
                "tell the registry's operator: the registry has to name an `https://` address".into()
            }
            ClientError::OtherDigest { .. } | ClientError::TooLarge(_) => {
                "the content does not match the manifest: try again, and report it to the registry's \
                operator"
                    .into()
            }
            ClientError::Refused { .. } | ClientError::Malformed(_) => {
                "check the reference, and the permissions of the credentials".into()
            }
        };
        Problem::new(ProblemCode::RegistryFailed, format!("{}: {what}: {error}", self.reference))
            .remedy(remedy)
    }
}

fn blob(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: client::digest(bytes), size: bytes.len() as u64 }
}

/// Reads the credentials that `docker login` stored for a registry, if they are in the file itself.
fn docker_credentials(
    registry: &str,
    environment: &Environment,
) -> Result<Option<(String, SecretString)>, Problem> {
    let folder = environment.get("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".docker")));
    let Some(file) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
    let refused = |what: &str| {
        Problem::new(ProblemCode::CommandArgument, format!("{}: {what}", file.display()))
            .remedy("log in again with `docker login`, or give --username and BERTH_REGISTRY_PASSWORD")
    };
    let config: Value = serde_json::from_str(&text).map_err(|error| refused(&error.to_string()))?;
    let Some(entry) = config["auths"].get(registry) else { return Ok(None) };
    let Some(encoded) = entry["auth"].as_str().filter(|encoded| !encoded.is_empty()) else {
        return Err(refused(&format!(
            "a helper program stores the credentials for {registry}, and Berth does not call it"
        )));
    };
    let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
    let (username, password) =
        pair.ok_or_else(|| refused(&format!("cannot parse the credentials for {registry}")))?;
    Ok(Some((username.to_owned(), password.trim_end_matches('\0').to_owned().into())))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn registry(
        reference: &str,
        args: &RegistryArgs,
        environment: &Environment,
    ) -> Result<Registry, Problem> {
        Registry::new(reference, args, environment, HttpParts::default())
    }

    fn args(username: Option<&str>, plain_http: bool) -> RegistryArgs {
        RegistryArgs { username: username.map(ToOwned::to_owned), plain_http }
    }

    #[test]
    fn plain_http_is_for_this_machine_or_asked_for() {
        for (reference, asked, plain) in [
            ("oci://localhost:5000/plugins/a:1", false, true),
            ("127.0.0.1:5000/a:1", false, true),
            ("registry.example.com/a:1", false, false),
            ("localhost.example.com/a:1", false, false),
            ("registry.example.com:5000/a:1", true, true),
        ] {
            let registry = registry(reference, &args(None, asked), &Environment::of(&[])).unwrap();
            assert_eq!(registry.plain, plain, "{reference}");
        }
        for nowhere in ["a:1", "plugins/a:1", "oci://", "registry.example.com/A B", "registry.example.com"] {
            let problem = registry(nowhere, &args(None, false), &Environment::of(&[])).unwrap_err();
            assert!(problem.remedy.is_some(), "{nowhere}: {problem}");
        }
    }

    #[test]
    fn credentials_come_from_dockers_file_or_the_environment_and_are_shown_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let environment =
            Environment::of(&[("DOCKER_CONFIG", folder), ("BERTH_REGISTRY_PASSWORD", "hush-variable")]);
        let of = |reference: &str, username: Option<&str>| {
            registry(reference, &args(username, false), &environment)
        };
        let login = |reference: &str, username: Option<&str>| match of(reference, username).unwrap().login {
            Login::Password { username, password } => Some((username, password.expose_secret().to_owned())),
            Login::Anonymous => None,
        };
        let password = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(login("r.example.com/a:1", None), None, "no file");
        let config = json!({"auths": {
            "r.example.com": {"auth": BASE64_STANDARD.encode("ada:hush:file")},
            "odd.example.com": {"auth": "%"},
            "kept.example.com": {},
        }, "credsStore": "desktop"});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        assert_eq!(login("r.example.com/a:1", None), password("ada", "hush:file"));
        assert!(!format!("{:?}", of("r.example.com/a:1", None)).contains("hush"));
        assert_eq!(login("r.example.com/a:1", Some("bob")), password("bob", "hush-variable"));
        assert_eq!(login("other.example.com/a:1", None), None);
        for (registry, expected) in [("odd", "cannot parse"), ("kept", "helper program stores")] {
            let problem = of(&format!("{registry}.example.com/a:1"), None).unwrap_err();
            assert!(problem.message.contains(expected), "{problem}");
        }
        let without = registry("r.example.com/a:1", &args(Some("bob"), false), &Environment::of(&[]));
        assert!(without.unwrap_err().remedy.is_some_and(|remedy| remedy.contains("BERTH_REGISTRY_PASSWORD")));
    }
}
