//! Controls a headless Chromium over its own protocol, through a pipe: no port, no driver, no crate.

use std::{
    collections::VecDeque,
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tools::left_out;

/// What everything that is waited for must happen in; generous, because machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// Names under which it is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A page in a Chromium of its own. Dropping it ends the browser.
pub struct Browser {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    next: AtomicU64,
    /// What the page has complained about: exceptions, refused scripts, failed requests.
    violations: VecDeque<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none where it is not installed, which is told.
    pub fn start() -> Option<Self> {
        let Some(program) = installed() else {
            left_out("no Chromium (install `chromium`, or name it in BERTH_TEST_CHROMIUM)");
            return None;
        };
        let profile = TempDir::new().expect("a folder for the profile");
        // The shell gives it the pipes where it looks for them.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let to = process.stdin.take();
        let from = BufReader::new(process.stdout.take().expect("the pipe"));
        let mut browser = Self {
            process,
            to,
            from,
            session: None,
            next: AtomicU64::new(1),
            violations: VecDeque::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", &json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Accessibility.enable"] {
            browser.call(domain, &json!({}));
        }
        Some(browser)
    }

    /// Opens an address and waits until the page says that it is drawn (`data-ready`).
    pub fn open(&mut self, address: &str) {
        let opened = self.call("Page.navigate", &json!({"url": address}));
        assert!(opened["errorText"].is_null(), "{address}: {opened}");
        self.wait("document.body && document.body.dataset.ready === 'true'");
    }

    /// Opens a file.
    pub fn open_file(&mut self, file: &Path) {
        self.open(&format!("file://{}", file.display()));
    }

    /// The size of the window, and whether its owner likes it dark.
    pub fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// What an expression gives.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let start = Instant::now();
        while self.eval(expression) != Value::Bool(true) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {expression}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key, by its name (`Tab`, `Enter`, `ArrowDown`).
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            _ => (0, key),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// What a screen reader is given: role, name and whether it is ignored, of everything.
    pub fn accessibility(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().expect("nodes");
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes
            .iter()
            .filter(|node| node["ignored"] != true)
            .map(|node| (text(&node["role"]), text(&node["name"])))
            .collect()
    }

    /// Takes a picture of the window, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let taken = self.call("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
        STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64")
    }

    /// What the page has complained about since this was last asked.
    pub fn violations(&mut self) -> Vec<String> {
        // Whatever came before the answer has been read by then.
        self.eval("0");
        self.violations.drain(..).collect()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        let to = self.to.as_mut().expect("the browser runs");
        to.write_all(message.to_string().as_bytes()).expect("the browser listens");
        to.write_all(b"\0").expect("the browser listens");
        loop {
            let answer = self.next_message();
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            if let Some("Runtime.exceptionThrown" | "Log.entryAdded") = answer["method"].as_str() {
                self.violations.push_back(answer["params"].to_string());
            }
        }
    }

    fn next_message(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("the browser answers");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).expect("the browser answers with JSON")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when nobody talks to it any more, and takes its children along.
        drop(self.to.take());
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(20));
        }
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Where it is, if it is.
fn installed() -> Option<PathBuf> {
    if let Some(named) = env::var_os("BERTH_TEST_CHROMIUM") {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    let candidates = env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    candidates.into_iter().find(|file| file.is_file())
}
