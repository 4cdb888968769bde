//! The page: one document that needs nothing from elsewhere. Without data it follows the service that
//! served it; with data it is a report.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing runs but the style and the script above, and nothing is asked but the events. Texts become
/// texts only: the script could not make markup of them.
pub(crate) static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The page; with the [whole](crate::status_page::StatusModel::whole) of a model it is one that shows just that.
pub fn page(data: Option<&str>) -> String {
    // In JSON these stand in texts only. Nothing else could end the element, or begin a comment in it.
    let data = data.map(|json| json.replace('<', "\\u003c")).unwrap_or_default();
    let (head, tail) = DOCUMENT.split_once("{data}").unwrap_or((DOCUMENT, ""));
    let fill = |part: &str| {
        part.replace("{policy}", &CONTENT_SECURITY_POLICY)
            .replace("{style}", STYLE)
            .replace("{script}", SCRIPT)
    };
    // The data is not looked through for what is to be filled in.
    [fill(head), data, fill(tail)].concat()
}
