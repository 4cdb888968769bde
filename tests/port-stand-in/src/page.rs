//! A page for people: the blueprints, and the entities of one.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use crate::store::Store;

const STYLE: &str = "body{font:15px system-ui;margin:2rem;max-width:80rem}table{border-collapse:collapse}\
     td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left;vertical-align:top}\
     code{font-size:13px;word-break:break-word}";

/// The page; with the entities of a blueprint if one is chosen.
pub(crate) fn render(store: &Store, chosen: Option<&str>) -> String {
    let mut html = format!(
        "<!doctype html><meta charset=utf-8><title>Port stand-in</title><style>{STYLE}</style>\
         <h1>Port stand-in</h1><table><tr><th>Blueprint<th>Title<th>Entities"
    );
    for (identifier, definition) in &store.blueprints {
        let title = definition.get("title").and_then(Value::as_str).unwrap_or_default();
        let count = store.entities.get(identifier).map_or(0, BTreeMap::len);
        let link: String = url::form_urlencoded::byte_serialize(identifier.as_bytes()).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            html,
            "<tr><td><a href=\"/?blueprint={link}\">{}</a><td>{}<td>{count}",
            escape(identifier),
            escape(title)
        );
    }
    html.push_str("</table>");
    if let Some(blueprint) = chosen {
        let _ = write!(
            html,
            "<h2>{}</h2><table><tr><th>Identifier<th>Title<th>Properties<th>Relations<th>Datasource<th>Updated",
            escape(blueprint)
        );
        for (identifier, entity) in store.entities.get(blueprint).into_iter().flatten() {
            let _ = write!(
                html,
                "<tr><td>{}<td>{}<td><code>{}</code><td><code>{}</code><td>{}<td>{}",
                escape(identifier),
                escape(entity.title.as_str().unwrap_or_default()),
                escape(&Value::Object(entity.properties.clone()).to_string()),
                escape(&Value::Object(entity.relations.clone()).to_string()),
                escape(&entity.datasource),
                entity.updated_at.format("%F %T")
            );
        }
        html.push_str("</table>");
    }
    html.push_str("<p>As JSON: <a href=\"/_stand-in/entities\">entities</a>, <a href=\"/_stand-in/requests\">requests</a>.");
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
