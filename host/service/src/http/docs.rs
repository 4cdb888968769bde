//! The documentation of the API: a handwritten `OpenAPI` document, reduced to what is served, and a
//! self-contained page of it.

use std::fmt::Write;

use serde_json::{Map, Value};

const DOCUMENT: &str = include_str!("openapi.json");

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
    h2{font:600 1.1rem ui-monospace,monospace;border-top:1px solid #8888;padding-top:1rem}\
    b{display:inline-block;min-width:3.5rem}code{font-family:ui-monospace,monospace}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}";

/// Returns the document. `served` lists the paths, each as in the file and as it is served.
pub(super) fn document(served: &[(&str, String)]) -> Value {
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let mut known = document["paths"].take();
    let paths: Map<String, Value> =
        served.iter().map(|(path, full)| (full.clone(), known[*path].take())).collect();
    document["paths"] = paths.into();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
}

/// Returns the document for people.
pub(super) fn page(document: &Value) -> String {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let info = &document["info"];
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title} <small>{version}</small></h1>\n<p>{about}</p>\n",
        title = text(&info["title"]),
        version = text(&info["version"]),
        about = text(&info["description"]),
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            // Writing to a String cannot fail.
            _ = writeln!(
                page,
                "<h2><b>{}</b>{}</h2>\n<p>{}.</p>",
                escaped(&method.to_uppercase()),
                escaped(path),
                text(&operation["summary"])
            );
            if operation["description"].is_string() {
                _ = writeln!(page, "<p>{}</p>", text(&operation["description"]));
            }
            page.push_str("<ul>\n");
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                let types: Vec<String> = response["content"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| format!("<code>{}</code>", escaped(name)))
                    .collect();
                let description = text(&response["description"]);
                _ = writeln!(
                    page,
                    "<li><code>{}</code> {description} {}</li>",
                    escaped(status),
                    types.join(", ")
                );
            }
            page.push_str("</ul>\n");
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns all paths of the file, with their methods.
#[cfg(test)]
pub(super) fn written() -> std::collections::BTreeSet<(String, String)> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = |methods: &Value| methods.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    paths.iter().flat_map(|(path, m)| methods(m).into_iter().map(|m| (path.clone(), m))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_shows_all() {
        let document =
            document(&[("/health/live", "/a/health/live".to_owned()), ("/resync", "/resync".to_owned())]);
        let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(paths, ["/a/health/live", "/resync"]);
        let page = page(&document);
        for description in ["/a/health/live", "POST", "Run a resync", "503", "The service is stopping."] {
            assert!(page.contains(description), "{description}: {page}");
        }
        for outside in ["http:", "https:", "src=", "href=", "<script"] {
            assert!(!page.contains(outside), "{outside}: {page}");
        }
    }

    #[test]
    fn markup_in_a_prefix_stays_text() {
        let document = document(&[("/docs", "/<b>/docs".to_owned())]);
        assert!(page(&document).contains("/&lt;b&gt;/docs"));
    }
}
