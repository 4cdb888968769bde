//! The export to an OpenTelemetry collector. It is on only if the standard variables name an endpoint
//! (`OTEL_EXPORTER_OTLP_ENDPOINT`, or the one for traces or metrics).

use std::time::Duration;

use berth_embed::{Problem, ProblemCode};
use berth_service::telemetry::OtlpConfig;

use crate::settings::Environment;

/// Returns the export that the environment configures; `None` for no export.
///
/// # Errors
/// A [`Problem`] if the environment asks for an unsupported protocol.
pub(super) fn config(environment: &Environment) -> Result<Option<OtlpConfig>, Problem> {
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let is = |name: &str, value: &str| {
        environment.get(name).is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
    };
    let asked = |endpoint: &str, exporter: &str| {
        !is(exporter, "none") && (environment.get(endpoint).or(environment.get(ALL)).is_some())
    };
    let traces = asked("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER");
    let metrics = asked("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_METRICS_EXPORTER");
    if is("OTEL_SDK_DISABLED", "true") || !(traces || metrics) {
        return Ok(None);
    }
    let protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL").unwrap_or("http/protobuf");
    if protocol != "http/protobuf" {
        return Err(Problem::new(
            ProblemCode::SettingsInvalid,
            format!("OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`"),
        )
        .remedy("use `http/protobuf` (or unset it) and the collector's port for it, by default 4318"));
    }
    let attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let named = |key: &str| attributes.split(',').any(|it| it.trim_start().starts_with(&format!("{key}=")));
    let millis = environment.get("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|text| text.trim().parse().ok());
    Ok(Some(OtlpConfig {
        traces,
        metrics,
        own_name: environment.get("OTEL_SERVICE_NAME").is_none() && !named("service.name"),
        own_version: !named("service.version"),
        timeout: Duration::from_millis(millis.unwrap_or(10_000)),
    }))
}
