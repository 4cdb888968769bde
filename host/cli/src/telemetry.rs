//! The log. Only the binary installs one.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterExt, filter_fn},
    fmt,
    fmt::MakeWriter,
    prelude::*,
};

use crate::{
    args::{Global, LogFormat},
    settings::Environment,
};

/// Installs the log on standard error.
///
/// With text the default is errors and what only a log would tell, because progress and summary tell
/// everything else; with JSON, and in a service, it is `info`, because there is nothing besides.
pub(crate) fn install(args: &Global, environment: &Environment, bars: &MultiProgress, service: bool) {
    let level = args
        .log_level
        .clone()
        .or_else(|| environment.get("APPLICATION__LOG_LEVEL").map(contract_level))
        .unwrap_or_else(|| match args.log_format {
            // What only a log would tell: retries towards Port and AWS, and what the engine does about
            // plugins. The fate of units and entities is told by progress and summary.
            LogFormat::Text if !service => "error,berth_port=warn,berth_aws=warn,berth_engine=warn,berth_embed=warn".into(),
            LogFormat::Text | LogFormat::Json => "info".into(),
        });
    // A filter that does not parse falls back to errors only, rather than to no log at all.
    let filter = EnvFilter::try_new(&level).unwrap_or_else(|_| EnvFilter::new("error"));
    let filter = filter.and(filter_fn(may_be_told));
    let layer = fmt::layer().with_writer(AboveBars(bars.clone()));
    let registry = tracing_subscriber::registry();
    let installed = match args.log_format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(filter)).try_init(),
        LogFormat::Text => {
            let colour = environment.get("NO_COLOR").is_none() && io::IsTerminal::is_terminal(&io::stderr());
            registry.with(layer.with_ansi(colour).with_target(false).with_filter(filter)).try_init()
        }
    };
    // A second installation in one process can only happen in tests; the first one stays.
    drop(installed);
}

/// At `trace` the AWS SDK logs whole answers, and those of STS are credentials.
fn may_be_told(event: &Metadata<'_>) -> bool {
    *event.level() < Level::TRACE || !event.target().starts_with("aws_")
}

/// The contract's level names.
fn contract_level(level: &str) -> String {
    match level.to_ascii_uppercase().as_str() {
        "CRITICAL" => "error".into(),
        "WARNING" => "warn".into(),
        _ => level.to_ascii_lowercase(),
    }
}

/// Standard error, shared with the progress bars: they are taken away while a line is written, and
/// drawn again below it.
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
