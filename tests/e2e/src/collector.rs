//! An OpenTelemetry collector that keeps what it receives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value},
    metrics::v1::{metric, number_data_point},
};
use prost::Message;
use tokio::net::TcpListener;

/// A span as it was sent.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Vec<u8>,
    /// The id of the span around it; empty for none.
    pub parent: Vec<u8>,
    /// Its attributes, in text.
    pub attributes: BTreeMap<String, String>,
}

/// A running collector.
#[derive(Debug, Clone)]
pub struct Collector {
    kept: Arc<Mutex<Kept>>,
    port: u16,
}

#[derive(Debug, Default)]
struct Kept {
    resource: BTreeMap<String, String>,
    tokens: Vec<String>,
    spans: Vec<Span>,
    /// The last value of each series: name, then attributes.
    values: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let collector = Self { kept: Arc::default(), port };
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    /// What goes into `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All spans of a name.
    pub fn spans(&self, name: &str) -> Vec<Span> {
        self.kept().spans.iter().filter(|span| span.name == name).cloned().collect()
    }

    /// The last values of a metric, by attributes.
    pub fn values(&self, name: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
        let kept = self.kept();
        let of_name = kept.values.iter().filter(|((of, _), _)| of == name);
        of_name.map(|((_, attributes), value)| (attributes.clone(), *value)).collect()
    }

    /// The attributes of who sends.
    pub fn resource(&self) -> BTreeMap<String, String> {
        self.kept().resource.clone()
    }

    /// What came as `x-token`, with each request.
    pub fn tokens(&self) -> Vec<String> {
        self.kept().tokens.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request's headers; whether it is in the form that was agreed on.
    fn received(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.kept().tokens.push(text("x-token").to_owned());
        text("content-type") == "application/x-protobuf"
    }
}

async fn traces(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let (true, Ok(request)) = (collector.received(&headers), ExportTraceServiceRequest::decode(body)) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut kept = collector.kept();
    for of_resource in request.resource_spans {
        kept.resource = reported(&of_resource.resource.unwrap_or_default().attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
            kept.spans.push(Span {
                attributes: reported(&span.attributes),
                name: span.name,
                id: span.span_id,
                parent: span.parent_span_id,
            });
        }
    }
    StatusCode::OK
}

async fn metrics(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let (true, Ok(request)) = (collector.received(&headers), ExportMetricsServiceRequest::decode(body))
    else {
        return StatusCode::BAD_REQUEST;
    };
    let mut kept = collector.kept();
    let scopes = request.resource_metrics.into_iter().flat_map(|of_resource| of_resource.scope_metrics);
    for metric in scopes.flat_map(|scope| scope.metrics) {
        let points = match metric.data {
            Some(metric::Data::Gauge(gauge)) => gauge.data_points,
            Some(metric::Data::Sum(sum)) => sum.data_points,
            _ => Vec::new(),
        };
        for point in points {
            if let Some(number_data_point::Value::AsDouble(value)) = point.value {
                kept.values.insert((metric.name.clone(), reported(&point.attributes)), value);
            }
        }
    }
    StatusCode::OK
}

fn reported(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
