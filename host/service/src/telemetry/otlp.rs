//! Exports spans and metrics to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! The SDK reads the standard variables (`OTEL_…`) itself: endpoints, headers, sampler, intervals, service
//! name, resource attributes. Data that the collector cannot take is dropped: a slow or missing collector
//! never delays a resync, and delays the end of the process by at most [`FLUSH`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use berth_embed::{Problem, ProblemCode, error_chain};
use berth_http::{BodyError, TransportError, read_body};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, MeterProvider},
    trace::TracerProvider,
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::metrics::{Family, FamilyKind, Metrics};

/// The most bytes of a collector's response.
const ANSWER_BYTES: usize = 1 << 20;

/// How long the end of the process waits for the collector.
const FLUSH: Duration = Duration::from_secs(5);

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Whether to export spans.
    pub traces: bool,
    /// Whether to export metrics.
    pub metrics: bool,
    /// Whether to name the service `berth`; otherwise the SDK takes its name from the variables.
    pub own_name: bool,
    /// Whether to add Berth's version to the resource.
    pub own_version: bool,
    /// The timeout of a request.
    pub timeout: Duration,
}

/// The exporters.
pub struct Otlp {
    traces: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
}

impl std::fmt::Debug for Otlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otlp").finish_non_exhaustive()
    }
}

impl Otlp {
    /// Starts the export; requests use `http`.
    ///
    /// # Errors
    /// A [`Problem`] if the variables that the SDK reads are invalid. Then nothing is exported.
    pub fn start(config: &OtlpConfig, http: reqwest::Client) -> Result<Self, Problem> {
        let refused = |error: &dyn std::error::Error| {
            Problem::from_error(ProblemCode::SettingsInvalid, error)
                .remedy("check the variables OTEL_EXPORTER_OTLP_…, or unset them to export nothing")
        };
        let client = Arc::new(Client::new(http, config.timeout).map_err(|error| refused(&error))?);
        let resource = resource(config);
        let traces = config.traces.then(|| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(&client) as Arc<dyn HttpClient>)
                .with_protocol(Protocol::HttpBinary)
                .build()?;
            let provider = SdkTracerProvider::builder().with_resource(resource.clone());
            Ok(provider.with_batch_exporter(exporter).build())
        });
        let meters = config.metrics.then(|| {
            let exporter = MetricExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(&client) as Arc<dyn HttpClient>)
                .with_protocol(Protocol::HttpBinary)
                .build()?;
            let provider = SdkMeterProvider::builder().with_resource(resource.clone());
            Ok(provider.with_periodic_exporter(exporter).build())
        });
        let failed = |error: opentelemetry_otlp::ExporterBuildError| refused(&error);
        Ok(Self { traces: traces.transpose().map_err(failed)?, meters: meters.transpose().map_err(failed)? })
    }

    /// Returns the layer that exports Berth's spans. It leaves out those of libraries, including the
    /// exporter's own.
    pub fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
    where
        S: Subscriber + for<'l> LookupSpan<'l> + Send + Sync,
    {
        let traces = self.traces.as_ref()?;
        let layer = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("berth"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        let ours = |it: &Metadata<'_>| {
            let most = if it.is_span() { Level::DEBUG } else { Level::WARN };
            *it.level() <= most && it.target().starts_with("berth")
        };
        Some(layer.with_filter(filter_fn(ours)).boxed())
    }

    /// Exports these metrics, the same that Prometheus reads.
    pub fn export(&self, metrics: &Arc<Metrics>) {
        let Some(meters) = &self.meters else { return };
        let meter = meters.meter("berth");
        for Family { name, help, kind, .. } in Metrics::described() {
            let metrics = Arc::clone(metrics);
            let observe = move |instrument: &dyn AsyncInstrument<f64>| {
                let families = metrics.families();
                for sample in families.iter().filter(|it| it.name == name).flat_map(|it| &it.samples) {
                    let labels = sample.labels.iter();
                    let labels: Vec<KeyValue> =
                        labels.map(|(label, text)| KeyValue::new(*label, text.clone())).collect();
                    instrument.observe(sample.value, &labels);
                }
            };
            // The provider keeps the instruments alive.
            match kind {
                FamilyKind::Gauge => {
                    let gauge = meter.f64_observable_gauge(name).with_description(help);
                    gauge.with_callback(observe).build();
                }
                FamilyKind::Counter => {
                    let counter = meter.f64_observable_counter(name).with_description(help);
                    counter.with_callback(observe).build();
                }
            }
        }
    }

    /// Sends the remaining data, within `FLUSH`.
    pub fn flush(&self) {
        let (done, ended) = mpsc::channel();
        // In parallel, on separate threads, because neither call can be cancelled.
        if let Some(traces) = self.traces.clone() {
            let done = done.clone();
            // The receiver may be gone.
            thread::spawn(move || _ = done.send(traces.shutdown_with_timeout(FLUSH).is_ok()));
        }
        if let Some(meters) = self.meters.clone() {
            thread::spawn(move || _ = done.send(meters.shutdown_with_timeout(FLUSH).is_ok()));
        } else {
            drop(done);
        }
        let deadline = Instant::now() + FLUSH;
        let complete = loop {
            match ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(true) => {}
                Ok(false) | Err(mpsc::RecvTimeoutError::Timeout) => break false,
                Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            }
        };
        if !complete {
            tracing::warn!("could not send all remaining data to the OpenTelemetry collector");
        }
    }
}

/// Returns Berth's resource, unless the variables override it.
fn resource(config: &OtlpConfig) -> Resource {
    let mut resource = Resource::builder();
    if config.own_name {
        resource = resource.with_service_name("berth");
    }
    if config.own_version {
        resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    resource.build()
}

/// Berth's HTTP client for the exporters, which call it from threads without a runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    timeout: Duration,
    /// Whether the log already says that the collector does not respond.
    warned: AtomicBool,
}

impl Client {
    fn new(http: reqwest::Client, timeout: Duration) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("berth-otlp")
            .enable_all()
            .build()?;
        Ok(Self { http, runtime, timeout, warned: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = self
            .http
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body)
            .timeout(self.timeout);
        // The address may hold a secret, so errors leave it out.
        let sent = async {
            let answer = request.send().await.map_err(TransportError::new)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = read_body(answer, ANSWER_BYTES).await.map_err(|error| match error {
                BodyError::Silent(error) => TransportError::new(error),
                error @ BodyError::TooLarge => TransportError::unusable(error.to_string()),
            })?;
            Ok::<_, TransportError>((status, headers, body))
        };
        let (status, headers, body) = self.runtime.spawn(sent).await??;
        if !status.is_success() {
            self.warn(&format!("it returned {status}"));
        }
        let mut answer = Response::builder().status(status);
        if let Some(all) = answer.headers_mut() {
            all.clone_from(&headers);
        }
        Ok(answer.body(body)?)
    }

    /// Logs only once: it happens again every few seconds.
    fn warn(&self, reason: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                reason,
                "the OpenTelemetry collector does not accept the data; check OTEL_EXPORTER_OTLP_ENDPOINT"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request).await;
        if let Err(error) = &sent {
            self.warn(&error_chain(error.as_ref()));
        }
        sent
    }
}
