//! The page: one self-contained document. Without data it follows the service that served it; with data it is
//! a report.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Allows only the style and the script above, and only requests for the events. Texts stay texts: the script
/// cannot turn them into markup.
pub(crate) static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// Returns the page; with the [whole](crate::status_page::StatusModel::whole) of a model, a page that shows
/// only that.
pub fn page(data: Option<&str>) -> String {
    // In JSON, `<` occurs only in texts. Nothing else could end the element, or start a comment in it.
    let data = data.map(|json| json.replace('<', "\\u003c")).unwrap_or_default();
    let (head, tail) = DOCUMENT.split_once("{data}").unwrap_or((DOCUMENT, ""));
    let fill = |part: &str| {
        part.replace("{policy}", &CONTENT_SECURITY_POLICY)
            .replace("{style}", STYLE)
            .replace("{script}", SCRIPT)
    };
    // The placeholders are not searched in the data.
    [fill(head), data, fill(tail)].concat()
}
