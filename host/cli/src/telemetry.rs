//! The log, and the export to an OpenTelemetry collector. Only the binary installs them.

mod json;
#[cfg(feature = "otlp")]
mod otlp;

use std::{
    io::{self, Write},
    sync::{Arc, OnceLock},
};

#[cfg(feature = "otlp")]
use berth_embed::{Problem, ProblemCode};
#[cfg(feature = "otlp")]
use berth_service::telemetry::Otlp;
use berth_service::{metrics::Metrics, telemetry::LogShipping};
use indicatif::MultiProgress;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt,
    fmt::{MakeWriter, format::JsonFields},
    prelude::*,
    reload,
};

#[cfg(feature = "otlp")]
use crate::settings::{Issue, SettingsInputs, ThirdParty};
use crate::{
    args::{Global, LogFormat},
    output::stderr_is_coloured,
    settings::Environment,
};

/// The log of this process, once it is installed.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    /// The level without a setting.
    default: &'static str,
    /// Whether the command line or the process's environment gave a level; then settings do not change it.
    given: bool,
    set_filter: Box<dyn Fn(EnvFilter) + Send + Sync>,
    #[cfg(feature = "otlp")]
    otlp: Option<Otlp>,
}

/// Installs the log on standard error.
///
/// With text, the default is errors and what only a log reports, because progress and summary report the
/// rest; with JSON, and in a service, it is `info`, because nothing else reports.
///
/// `shipping` collects the lines for Port, independent of the level of standard error.
pub(crate) fn install(
    args: &Global,
    environment: &Environment,
    bars: &MultiProgress,
    service: bool,
    shipping: Option<&LogShipping>,
) {
    let given =
        args.log_level.clone().or_else(|| environment.get("APPLICATION__LOG_LEVEL").map(contract_level));
    let default = match args.log_format {
        // What only a log reports: retries towards Port and AWS, what the engine does with plugins, trust in
        // servers, and the files that settings come from. Progress and summary report units and entities.
        LogFormat::Text if !service => concat!(
            "error,berth_port=warn,berth_aws=warn,berth_engine=warn,berth_embed=warn,berth_http=warn,",
            "berth::settings=info,berth::telemetry=warn,berth_service::telemetry=warn"
        ),
        LogFormat::Text | LogFormat::Json => "info,krafka=error",
    };
    // A filter that does not parse falls back to errors only, instead of no log at all.
    let filter = EnvFilter::try_new(given.as_deref().unwrap_or(default));
    let (filter, handle) = reload::Layer::new(filter.unwrap_or_else(|_| EnvFilter::new("error")));
    let filter = filter.or(filter_fn(names_the_scope)).and(filter_fn(may_be_logged));
    let layer = fmt::layer().with_writer(AboveBars(bars.clone()));
    #[cfg(feature = "otlp")]
    let started = start_otlp(args, environment);
    let registry = tracing_subscriber::registry().with(shipping.map(LogShipping::layer));
    #[cfg(feature = "otlp")]
    let registry = registry.with(started.as_ref().ok().and_then(|otlp| otlp.as_ref()?.layer()));
    let installed = match args.log_format {
        LogFormat::Json => {
            let layer = layer.fmt_fields(JsonFields::new()).event_format(json::JsonLines);
            registry.with(layer.with_filter(filter)).try_init()
        }
        LogFormat::Text => registry
            .with(layer.with_ansi(stderr_is_coloured()).with_target(false).with_filter(filter))
            .try_init(),
    };
    // A second installation in one process happens only in tests; the first one stays.
    if installed.is_ok() {
        // This fails only if the log no longer exists.
        let set_filter = Box::new(move |filter| _ = handle.reload(filter));
        #[cfg(feature = "otlp")]
        let otlp = started.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "cannot export to OpenTelemetry");
            None
        });
        _ = LOG.set(Log {
            default,
            given: given.is_some(),
            set_filter,
            #[cfg(feature = "otlp")]
            otlp,
        });
    }
}

/// Starts the export, if the environment configures it.
#[cfg(feature = "otlp")]
fn start_otlp(args: &Global, environment: &Environment) -> Result<Option<Otlp>, Problem> {
    let Some(config) = otlp::config(environment)? else { return Ok(None) };
    let settings = SettingsInputs::read(args, environment).section();
    let ThirdParty(http) = settings.map_err(|issues: Vec<Issue>| of_settings(&issues))?;
    let http = http.client().map_err(|error| Problem::from_error(ProblemCode::SettingsInvalid, &error))?;
    Otlp::start(&config, http).map(Some)
}

/// Returns why nothing is exported: the settings say how requests are sent.
#[cfg(feature = "otlp")]
fn of_settings(issues: &[Issue]) -> Problem {
    let first = issues.first().map(|Issue { setting, problem, .. }| format!("{setting}: {problem}"));
    let problem = Problem::new(ProblemCode::SettingsInvalid, first.unwrap_or_default());
    match issues.first() {
        Some(issue) => problem.remedy(issue.remedy.clone()),
        None => problem,
    }
}

/// Exports these metrics, if a collector is configured.
#[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "only this feature exports them"))]
pub(crate) fn export(metrics: &Arc<Metrics>) {
    #[cfg(feature = "otlp")]
    if let Some(otlp) = LOG.get().and_then(|log| log.otlp.as_ref()) {
        otlp.export(metrics);
    }
}

/// Sends the remaining data to the collector, within a time limit.
pub(crate) fn flush() {
    #[cfg(feature = "otlp")]
    if let Some(otlp) = LOG.get().and_then(|log| log.otlp.as_ref()) {
        otlp.flush();
    }
}

/// Applies the level of the settings, unless the command line or the environment gave one.
pub(crate) fn follow(level: Option<&str>) {
    let Some(log) = LOG.get().filter(|log| !log.given) else { return };
    if let Ok(filter) = EnvFilter::try_new(level.map_or(log.default.to_owned(), contract_level)) {
        (log.set_filter)(filter);
    }
}

/// Returns whether a level or filter is valid.
pub(crate) fn is_level(text: &str) -> bool {
    let level = contract_level(text);
    // A single word would be parsed as the name of a crate, and so would a misspelled level.
    let words = level.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    words.into_iter().all(|word| word.parse::<LevelFilter>().is_ok()) && EnvFilter::try_new(&level).is_ok()
}

/// Spans that name the account, region and kind of a line are kept at any level. There is one for each unit,
/// not for each resource.
fn names_the_scope(it: &Metadata<'_>) -> bool {
    it.is_span() && *it.level() <= Level::INFO && it.target().starts_with("berth")
}

/// At `debug` the AWS SDK logs the access key's ID, and at `trace` whole responses; those of STS are
/// credentials.
fn may_be_logged(event: &Metadata<'_>) -> bool {
    *event.level() <= Level::INFO || !event.target().starts_with("aws_")
}

/// Converts the contract's level names. The Kafka client's own log is for debugging: the listener reports
/// what matters.
fn contract_level(level: &str) -> String {
    let level = match level.to_ascii_uppercase().as_str() {
        "CRITICAL" => "error".into(),
        "WARNING" => "warn".into(),
        "ERROR" | "INFO" | "TRACE" => level.to_ascii_lowercase(),
        // This level includes the Kafka client's own log.
        "DEBUG" => return "debug".into(),
        _ => return level.to_owned(),
    };
    format!("{level},krafka=error")
}

/// Standard error, shared with the progress bars: it hides them while a line is written, and then draws them
/// again.
struct AboveBars(MultiProgress);

impl Write for &AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_the_contract_and_filters_make_sense() {
        for level in ["CRITICAL", "WARNING", "info", "trace", "warn,berth_aws=debug", "off"] {
            assert!(is_level(level), "{level}");
        }
        for nonsense in ["loud", "warn,loud", "berth=loud"] {
            assert!(!is_level(nonsense), "{nonsense}");
        }
    }
}
