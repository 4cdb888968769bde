//! Times and texts in Port's JSON.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Formats a point in time like Ocean: `2026-11-23T11:37:10.801273+00:00`.
pub(crate) fn iso(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
}

/// An object whose only relevant field is the time of its last change.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpdateTime {
    #[serde(deserialize_with = "time")]
    pub(crate) updated_at: Option<DateTime<Utc>>,
}

/// Parses a time in ISO 8601. Anything else is `None`: no resync may fail because of it.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    Ok(iso_time(&Value::deserialize(from)?))
}

/// See [`time`].
pub(crate) fn iso_time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(DateTime::from)
}

/// Returns readable text from a value of any form.
pub(crate) fn words(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_ocean_writes_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_273);
        assert_eq!(iso(time), "2026-11-23T11:37:10.801273+00:00");
    }
}
