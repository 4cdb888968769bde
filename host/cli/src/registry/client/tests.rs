use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::Response,
};
use berth_http::HttpParts;

use super::*;

/// The received requests: path with query, and credentials.
type Seen = Arc<Mutex<Vec<(String, String)>>>;
type Answer = dyn Fn(&str, &str) -> Response<Body> + Send + Sync;

/// Starts a server on this machine; returns its port, and the received requests.
async fn serve(answer: impl Fn(&str, &str) -> Response<Body> + Send + Sync + 'static) -> (u16, Seen) {
    let seen = Seen::default();
    let answer: Arc<Answer> = Arc::new(answer);
    let state = (Arc::clone(&seen), answer);
    let handler = |State((seen, answer)): State<(Seen, Arc<Answer>)>, request: Request| async move {
        let path = request.uri().to_string();
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.map_or("", |value| value.to_str().unwrap()).to_owned();
        seen.lock().unwrap().push((path.clone(), authorization.clone()));
        answer(&path, &authorization)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(handler).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, seen)
}

fn answer(status: u16, head: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in head {
        answer = answer.header(*name, *value);
    }
    answer.body(body.into()).unwrap()
}

/// A registry that requires a token of a token service.
fn wants_token(realm: String) -> impl Fn(&str, &str) -> Response<Body> + Send + Sync {
    move |path, authorization| match authorization {
        "Bearer hush-token" if path.contains("/blobs/") => answer(200, &[], "component"),
        _ => answer(401, &[("www-authenticate", &format!("Bearer realm=\"{realm}\",service=\"r\""))], ""),
    }
}

fn token_service(_: &str, _: &str) -> Response<Body> {
    answer(200, &[], r#"{"token": "hush-token"}"#)
}

fn client<'a>(port: u16, login: &'a Login, realm: Option<&'a Url>) -> RegistryClient<'a> {
    RegistryClient {
        http: HttpParts::default().client().unwrap(),
        registry: Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap(),
        repository: "plugins/widget",
        login,
        realm,
        actions: "pull",
        authorization: Mutex::default(),
    }
}

fn ada() -> Login {
    Login::Password { username: "ada".into(), password: "hush".into() }
}

#[tokio::test]
async fn the_password_goes_to_the_registrys_own_token_service_only() {
    let digest = digest(b"component");
    let login = ada();

    let (service, asked) = serve(token_service).await;
    let (port, _) = serve(wants_token(format!("http://127.0.0.1:{service}/token"))).await;
    assert_eq!(client(port, &login, None).blob(&digest, 100).await.unwrap(), "component");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].0, "/token?scope=repository%3Aplugins%2Fwidget%3Apull&service=r");
    assert_eq!(asked[0].1, "Basic YWRhOmh1c2g=");

    // The names say that the service has another owner.
    let (service, asked) = serve(token_service).await;
    let realm = format!("http://localhost:{service}/token");
    let (port, _) = serve(wants_token(realm.clone())).await;
    let error = client(port, &login, None).blob(&digest, 100).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::ForeignRealm(reported) if realm.starts_with(reported)),
        "{error:?}"
    );
    assert_eq!(asked.lock().unwrap().len(), 0);
    let named = Url::parse(&realm).unwrap();
    assert!(client(port, &login, Some(&named)).blob(&digest, 100).await.is_ok());
    // Without a password there is nothing to protect.
    assert!(client(port, &Login::Anonymous, None).blob(&digest, 100).await.is_ok());
    assert_eq!(asked.lock().unwrap().last().unwrap().1, "");

    for realm in ["http://auth.example/token", "ftp://127.0.0.1/token"] {
        let (port, _) = serve(wants_token(realm.into())).await;
        for login in [&login, &Login::Anonymous] {
            let error = client(port, login, None).blob(&digest, 100).await.unwrap_err();
            assert!(matches!(error, ClientError::Unprotected(_)), "{error:?}");
        }
    }
}

#[tokio::test]
async fn no_answer_is_read_beyond_its_bound() {
    let body = vec![b' '; MANIFEST_BYTES + 1];
    let large = body.clone();
    let (port, _) = serve(move |path, _| match path {
        path if path.ends_with("/announced") => answer(200, &[], large.clone()),
        path if path.ends_with("/fits") => answer(200, &[], vec![b' '; MANIFEST_BYTES]),
        _ => {
            let chunks =
                large.chunks(1 << 16).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)));
            let chunks: Vec<_> = chunks.collect();
            answer(200, &[], Body::from_stream(futures::stream::iter(chunks)))
        }
    })
    .await;
    let client = client(port, &Login::Anonymous, None);
    assert!(client.manifest("fits").await.is_ok());
    for tag in ["announced", "streamed"] {
        let error = client.manifest(tag).await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge(MANIFEST_BYTES)), "{tag}: {error:?}");
    }
    let error = client.blob(&digest(&body), 1000).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge(1000)), "{error:?}");
}

#[tokio::test]
async fn a_blob_may_be_elsewhere_and_no_credentials_go_there() {
    let digest = digest(b"component");
    let (store, asked) = serve(|_, _| answer(200, &[], "component")).await;
    let to = move |place: String| {
        move |_: &str, authorization: &str| match authorization {
            "" => answer(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
            _ => answer(307, &[("location", &place)], ""),
        }
    };
    let login = ada();
    let (port, _) = serve(to(format!("http://127.0.0.1:{store}/signed?key=1"))).await;
    assert_eq!(client(port, &login, None).blob(&digest, 100).await.unwrap(), "component");
    assert_eq!(*asked.lock().unwrap(), [("/signed?key=1".to_owned(), String::new())]);

    let (port, _) = serve(to("http://store.example/x".into())).await;
    let error = client(port, &login, None).blob(&digest, 100).await.unwrap_err();
    assert!(matches!(error, ClientError::Unprotected(_)), "{error:?}");

    let (port, seen) = serve(to("/again".into())).await;
    let error = client(port, &login, None).blob(&digest, 100).await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed(_)), "{error:?}");
    assert_eq!(seen.lock().unwrap().len(), 7, "one without credentials, and six with");
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_is_refused() {
    let (port, _) = serve(|path, _| match path {
        path if path.ends_with("/lies") => answer(200, &[("docker-content-digest", "sha256:00")], "{}"),
        path if path.ends_with("/denied") => {
            answer(403, &[], r#"{"errors": [{"code": "DENIED", "message": "not yours"}]}"#)
        }
        _ => answer(200, &[], "{}"),
    })
    .await;
    let client = client(port, &Login::Anonymous, None);
    let (_, found) = client.manifest("good").await.unwrap();
    assert_eq!(client.manifest(&found).await.unwrap().1, found);
    for (tag, text) in [
        ("lies", "the digest is"),
        (digest(b"other").as_str(), "the digest is"),
        ("denied", "the registry returned 403 DENIED: not yours"),
    ] {
        let error = client.manifest(tag).await.unwrap_err().to_string();
        assert!(error.starts_with(text), "{tag}: {error}");
    }
    let error = client.blob(&digest(b"other"), 100).await.unwrap_err();
    assert!(matches!(error, ClientError::OtherDigest { .. }), "{error:?}");
}
