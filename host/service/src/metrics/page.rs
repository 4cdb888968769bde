//! Metrics as values, and the two text formats that Prometheus reads.

use std::fmt::{self, Write};

/// All samples of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    /// A counter's name, without its `_total`.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: FamilyKind,
    pub(crate) samples: Vec<Sample>,
}

/// The metric's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FamilyKind {
    Gauge,
    Counter,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

/// Labels and their values.
type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

impl Family {
    pub(crate) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: FamilyKind::Gauge, samples: Vec::new() }
    }

    pub(crate) fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: FamilyKind::Counter, samples: Vec::new() }
    }

    pub(crate) fn add<const N: usize>(&mut self, labels: Labels<'_, N>, value: f64) {
        let labels = labels.into_iter().map(|(name, text)| (name, text.to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }

    pub(crate) fn count<const N: usize>(&mut self, labels: Labels<'_, N>, count: u64) {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus supports only floats")]
        self.add(labels, count as f64);
    }

    /// Adds one value without labels.
    pub(crate) fn of(mut self, value: f64) -> Self {
        self.add([], value);
        self
    }
}

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus' original format.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Returns the format that a client prefers, by its `Accept`.
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Renders the whole page.
    pub(crate) fn render(self, families: &[Family]) -> String {
        let mut page = String::new();
        for family in families.iter().filter(|family| !family.samples.is_empty()) {
            // Writing to a String cannot fail.
            _ = self.write(family, &mut page);
        }
        // A comment in the older format, which Ocean's scrapers still expect.
        page.push_str("# EOF\n");
        page
    }

    fn write(self, family: &Family, page: &mut String) -> fmt::Result {
        let Family { name, help, kind, samples } = family;
        let (kind, ending) = match kind {
            FamilyKind::Gauge => ("gauge", ""),
            FamilyKind::Counter => ("counter", "_total"),
        };
        let named = if self == Self::OpenMetrics { "" } else { ending };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(page, "# HELP {name}{named} {help}\n# TYPE {name}{named} {kind}")?;
        for Sample { labels, value } in samples {
            write!(page, "{name}{ending}")?;
            for (index, (label, text)) in labels.iter().enumerate() {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                write!(page, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' })?;
            }
            writeln!(page, "{} {value}", if labels.is_empty() { "" } else { "}" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_named_as_each_form_wants_it_and_texts_are_escaped() {
        let mut family = Family::counter("berth_things", "Things \\ so\nfar.");
        family.count([("name", "a\"b\\c\nd"), ("other", "x")], 3);
        let families = [family, Family::gauge("empty", "Nothing."), Family::gauge("half", "Half.").of(0.5)];
        assert_eq!(
            Exposition::Text.render(&families),
            r#"# HELP berth_things_total Things \\ so\nfar.
# TYPE berth_things_total counter
berth_things_total{name="a\"b\\c\nd",other="x"} 3
# HELP half Half.
# TYPE half gauge
half 0.5
# EOF
"#
        );
        let page = Exposition::OpenMetrics.render(&families);
        assert!(page.contains("# TYPE berth_things counter\nberth_things_total{"), "{page}");
        assert_eq!(
            Exposition::accepted("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
            Exposition::OpenMetrics
        );
        assert_eq!(Exposition::accepted("*/*"), Exposition::Text);
    }
}
