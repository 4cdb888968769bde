//! What jaq gives, held against what libjq gives.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, env, fmt::Write, process::Command};

use jq::Mapping;
use serde_json::{Value, json};

/// What libjq gave for an expression on each document: see `fixtures/record.py`.
type Recorded = BTreeMap<String, Vec<Value>>;

const README: &str = include_str!("../README.md");

/// What an expression gives on each document, in the form of the record.
fn evaluate(expression: &str, documents: &[Value]) -> Vec<Value> {
    let mappings = json!({"identifier": "\"i\"", "blueprint": "\"b\"", "properties": {"p": expression}});
    let mapping = json!({"selector": {"query": "true"}, "port": {"entity": {"mappings": mappings}}});
    let mapping = Mapping::compile(mapping.to_string().as_bytes()).unwrap();
    let one = |document: &Value| {
        let output = mapping.evaluate(json!([document]).to_string().as_bytes(), 1_900_000_000_500).unwrap();
        let output: Value = serde_json::from_slice(&output).unwrap();
        let value = &output["entities"][0]["properties"]["p"];
        match output["misconfigured"][0]["reason"].as_str() {
            None | Some("gave null") => json!([value]),
            Some("gave nothing") => json!([]),
            Some(error) => json!(error),
        }
    };
    documents.iter().map(one).collect()
}

/// Equality in which `1` and `1.0` are the same number, and each error is as good as another.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn same_outcome(a: &Value, b: &Value) -> bool {
    (a.is_string() && b.is_string()) || same(a, b)
}

/// One line of the table in the README.
fn row(expression: &str, libjq: &Value, here: &Value) -> String {
    let shown = |outcome: &Value| match outcome {
        Value::Array(values) => values.first().map_or("nothing".to_owned(), |value| format!("`{value}`")),
        _ => "an error".to_owned(),
    };
    let text = format!("| `{expression}` | {} | {} |", shown(libjq), shown(here));
    // A bar would end the cell.
    let cells = text.strip_prefix("| ").and_then(|text| text.strip_suffix(" |")).unwrap();
    let cells: Vec<String> = cells.split("` | ").map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |", cells.join("` | "))
}

#[test]
fn expressions_give_what_libjq_gives_or_stand_in_the_readme() {
    let documents: Vec<Value> = serde_json::from_str(include_str!("../fixtures/documents.json")).unwrap();
    let recorded: Recorded = serde_json::from_str(include_str!("../fixtures/libjq.json")).unwrap();
    assert!(recorded.len() > 1_000 && recorded.values().all(|outcomes| outcomes.len() == documents.len()));
    let mut rows = Vec::new();
    for (expression, libjq) in &recorded {
        let here = evaluate(expression, &documents);
        let different = libjq.iter().zip(&here).find(|(libjq, here)| !same_outcome(libjq, here));
        rows.extend(different.map(|(libjq, here)| row(expression, libjq, here)));
    }
    let (_, table) = README.split_once("| expression | libjq | here |\n| --- | --- | --- |\n").unwrap();
    let told: Vec<&str> = table.lines().collect();
    let mut wrong = String::new();
    for row in rows.iter().filter(|row| !told.contains(&row.as_str())) {
        writeln!(wrong, "not in the README: {row}").unwrap();
    }
    for row in told.iter().filter(|told| !rows.iter().any(|row| row == *told)) {
        writeln!(wrong, "not true any more: {row}").unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_record_is_that_of_the_installed_libjq() {
    // Set by the task runner, which installs it.
    let Some(python) = env::var_os("BERTH_TEST_PYTHON") else { return };
    let output = Command::new(python).args(["fixtures/record.py", "--check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
