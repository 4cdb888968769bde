//! AWS responses for what moto does not support: a folder for each service, a file for each operation, with the
//! parameters of the request and the response to exactly that request.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

/// The account that the files tell of. The answers name the account of the test in its place.
const ACCOUNT: &str = "111122223333";

/// A server of the answers in the files.
#[derive(Debug, Clone)]
pub struct Answers {
    exchanges: Arc<Vec<Exchange>>,
    account: String,
    port: u16,
}

/// What is asked, and what AWS answers.
#[derive(Debug)]
struct Exchange {
    service: String,
    /// As in `BatchGetBuilds`; the method in the protocols where the path tells the operation.
    operation: String,
    /// All parameters, and the path where that tells the operation.
    asked: Value,
    status: StatusCode,
    /// The code of an error, in the protocols that tell it in a header.
    error: Option<String>,
    answer: String,
    calls: AtomicUsize,
}

impl Answers {
    /// Serves the files to one account.
    pub(crate) async fn serve(account: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let files = files(&folder());
        let listed = files.iter().filter(|file| file.extension().is_some_and(|it| it == "json"));
        let exchanges = Arc::new(listed.flat_map(|file| Exchange::read(file, account)).collect());
        let answers = Self { exchanges, account: account.to_owned(), port };
        let router = Router::new().fallback(handle).with_state(answers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        answers
    }

    /// The variables that send the calls of just these services here.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        self.exchanges.iter().map(|exchange| &exchange.service).map(|service| {
            let variable = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase());
            (variable, format!("http://127.0.0.1:{}/{service}", self.port))
        })
    }

    /// What was asked for not at all, or more than once.
    pub fn not_asked_once(&self) -> Vec<String> {
        let calls = |exchange: &Exchange| exchange.calls.load(Ordering::Relaxed);
        let reported =
            |it: &Exchange| format!("{} {} {}: {} times", it.service, it.operation, it.asked, calls(it));
        self.exchanges.iter().filter(|exchange| calls(exchange) != 1).map(reported).collect()
    }

    /// A file beside the folders of the services, about the account of the test.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn file(&self, name: &str) -> Value {
        serde_json::from_str(&text(&folder().join(name), &self.account)).expect("the file is JSON")
    }
}

impl Exchange {
    /// All of a file.
    fn read(path: &Path, account: &str) -> Vec<Self> {
        let name =
            |path: Option<&Path>| path.and_then(Path::file_stem).map(|it| it.to_string_lossy().into_owned());
        let (Some(service), Some(operation)) = (name(path.parent()), name(Some(path))) else {
            return Vec::new();
        };
        let shown = path.display().to_string();
        let listed: Vec<Value> = serde_json::from_str(&text(path, account)).expect(&shown);
        let exchange = |listed: Value| Self {
            service: service.clone(),
            operation: operation.clone(),
            asked: listed["asked"].clone(),
            status: listed["status"].as_u64().map_or(StatusCode::OK, |status| {
                u16::try_from(status).ok().and_then(|it| StatusCode::from_u16(it).ok()).expect("a status")
            }),
            error: listed["error"].as_str().map(ToOwned::to_owned),
            // Answers in XML are files of their own.
            answer: listed["answer"].as_str().map_or_else(
                || listed["answer"].to_string(),
                |file| text(&path.with_file_name(file), account),
            ),
            calls: AtomicUsize::new(0),
        };
        listed.into_iter().map(exchange).collect()
    }
}

async fn handle(
    State(answers): State<Answers>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let called = uri.path().trim_start_matches('/');
    let (service, path) = called.split_once('/').unwrap_or((called, ""));
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (operation, asked) = if let Some((_, operation)) = header("x-amz-target").split_once('.') {
        (operation.to_owned(), json)
    } else if header("content-type").starts_with("application/x-www-form-urlencoded") {
        let mut form = pairs(&body);
        form.remove("Version");
        let operation = form.remove("Action").unwrap_or_default();
        (operation.as_str().unwrap_or_default().to_owned(), Value::Object(form))
    } else {
        let mut asked = pairs(uri.query().unwrap_or_default().as_bytes());
        asked.extend(json.as_object().cloned().unwrap_or_default());
        asked.insert("path".to_owned(), json!(format!("/{path}")));
        (method.to_string(), Value::Object(asked))
    };
    let found = answers
        .exchanges
        .iter()
        .find(|it| it.service == service && it.operation == operation && it.asked == asked);
    let Some(exchange) = found else {
        let message = format!("no answer to {service} {operation} {asked}");
        let body = json!({"__type": "NoSuchAnswerInTheFiles", "message": message});
        return (StatusCode::NOT_IMPLEMENTED, body.to_string()).into_response();
    };
    exchange.calls.fetch_add(1, Ordering::Relaxed);
    let kind = if exchange.answer.starts_with('<') { "text/xml" } else { "application/x-amz-json-1.1" };
    let error = exchange.error.clone().map(|error| [("x-amzn-errortype", error)]);
    let body = ([(header::CONTENT_TYPE, kind)], exchange.answer.clone());
    match error {
        Some(error) => (exchange.status, error, body).into_response(),
        None => (exchange.status, body).into_response(),
    }
}

fn pairs(encoded: &[u8]) -> Map<String, Value> {
    form_urlencoded::parse(encoded).map(|(name, value)| (name.into_owned(), json!(value))).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("answers")
}

/// The files in the folders of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder of answers");
        entries.map(|entry| entry.expect("a folder of answers").path()).collect()
    };
    list(folder).iter().filter(|path| path.is_dir()).flat_map(|folder| list(folder)).collect()
}

fn text(path: &Path, account: &str) -> String {
    let shown = path.display().to_string();
    fs::read_to_string(path).expect(&shown).replace(ACCOUNT, account)
}
