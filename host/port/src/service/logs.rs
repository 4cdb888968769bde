//! The log as Port shows it on the integration's page.

use std::time::{Duration, SystemTime};

use berth_common::redact::Redactor;
use berth_core::{Problem, ProblemCode};
use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value, value::RawValue};
use url::Url;

use crate::api::{
    batches::{BODY_LIMIT, batches},
    client::PortClient,
    error::PortError,
    reporting::LogEntry,
    values::words,
};

/// The most records in one request (the contract's batch).
const COUNT_LIMIT: usize = 100;
/// The most bytes of one record.
const RECORD_LIMIT: usize = 128 * 1024;
/// The same limit if Port rejects even that.
const SHORT_RECORD: usize = 4 * 1024;

/// The timeout of one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A log record for Port to show.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// What happened.
    pub message: String,
    /// The level.
    pub level: LogLevel,
    /// The time.
    pub time: SystemTime,
    /// The context: `hostname`, `resource_kind`, counts.
    pub extra: Map<String, Value>,
}

/// The level of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are self-explanatory")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

impl LogLevel {
    /// Returns Port's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// Sends records. Not retried if Port may have accepted them.
pub(crate) async fn ship(
    client: &PortClient,
    url: Option<Url>,
    redactor: &Redactor,
    records: Vec<LogRecord>,
) -> Result<(), PortError> {
    let Some(url) = url else {
        return Err(PortError::Other(Problem::new(
            ProblemCode::PortInvalidAnswer,
            "Port names no address for logs",
        )));
    };
    let logs: Vec<LogEntry<'_>> = records
        .into_iter()
        .map(|record| LogEntry {
            message: redactor.text(record.message),
            level: record.level.as_str(),
            timestamp: timestamp(record.time),
            extra: redactor.object(record.extra),
        })
        .collect();
    let texts: Vec<Box<RawValue>> = logs.iter().map(|log| text_of(log, RECORD_LIMIT)).collect();
    let lengths: Vec<usize> = texts.iter().map(|text| text.get().len()).collect();
    let mut outcome = Ok(());
    for range in batches(&lengths, COUNT_LIMIT, BODY_LIMIT) {
        // A failed request does not keep back the rest.
        outcome = outcome.and(send(client, &url, &logs[range.clone()], &texts[range]).await);
    }
    outcome
}

/// Sends records in one request, or in halves if that is too large. Shortens a single record further.
fn send<'a>(
    client: &'a PortClient,
    url: &'a Url,
    logs: &'a [LogEntry<'a>],
    texts: &'a [Box<RawValue>],
) -> BoxFuture<'a, Result<(), PortError>> {
    async move {
        match client.ship_logs(url, texts, PATIENCE).await {
            Err(error) if error.status() == Some(413) => {
                if let [only] = logs {
                    let cut = text_of(only, SHORT_RECORD);
                    return client.ship_logs(url, std::slice::from_ref(&cut), PATIENCE).await;
                }
                let middle = logs.len() / 2;
                let first = send(client, url, &logs[..middle], &texts[..middle]).await;
                first.and(send(client, url, &logs[middle..], &texts[middle..]).await)
            }
            outcome => outcome,
        }
    }
    .boxed()
}

/// Returns a record as JSON of at most `limit` bytes: shortens its texts, and marks them, if needed.
fn text_of(log: &LogEntry<'_>, limit: usize) -> Box<RawValue> {
    let text = |log: &LogEntry<'_>| serde_json::value::to_raw_value(log).ok();
    let fits = |text: &RawValue| text.get().len() <= limit;
    if let Some(whole) = text(log).filter(|text| fits(text)) {
        return whole;
    }
    // Escaping makes texts longer, so it may take several tries.
    let mut room = limit / 2;
    while room >= 16 {
        let mut cut = LogEntry { message: shortened(&log.message, room), ..log.clone() };
        let each = room / 2 / cut.extra.len().max(1);
        for value in cut.extra.values_mut() {
            let long = words(value).filter(|text| text.len() > each);
            if let Some(long) = long {
                *value = shortened(&long, each).into();
            }
        }
        if let Some(cut) = text(&cut).filter(|text| fits(text)) {
            return cut;
        }
        room /= 2;
    }
    let bare = LogEntry { message: shortened(&log.message, 16), extra: Map::new(), ..log.clone() };
    text(&bare).unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// Returns the beginning of a text, and how much is left out.
fn shortened(text: &str, room: usize) -> String {
    if text.len() <= room {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(room);
    format!("{} … ({} bytes are cut)", &text[..end], text.len() - end)
}

/// Formats a time like Ocean: `2026-11-23T11:37:10.801273Z`.
fn timestamp(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_beyond_the_limit_is_cut_and_says_so() {
        let log = |message: &str, extra: Value| LogEntry {
            message: message.to_owned(),
            level: "INFO",
            timestamp: timestamp(SystemTime::UNIX_EPOCH),
            extra: serde_json::from_value(extra).unwrap(),
        };
        let small = log("m", json!({"n": 1}));
        assert_eq!(text_of(&small, 2000).get(), serde_json::to_string(&small).unwrap());
        for (message, extra) in [
            ("ü".repeat(5000), json!({"n": 1})),
            ("\n\u{1}\"".repeat(5000), json!({"why": "\u{2}".repeat(9000), "n": 1})),
            ("m".into(), json!({"list": vec!["x"; 9000], "n": 1})),
            ("m".into(), (0..900).map(|n| (n.to_string(), json!("x"))).collect::<Map<_, _>>().into()),
        ] {
            let cut = text_of(&log(&message, extra), 2000);
            assert!(cut.get().len() <= 2000, "{}", cut.get().len());
            let cut: Value = serde_json::from_str(cut.get()).unwrap();
            assert_eq!(cut["level"], "INFO");
            assert!(message == "m" || cut["message"].as_str().unwrap().contains("bytes are cut"), "{cut}");
        }
    }

    #[test]
    fn timestamps_have_microseconds_and_a_z() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_270);
        assert_eq!(timestamp(time), "2026-11-23T11:37:10.801270Z");
    }
}
