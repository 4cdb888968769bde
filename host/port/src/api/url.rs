//! The URLs of routes. No identifier can leave its segment.

use berth_core::{Problem, ProblemCode};
use reqwest::Url;
use url::form_urlencoded;

use super::error::PortError;

/// Returns the URL of a route below `base`, with its segments escaped as form values:
/// `AWS%3A%3AS3%3A%3ABucket`.
pub(crate) fn form_url(base: &Url, segments: &[&str]) -> Result<Url, PortError> {
    refuse_dots(segments)?;
    let mut path = base.path().trim_end_matches('/').to_owned();
    for segment in segments {
        path.push('/');
        path.extend(form_urlencoded::byte_serialize(segment.as_bytes()));
    }
    let mut url = base.clone();
    url.set_path(&path);
    Ok(url)
}

/// Escaping does not help against these: URLs resolve `%2e%2e` like `..`.
pub(super) fn refuse_dots(segments: &[&str]) -> Result<(), PortError> {
    match segments.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
        Some(segment) => Err(PortError::Other(Problem::new(
            ProblemCode::MappingUnfit,
            format!("`{segment}` cannot be an identifier: a URL cannot contain it"),
        ))),
        None => Ok(()),
    }
}

/// Returns a route below an address that Port names. Its parts are escaped as form values (`%3A` for a
/// colon).
pub(crate) fn below(base: &Url, parts: &[&str]) -> Result<Url, PortError> {
    let mut text = base.as_str().trim_end_matches('/').to_owned();
    for part in parts {
        text.push('/');
        text.extend(form_urlencoded::byte_serialize(part.as_bytes()));
    }
    Url::parse(&text).map_err(|error| {
        PortError::Other(Problem::new(
            ProblemCode::SettingsInvalid,
            format!("`{text}` is not a URL: {error}"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_urls_stay_below_their_base() {
        for base in ["https://ingest.example/a", "https://ingest.example/a/"] {
            let base = Url::parse(base).unwrap();
            let url = form_url(&base, &["kind", "AWS::S3::Bucket", "x y/../%2e?#"]).unwrap();
            assert_eq!(
                url.as_str(),
                "https://ingest.example/a/kind/AWS%3A%3AS3%3A%3ABucket/x+y%2F..%2F%252e%3F%23"
            );
            assert!(form_url(&base, &["kind", ".."]).is_err());
        }
    }

    #[test]
    fn parts_are_escaped_as_in_forms_and_the_base_keeps_its_path() {
        for base in ["https://ingest.port.example/metrics", "https://ingest.port.example/metrics/"] {
            let base = Url::parse(base).unwrap();
            let url = below(&base, &["syncMetrics", "kind", "AWS::S3::Bucket-0"]).unwrap();
            let expected = "https://ingest.port.example/metrics/syncMetrics/kind/AWS%3A%3AS3%3A%3ABucket-0";
            assert_eq!(url.as_str(), expected);
        }
    }
}
