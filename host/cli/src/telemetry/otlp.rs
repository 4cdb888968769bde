//! Spans and metrics for an OpenTelemetry collector, by OTLP over HTTP.
//!
//! It is on only where the standard variables name an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`, or one
//! for traces or metrics alone). The SDK reads the others itself: headers, sampler, intervals, service
//! name, resource attributes. What a collector cannot take is dropped: neither a slow one nor none at
//! all delays a resync, and the end of the process only by [`FLUSH`].

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
use berth_embed::{BodyError, Problem, TransportError, read_body};
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

use crate::{
    metrics::{Family, FamilyKind, Metrics},
    settings::Environment,
};

/// The most bytes of a collector's answer.
const ANSWER_BYTES: usize = 1 << 20;

/// How long the end of the process waits for the collector.
const FLUSH: Duration = Duration::from_secs(5);

/// The exporters.
pub(super) struct Otlp {
    traces: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
}

impl Otlp {
    /// Starts to export, if the environment asks for it; the requests go through `http`.
    ///
    /// # Errors
    /// A [`Problem`] when the variables make no sense. There is no export then.
    pub(super) fn start(
        environment: &Environment,
        http: impl FnOnce() -> Result<reqwest::Client, Problem>,
    ) -> Result<Option<Self>, Problem> {
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let is = |name: &str, value: &str| {
            environment.get(name).is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
        };
        let asked = |endpoint: &str, exporter: &str| {
            !is(exporter, "none") && (environment.get(endpoint).or(environment.get(ALL)).is_some())
        };
        let traces = asked("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER");
        let meters = asked("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_METRICS_EXPORTER");
        if is("OTEL_SDK_DISABLED", "true") || !(traces || meters) {
            return Ok(None);
        }
        let refused = |error: &dyn std::error::Error| {
            Problem::from_error(error)
                .remedy("check the variables OTEL_EXPORTER_OTLP_…, or unset them to export nothing")
        };
        let protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL").unwrap_or("http/protobuf");
        if protocol != "http/protobuf" {
            return Err(Problem::new(format!("OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`")).remedy(
                "use `http/protobuf` (or unset it) and the collector's port for it, by default 4318",
            ));
        }
        let client = Arc::new(Client::new(http()?, environment).map_err(|error| refused(&error))?);
        let resource = resource(environment);
        let traces = traces.then(|| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(&client) as Arc<dyn HttpClient>)
                .with_protocol(Protocol::HttpBinary)
                .build()?;
            let provider = SdkTracerProvider::builder().with_resource(resource.clone());
            Ok(provider.with_batch_exporter(exporter).build())
        });
        let meters = meters.then(|| {
            let exporter = MetricExporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(&client) as Arc<dyn HttpClient>)
                .with_protocol(Protocol::HttpBinary)
                .build()?;
            let provider = SdkMeterProvider::builder().with_resource(resource.clone());
            Ok(provider.with_periodic_exporter(exporter).build())
        });
        let failed = |error: opentelemetry_otlp::ExporterBuildError| refused(&error);
        Ok(Some(Self {
            traces: traces.transpose().map_err(failed)?,
            meters: meters.transpose().map_err(failed)?,
        }))
    }

    /// What makes spans of ours. Those of libraries are left out, the exporter's own among them.
    pub(super) fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
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
    pub(super) fn export(&self, metrics: &Arc<Metrics>) {
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
            // The instruments live on in the provider.
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

    /// Sends what is left, within [`FLUSH`].
    pub(super) fn flush(&self) {
        let (done, ended) = mpsc::channel();
        // Side by side, and on threads of their own, since neither can be called back.
        if let Some(traces) = self.traces.clone() {
            let done = done.clone();
            // Nobody may be waiting any more.
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
            tracing::warn!("the OpenTelemetry collector did not take all that was left for it");
        }
    }
}

/// Who we are, unless the environment says otherwise.
fn resource(environment: &Environment) -> Resource {
    let attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let named = |key: &str| attributes.split(',').any(|it| it.trim_start().starts_with(&format!("{key}=")));
    let mut resource = Resource::builder();
    if environment.get("OTEL_SERVICE_NAME").is_none() && !named("service.name") {
        resource = resource.with_service_name("berth");
    }
    if !named("service.version") {
        resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    resource.build()
}

/// Our own client for the exporters, which call it from threads without a runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    timeout: Duration,
    /// Whether it was told that the collector does not answer.
    told: AtomicBool,
}

impl Client {
    fn new(http: reqwest::Client, environment: &Environment) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("berth-otlp")
            .enable_all()
            .build()?;
        let millis = environment.get("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|text| text.trim().parse().ok());
        let timeout = Duration::from_millis(millis.unwrap_or(10_000));
        Ok(Self { http, runtime, timeout, told: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = self
            .http
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body)
            .timeout(self.timeout);
        // The address may hold what no log should.
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
            self.tell(&format!("it answered {status}"));
        }
        let mut answer = Response::builder().status(status);
        if let Some(all) = answer.headers_mut() {
            all.clone_from(&headers);
        }
        Ok(answer.body(body)?)
    }

    /// Once is enough: it happens again every few seconds.
    fn tell(&self, reason: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                reason,
                "the OpenTelemetry collector does not take what it is sent; check OTEL_EXPORTER_OTLP_ENDPOINT"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request).await;
        if let Err(error) = &sent {
            self.tell(&Problem::from_error(error.as_ref()).message);
        }
        sent
    }
}
