//! OCI registries: a strict fake, and Debian's if it is installed.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::TcpListener as Socket,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, Response, StatusCode, header},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::tools::left_out;

/// A registry that stands in for one: it asks for a name and a password, and takes no blob of
/// another digest and no manifest whose blobs it does not have.
#[derive(Debug, Clone)]
pub struct Registry {
    kept: Arc<Mutex<Kept>>,
    port: u16,
}

#[derive(Debug, Default)]
struct Kept {
    /// The expected `Authorization`.
    authorization: String,
    /// By repository, what was sent so far.
    upload: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), Vec<u8>>,
    damaged: bool,
}

/// The digest of some bytes, as registries spell it.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

impl Registry {
    pub(crate) async fn start(username: &str, password: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let encoded = BASE64_STANDARD.encode(format!("{username}:{password}"));
        let kept = Kept { authorization: format!("Basic {encoded}"), ..Kept::default() };
        let registry = Self { kept: Arc::new(Mutex::new(kept)), port };
        let router =
            Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        registry
    }

    /// Where it listens, as it stands in references.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The manifest of a tag.
    pub fn manifest(&self, repository: &str, tag: &str) -> Value {
        let kept = self.kept();
        let bytes = kept.manifests.get(&(repository.to_owned(), tag.to_owned())).expect("a manifest");
        serde_json::from_slice(bytes).expect("a manifest is JSON")
    }

    /// A blob.
    pub fn blob(&self, digest: &str) -> Vec<u8> {
        self.kept().blobs.get(digest).expect("a blob").clone()
    }

    /// Puts a manifest there without a look at it.
    pub fn plant(&self, repository: &str, tag: &str, manifest: &Value) {
        let key = (repository.to_owned(), tag.to_owned());
        self.kept().manifests.insert(key, manifest.to_string().into_bytes());
    }

    /// Answers with other blobs than it was given from now on.
    pub fn damage(&self) {
        self.kept().damaged = true;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: &Method, path: &str, query: &str, body: &Bytes) -> Response<Body> {
        let mut kept = self.kept();
        let Some(path) = path.strip_prefix("/v2/") else { return empty(StatusCode::NOT_FOUND) };
        if path.is_empty() {
            return empty(StatusCode::OK);
        }
        if let Some((repository, _)) = path.split_once("/blobs/uploads/") {
            let location = format!("/v2/{repository}/blobs/uploads/1");
            let upload = kept.upload.entry(repository.to_owned()).or_default();
            match *method {
                Method::POST => upload.clear(),
                Method::PATCH => upload.extend_from_slice(body),
                Method::PUT => {
                    upload.extend_from_slice(body);
                    let blob = std::mem::take(upload);
                    let named = query.strip_prefix("digest=").unwrap_or_default().replace("%3A", ":");
                    if named != digest(&blob) {
                        return empty(StatusCode::BAD_REQUEST);
                    }
                    kept.blobs.insert(named.clone(), blob);
                    return located(StatusCode::CREATED, &format!("/v2/{repository}/blobs/{named}"));
                }
                _ => return empty(StatusCode::METHOD_NOT_ALLOWED),
            }
            return located(StatusCode::ACCEPTED, &location);
        }
        if let Some((_, named)) = path.split_once("/blobs/") {
            let Some(blob) = kept.blobs.get(named) else { return empty(StatusCode::NOT_FOUND) };
            let mut blob = blob.clone();
            if kept.damaged {
                blob[0] ^= 1;
            }
            return found(named, "application/octet-stream", blob);
        }
        let Some((repository, tag)) = path.split_once("/manifests/") else {
            return empty(StatusCode::NOT_FOUND);
        };
        let key = (repository.to_owned(), tag.to_owned());
        if *method == Method::PUT {
            let Ok(manifest) = serde_json::from_slice::<Value>(body) else {
                return empty(StatusCode::BAD_REQUEST);
            };
            let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
            let known =
                |blob: &Value| blob["digest"].as_str().is_some_and(|name| kept.blobs.contains_key(name));
            if !known(&manifest["config"]) || !layers.iter().all(known) {
                return empty(StatusCode::BAD_REQUEST);
            }
            kept.manifests.insert((repository.to_owned(), digest(body)), body.to_vec());
            kept.manifests.insert(key, body.to_vec());
            return located(StatusCode::CREATED, &format!("/v2/{repository}/manifests/{tag}"));
        }
        match kept.manifests.get(&key) {
            Some(bytes) => found(&digest(bytes), "application/vnd.oci.image.manifest.v1+json", bytes.clone()),
            None => empty(StatusCode::NOT_FOUND),
        }
    }
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    if asked != Some(registry.kept().authorization.as_str()) {
        let mut response = empty(StatusCode::UNAUTHORIZED);
        let challenge = header::HeaderValue::from_static("Basic realm=\"stand-in\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    registry.answer(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &body)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn located(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = empty(status);
    response.headers_mut().insert(header::LOCATION, location.parse().expect("a location"));
    response
}

fn found(digest: &str, media_type: &str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert("docker-content-digest", digest.parse().expect("a digest"));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().expect("a media type"));
    response
}

/// The registry of Debian's package `docker-registry`, without credentials.
pub struct DebianRegistry {
    process: Child,
    port: u16,
}

impl DebianRegistry {
    /// Starts it with its storage in a folder; `None` where it is not installed, which is told.
    pub fn start(folder: &Path) -> Option<Self> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.is_file() {
            left_out("no /usr/bin/docker-registry (install `docker-registry`)");
            return None;
        }
        // Nobody takes it in the moment until the registry does.
        let port = Socket::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).ok()?.port();
        let file = folder.join("registry.yml");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            folder.join("storage").display()
        );
        fs::write(&file, config).expect("a file");
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { process: command.spawn().expect("the registry starts"), port };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "the registry does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(registry)
    }

    /// Where it listens, as it stands in references.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl fmt::Debug for DebianRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebianRegistry").field("port", &self.port).finish_non_exhaustive()
    }
}
