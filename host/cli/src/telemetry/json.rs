//! The log as JSON, one flat object per line, so that a log store can find lines by account, region and kind
//! in every part of the host.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormattedFields,
        format::{FormatEvent, JsonFields, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::{LookupSpan, Scope},
};

/// Members that every line has. An event's or span's field with such a name gets the prefix `field_`.
const OWN: [&str; 5] = ["timestamp", "level", "target", "message", "span"];

/// Writes `timestamp`, `level`, `target`, `message`; inside a span, its name (`span`) and the fields of all
/// spans around the line (`account`, `region`, `kind`, …); then the line's own fields.
pub(super) struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Line(Map::new());
        let metadata = event.metadata();
        line.0.insert("timestamp".into(), timestamp.into());
        line.0.insert("level".into(), metadata.level().as_str().into());
        line.0.insert("target".into(), metadata.target().into());
        line.0.insert("message".into(), "".into());
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            line.0.insert("span".into(), span.name().into());
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|fields| serde_json::from_str::<Map<String, Value>>(fields).ok());
            for (name, value) in fields.into_iter().flatten() {
                line.add(&name, value);
            }
        }
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

struct Line(Map<String, Value>);

impl Line {
    fn add(&mut self, name: &str, value: Value) {
        // Names that are keywords are raw identifiers.
        let name = name.strip_prefix("r#").unwrap_or(name);
        let name = if OWN.contains(&name) { format!("field_{name}") } else { name.to_owned() };
        self.0.insert(name, value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = Value::from(format!("{value:?}"));
        if field.name() == "message" {
            self.0.insert("message".into(), text);
        } else {
            self.add(field.name(), text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.insert("message".into(), value.into());
        } else {
            self.add(field.name(), value.into());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.add(field.name(), value.to_string().into()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use serde_json::json;
    use tracing_subscriber::{fmt, prelude::*};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_all_spans_around_it() {
        let lines = Lines::default();
        let to = lines.clone();
        let layer = fmt::layer().fmt_fields(JsonFields::new()).event_format(JsonLines);
        let log = tracing_subscriber::registry().with(layer.with_writer(move || to.clone()));
        tracing::subscriber::with_default(log, || {
            tracing::info_span!("unit", account = "1", region = "eu-west-1", kind = "K").in_scope(|| {
                tracing::debug_span!("map", plugin = %"p\n", resources = 3).in_scope(|| {
                    tracing::warn!(
                        account = "2",
                        level = "odd",
                        elapsed_ms = 7_u128,
                        good = true,
                        "a {}",
                        "word"
                    );
                });
            });
            tracing::info!(seconds = 0.5);
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
        }
        let target = module_path!();
        assert_eq!(
            lines,
            [
                json!({
                    "level": "WARN", "target": target, "message": "a word", "span": "map",
                    "account": "2", "region": "eu-west-1", "kind": "K", "plugin": "p\n", "resources": 3,
                    "field_level": "odd", "elapsed_ms": 7, "good": true,
                }),
                json!({"level": "INFO", "target": target, "message": "", "seconds": 0.5}),
            ]
        );
    }
}
