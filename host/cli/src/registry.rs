//! Plugins in OCI registries, in the form that `wkg` gives WebAssembly components: one layer of
//! `application/wasm`, and a config that says what it imports and exports
//! ([Wasm OCI Artifact](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/)).
//! A signature travels as an annotation of the manifest, since there is exactly one layer.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use berth_embed::{HttpConfig, PluginInfo, Problem, ProxyUrl, Roots};
use oci_client::{
    Client, Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer},
    errors::OciDistributionError,
    manifest::{OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::io::AsyncWrite;
use url::Url;

use crate::{args::RegistryArgs, settings::Environment};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The signature's annotation: a `.minisig` file, in Base64.
const SIGNATURE: &str = "io.github.berth-sync.minisig";
/// Larger files are no plugins.
const COMPONENT_BYTES: usize = 256 << 20;
/// What names a place in a registry on the command line, where it could be a file as well.
const SCHEME: &str = "oci://";

/// A place in a registry, and who asks there.
#[derive(Debug)]
pub(crate) struct Registry {
    reference: Reference,
    auth: RegistryAuth,
    plain: bool,
    http: HttpConfig,
}

/// A plugin that was fetched.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// The component. Its digest is the one that the manifest names.
    pub(crate) component: Vec<u8>,
    /// The text of its signature, if it has one.
    pub(crate) signature: Option<String>,
    /// The manifest's digest.
    pub(crate) digest: String,
    /// A name for its file.
    pub(crate) file_name: String,
}

/// Whether an argument names a place in a registry.
pub(crate) fn is_reference(argument: &Path) -> bool {
    argument.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

impl Registry {
    /// Understands a reference (`oci://registry/repository:tag`, with or without the scheme) and
    /// finds the credentials for it.
    ///
    /// # Errors
    /// A [`Problem`] with the reference or the credentials' file.
    pub(crate) fn new(
        reference: &str,
        args: &RegistryArgs,
        environment: &Environment,
        http: HttpConfig,
    ) -> Result<Self, Problem> {
        let text = reference.strip_prefix(SCHEME).unwrap_or(reference);
        let example = "name it as in `registry.example.com/plugins/acme-widget:1.0.0`";
        let first = text.split('/').next().unwrap_or_default();
        // Else it would be looked for at Docker Hub.
        if !(first.contains(['.', ':']) || first == "localhost") || !text.contains('/') {
            return Err(Problem::new(format!("`{reference}` names no registry")).remedy(example));
        }
        let reference: Reference =
            text.parse().map_err(|error| Problem::new(format!("`{reference}`: {error}")).remedy(example))?;
        let host = reference.resolve_registry();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let plain = args.plain_http || matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        let auth = match &args.username {
            Some(username) => {
                let password = environment.get("BERTH_REGISTRY_PASSWORD").ok_or_else(|| {
                    Problem::new("there is no password for --username").remedy(
                        "set BERTH_REGISTRY_PASSWORD; a password on the command line could be seen by others",
                    )
                })?;
                RegistryAuth::Basic(username.clone(), password.to_owned())
            }
            None => docker_credentials(host, environment)?
                .map_or(RegistryAuth::Anonymous, |(username, password)| {
                    RegistryAuth::Basic(username, password.expose_secret().to_owned())
                }),
        };
        Ok(Self { reference, auth, plain, http })
    }

    fn client(&self) -> Result<Client, Problem> {
        // Set by nobody else, unless it is the same.
        _ = rustls::crypto::ring::default_provider().install_default();
        let protocol = if self.plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let HttpConfig { proxies, roots, unverified } = &self.http;
        if *unverified {
            tracing::warn!("the registry's certificate is not checked: plugins may come from anybody");
        }
        let certificate =
            |der: &[u8]| Certificate { encoding: CertificateEncoding::Der, data: der.to_owned() };
        let scheme = if self.plain { "http" } else { "https" };
        let address = Url::parse(&format!("{scheme}://{}", self.reference.resolve_registry()));
        let proxy = address.ok().and_then(|address| proxies.of(&address)).map(ProxyUrl::with_login);
        let config = ClientConfig {
            protocol,
            accept_invalid_certificates: *unverified,
            // None: those that the system trusts.
            tls_certs_only: roots.iter().flat_map(Roots::certificates).map(certificate).collect(),
            http_proxy: proxy.map(ToOwned::to_owned),
            https_proxy: proxy.map(ToOwned::to_owned),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_mins(1)),
            ..ClientConfig::default()
        };
        Client::try_from(config).map_err(|error| self.problem("the HTTP client cannot be made", &error))
    }

    /// Puts a component there. Gives the manifest's digest.
    ///
    /// # Errors
    /// A [`Problem`] that names the registry and what it said.
    pub(crate) async fn push(
        &self,
        info: &PluginInfo,
        component: Vec<u8>,
        signature: Option<String>,
    ) -> Result<String, Problem> {
        let layer = ImageLayer::new(component, LAYER.to_owned(), None);
        let config = json!({
            "created": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer.sha256_digest()],
            "component": {
                "exports": [format!("berth:plugin/mapper@{}", info.contract)],
                "imports": info.imports,
                "target": null,
            },
        });
        let config = Config::new(config.to_string().into_bytes(), CONFIG.to_owned(), None);
        let mut annotations = BTreeMap::from([
            ("org.opencontainers.image.title".to_owned(), info.name.clone()),
            ("org.opencontainers.image.version".to_owned(), info.version.clone()),
        ]);
        // The canonical JSON of manifests has no escapes for line breaks.
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        annotations.extend(
            info.manifest
                .description
                .clone()
                .map(|text| ("org.opencontainers.image.description".to_owned(), one_line(text))),
        );
        annotations.extend(signature.map(|text| (SIGNATURE.to_owned(), BASE64_STANDARD.encode(text))));
        let layers = [layer];
        let mut manifest = OciImageManifest::build(&layers, &config, Some(annotations));
        manifest.media_type = Some(MANIFEST.to_owned());
        let client = self.client()?;
        let failed = |error| self.problem("the plugin was not pushed", &error);
        client.push(&self.reference, &layers, config, &self.auth, Some(manifest)).await.map_err(failed)?;
        client.fetch_manifest_digest(&self.reference, &self.auth).await.map_err(failed)
    }

    /// Fetches what is there.
    ///
    /// # Errors
    /// A [`Problem`] that names the registry and what it said, or what is there instead of a plugin.
    pub(crate) async fn pull(&self) -> Result<Pulled, Problem> {
        let client = self.client()?;
        let failed = |error| self.problem("the plugin was not pulled", &error);
        let (manifest, digest) = client.pull_manifest(&self.reference, &self.auth).await.map_err(failed)?;
        let other = |what: String| {
            Problem::new(format!("{} is no WebAssembly component: {what}", self.reference))
                .remedy("`berth plugin push` or `wkg oci push` put one there")
        };
        let OciManifest::Image(manifest) = manifest else {
            return Err(other(format!("it is an index ({INDEX})")));
        };
        if manifest.config.media_type != CONFIG {
            return Err(other(format!("its config is `{}`, not `{CONFIG}`", manifest.config.media_type)));
        }
        let [layer] = &manifest.layers[..] else {
            return Err(other(format!("it has {} layers, not one", manifest.layers.len())));
        };
        if layer.media_type != LAYER {
            return Err(other(format!("its layer is `{}`, not `{LAYER}`", layer.media_type)));
        }
        let mut component = Bounded(Vec::new());
        client.pull_blob(&self.reference, layer, &mut component).await.map_err(failed)?;
        let signature = manifest.annotations.unwrap_or_default().remove(SIGNATURE);
        let text = |encoded: String| {
            let bytes = BASE64_STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok()
        };
        let signature = match signature.map(text) {
            Some(None) => return Err(other(format!("its annotation `{SIGNATURE}` is no text in Base64"))),
            signature => signature.flatten(),
        };
        let name = self.reference.repository().rsplit('/').next().unwrap_or("plugin");
        Ok(Pulled { component: component.0, signature, digest, file_name: format!("{name}.wasm") })
    }

    fn problem(&self, what: &str, error: &OciDistributionError) -> Problem {
        let remedy = match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                "log in with `docker login`, or give --username and BERTH_REGISTRY_PASSWORD"
            }
            OciDistributionError::RequestError(_) => {
                "check the registry's name, and whether it can be reached: one without TLS needs --plain-http, a certificate \
                 authority of your own SSL_CERT_FILE, a proxy HTTPS_PROXY"
            }
            OciDistributionError::DigestError(_) => {
                "what came is not what the manifest names: try again, and report it to who runs the registry"
            }
            _ => "check the reference, and the rights that the credentials have there",
        };
        let cause = Problem::from_error(error).message;
        Problem::new(format!("{}: {what}: {cause}", self.reference)).remedy(remedy)
    }
}

/// Bytes that may become as many as a plugin may have.
struct Bounded(Vec<u8>);

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.0.len() + bytes.len() > COMPONENT_BYTES {
            return Poll::Ready(Err(io::Error::other(format!("it has more than {COMPONENT_BYTES} bytes"))));
        }
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What `docker login` wrote for a registry, where it wrote it into the file itself.
fn docker_credentials(
    registry: &str,
    environment: &Environment,
) -> Result<Option<(String, SecretString)>, Problem> {
    let folder = environment.get("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".docker")));
    let Some(file) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
    let refused = |what: &str| {
        Problem::new(format!("{}: {what}", file.display()))
            .remedy("log in again with `docker login`, or give --username and BERTH_REGISTRY_PASSWORD")
    };
    let config: Value = serde_json::from_str(&text).map_err(|error| refused(&error.to_string()))?;
    let Some(entry) = config["auths"].get(registry) else { return Ok(None) };
    let Some(encoded) = entry["auth"].as_str().filter(|encoded| !encoded.is_empty()) else {
        return Err(refused(&format!(
            "the credentials for {registry} are kept by a helper program, which is not asked"
        )));
    };
    let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
    let (username, password) =
        pair.ok_or_else(|| refused(&format!("the credentials for {registry} are not understood")))?;
    Ok(Some((username.to_owned(), password.trim_end_matches('\0').to_owned().into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(
        reference: &str,
        args: &RegistryArgs,
        environment: &Environment,
    ) -> Result<Registry, Problem> {
        Registry::new(reference, args, environment, HttpConfig::default())
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
        let basic = |name: &str, password: &str| RegistryAuth::Basic(name.into(), password.into());
        assert_eq!(of("r.example.com/a:1", None).unwrap().auth, RegistryAuth::Anonymous, "no file");
        let config = json!({"auths": {
            "r.example.com": {"auth": BASE64_STANDARD.encode("ada:hush:file")},
            "odd.example.com": {"auth": "%"},
            "kept.example.com": {},
        }, "credsStore": "desktop"});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let found = of("r.example.com/a:1", None).unwrap();
        assert_eq!(found.auth, basic("ada", "hush:file"));
        assert!(!format!("{found:?}").contains("hush"));
        assert_eq!(of("r.example.com/a:1", Some("bob")).unwrap().auth, basic("bob", "hush-variable"));
        assert_eq!(of("other.example.com/a:1", None).unwrap().auth, RegistryAuth::Anonymous);
        for (registry, told) in [("odd", "not understood"), ("kept", "kept by a helper program")] {
            let problem = of(&format!("{registry}.example.com/a:1"), None).unwrap_err();
            assert!(problem.message.contains(told), "{problem}");
        }
        let without = registry("r.example.com/a:1", &args(Some("bob"), false), &Environment::of(&[]));
        assert!(without.unwrap_err().remedy.is_some_and(|remedy| remedy.contains("BERTH_REGISTRY_PASSWORD")));
    }
}
