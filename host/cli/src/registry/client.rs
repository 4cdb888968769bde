//! The part of the OCI distribution protocol that one artifact needs.
//!
//! # Invariants
//! - The password goes only to the registry and to its own token service, the token only to the registry.
//! - No response is read beyond its limit.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use berth_http::{BodyError, TransportError, is_private, is_same_owner, read_body};
use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The most bytes of a manifest: registries accept no larger ones.
const MANIFEST_BYTES: usize = 4 << 20;
/// The most bytes of a token or an error.
const SMALL_BYTES: usize = 64 << 10;
/// How many redirects are followed for a blob.
const REDIRECTS: u32 = 5;
/// The timeout of a request, and of one that carries a component.
const PATIENCE: Duration = Duration::from_mins(1);
const TRANSFER: Duration = Duration::from_mins(10);

/// The credentials.
#[derive(Debug, Clone)]
pub(super) enum Login {
    Anonymous,
    Password { username: String, password: SecretString },
}

/// Why a request to the registry failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the registry returned {status}{text}")]
    Refused { status: u16, text: String },
    #[error("the token service {0} is not below the registry's domain, so Berth does not send the password")]
    ForeignRealm(String),
    #[error("{0} does not use https")]
    Unprotected(String),
    #[error("the response has more than {0} bytes")]
    TooLarge(usize),
    #[error("the digest is {found}, not {expected}")]
    OtherDigest { expected: String, found: String },
    #[error("{0}")]
    Malformed(String),
}

/// A repository of a registry.
pub(super) struct RegistryClient<'a> {
    pub(super) http: reqwest::Client,
    /// `https://registry.example.com/`.
    pub(super) registry: Url,
    pub(super) repository: &'a str,
    pub(super) login: &'a Login,
    /// A token service of another domain that the operator named.
    pub(super) realm: Option<&'a Url>,
    /// The requested actions: `pull`, or `pull,push`.
    pub(super) actions: &'static str,
    pub(super) authorization: Mutex<Option<HeaderValue>>,
}

/// Returns the digest of some bytes, in the registries' notation.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

impl RegistryClient<'_> {
    /// Returns a manifest and its digest.
    pub(super) async fn manifest(&self, tag: &str) -> Result<(Bytes, String), ClientError> {
        let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let url = self.url(&format!("manifests/{tag}"))?;
        let ask = |url: &Url| self.http.get(url.clone()).header(ACCEPT, accept).timeout(PATIENCE);
        let answer = accepted(self.send(&url, ask).await?).await?;
        let named = answer.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
        let named = named.map(ToOwned::to_owned);
        let bytes = read(answer, MANIFEST_BYTES).await?;
        let found = digest(&bytes);
        let asked = tag.contains(':').then(|| tag.to_owned());
        for expected in [asked, named].into_iter().flatten() {
            check(&expected, &found)?;
        }
        Ok((bytes, found))
    }

    /// Returns a blob of at most `limit` bytes.
    pub(super) async fn blob(&self, expected: &str, limit: usize) -> Result<Bytes, ClientError> {
        let mut url = self.url(&format!("blobs/{expected}"))?;
        for _ in 0..=REDIRECTS {
            let answer = self.send(&url, |url| self.http.get(url.clone()).timeout(TRANSFER)).await?;
            if !answer.status().is_redirection() {
                let bytes = read(accepted(answer).await?, limit).await?;
                check(expected, &digest(&bytes))?;
                return Ok(bytes);
            }
            url = location(&answer, &url)?;
        }
        Err(ClientError::Malformed(format!("the blob was not found after {REDIRECTS} redirects")))
    }

    /// Uploads a blob, unless it exists. Returns its digest.
    pub(super) async fn put_blob(&self, bytes: Bytes) -> Result<String, ClientError> {
        let digest = digest(&bytes);
        let known = self.url(&format!("blobs/{digest}"))?;
        let known = self.send(&known, |url| self.http.head(url.clone()).timeout(PATIENCE)).await?;
        if known.status().is_success() {
            return Ok(digest);
        }
        let uploads = self.url("blobs/uploads/")?;
        let begun = self.send(&uploads, |url| self.http.post(url.clone()).timeout(PATIENCE)).await?;
        let mut url = location(&accepted(begun).await?, &uploads)?;
        url.query_pairs_mut().append_pair("digest", &digest);
        accepted(self.put(&url, "application/octet-stream", bytes).await?).await?;
        Ok(digest)
    }

    /// Uploads a manifest.
    pub(super) async fn put_manifest(
        &self,
        tag: &str,
        media_type: &'static str,
        bytes: Bytes,
    ) -> Result<(), ClientError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        accepted(self.put(&url, media_type, bytes).await?).await?;
        Ok(())
    }

    async fn put(&self, url: &Url, media_type: &'static str, bytes: Bytes) -> Result<Response, ClientError> {
        let request = |url: &Url| {
            let request = self.http.request(Method::PUT, url.clone()).timeout(TRANSFER);
            request.header(CONTENT_TYPE, media_type).body(bytes.clone())
        };
        self.send(url, request).await
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        let path = format!("v2/{}/{path}", self.repository);
        self.registry.join(&path).map_err(|error| ClientError::Malformed(format!("`{path}`: {error}")))
    }

    /// Sends a request, with credentials if the registry requires them.
    async fn send(
        &self,
        url: &Url,
        request: impl Fn(&Url) -> RequestBuilder,
    ) -> Result<Response, ClientError> {
        let is_registry = url.origin() == self.registry.origin();
        if !is_registry && !is_private(url) {
            return Err(ClientError::Unprotected(origin(url)));
        }
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = sent(with(request(url), known.filter(|_| is_registry))).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !is_registry {
            return Ok(answer);
        }
        let Some(authorization) = self.authorize(&answer).await? else { return Ok(answer) };
        let answer = sent(with(request(url), Some(authorization.clone()))).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(answer)
    }

    /// Returns the header that the registry asks for; `None` without credentials.
    async fn authorize(&self, answer: &Response) -> Result<Option<HeaderValue>, ClientError> {
        let asked = answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|asked| asked.to_str().ok());
        for text in asked {
            for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
                    let realm = realm.ok_or_else(|| {
                        ClientError::Malformed("the registry names no address for its tokens".into())
                    })?;
                    return self.token(realm, parameter("service")).await.map(Some);
                }
                if challenge.scheme.eq_ignore_ascii_case("basic")
                    && let Login::Password { username, password } = self.login
                {
                    return basic(username, password).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Gets a token from the registry's token service.
    async fn token(&self, mut realm: Url, service: Option<String>) -> Result<HeaderValue, ClientError> {
        if !is_private(&realm) {
            return Err(ClientError::Unprotected(origin(&realm)));
        }
        let is_own = is_same_owner(&realm, &self.registry)
            || self.realm.is_some_and(|named| named.origin() == realm.origin());
        let login = match self.login {
            Login::Password { .. } if !is_own => return Err(ClientError::ForeignRealm(origin(&realm))),
            Login::Password { username, password } => Some(basic(username, password)?),
            Login::Anonymous => None,
        };
        let scope = format!("repository:{}:{}", self.repository, self.actions);
        realm.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            realm.query_pairs_mut().append_pair("service", &service);
        }
        let answer = accepted(sent(with(self.http.get(realm).timeout(PATIENCE), login)).await?).await?;
        let answer: Value = serde_json::from_slice(&read(answer, SMALL_BYTES).await?)
            .map_err(|error| ClientError::Malformed(format!("cannot parse the token: {error}")))?;
        let token = answer["token"].as_str().or_else(|| answer["access_token"].as_str());
        let token =
            token.ok_or_else(|| ClientError::Malformed("the token service returned no token".into()))?;
        secret(format!("Bearer {token}"))
    }
}

fn with(request: RequestBuilder, authorization: Option<HeaderValue>) -> RequestBuilder {
    match authorization {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    }
}

async fn sent(request: RequestBuilder) -> Result<Response, ClientError> {
    let answer = request.send().await.map_err(TransportError::new)?;
    match answer.status() {
        // This answer is from a proxy, not from the registry.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(TransportError::proxy_login().into()),
        _ => Ok(answer),
    }
}

/// Returns a successful response, or the registry's error.
async fn accepted(answer: Response) -> Result<Response, ClientError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = read(answer, SMALL_BYTES).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reported = &body["errors"][0];
    let text = match (reported["code"].as_str(), reported["message"].as_str()) {
        (Some(code), Some(message)) => format!(" {code}: {message}"),
        (Some(text), None) | (None, Some(text)) => format!(": {text}"),
        (None, None) => String::new(),
    };
    Err(ClientError::Refused { status: status.as_u16(), text })
}

async fn read(answer: Response, limit: usize) -> Result<Bytes, ClientError> {
    read_body(answer, limit).await.map_err(|error| match error {
        BodyError::Silent(error) => TransportError::new(error).into(),
        BodyError::TooLarge => ClientError::TooLarge(limit),
    })
}

fn location(answer: &Response, asked: &Url) -> Result<Url, ClientError> {
    let named = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let named = named.and_then(|location| asked.join(location).ok());
    named.ok_or_else(|| ClientError::Malformed("the registry does not name the next address".into()))
}

fn check(expected: &str, found: &str) -> Result<(), ClientError> {
    if expected == found {
        return Ok(());
    }
    Err(ClientError::OtherDigest { expected: expected.to_owned(), found: found.to_owned() })
}

fn basic(username: &str, password: &SecretString) -> Result<HeaderValue, ClientError> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let pair = BASE64_STANDARD.encode(format!("{username}:{}", password.expose_secret()));
    secret(format!("Basic {pair}"))
}

fn secret(text: String) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        ClientError::Malformed("the credentials contain a character that a header cannot hold".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns a URL without the parts that may be secret.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests;
