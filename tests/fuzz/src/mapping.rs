//! Mappings that users write in JQ: compiled, and evaluated on documents.

use jq::Mapping;
use serde_json::{Value, json};

/// A time that every evaluation takes for now.
const NOW: u64 = 1_900_000_000_500;

/// Words by which an expression may run for ever or ask for any amount of memory. In Berth the sandbox
/// ends it, which costs its batch; here nothing would. Such expressions are compiled only.
const ENDLESS: &str = "range repeat recurse while until limit def walk combinations foreach reduce env input \
                       infinite * exp pow ldexp scalb path = gamma splits implode skip halt first label nth \
                       isempty stream IN INDEX GROUP ltrimstr";

/// An expression in the first line, documents in JSON behind it.
pub(crate) fn expressions(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (expression, documents) = text.split_once('\n').unwrap_or((text, "[{}]"));
    let mapping = json!({
        "selector": {"query": "true"},
        "port": {"entity": {"mappings": {
            "identifier": "\"i\"", "blueprint": "\"b\"", "properties": {"p": expression},
        }}},
    });
    // What is wrong with a property costs only the property.
    let mapping = Mapping::compile(mapping.to_string().as_bytes()).unwrap();
    // A selector, on which everything depends, is refused with its place. Compiling is slow, so only now and then.
    if expression.len().is_multiple_of(4) {
        let selecting = json!({
            "selector": {"query": expression},
            "port": {"entity": {"mappings": {"identifier": ".", "blueprint": "\"b\""}}},
        });
        if let Err(reason) = Mapping::compile(selecting.to_string().as_bytes()) {
            assert!(reason.starts_with("`selector.query`, `"), "the reason names the place: {reason}");
        }
    }
    let digits = expression.as_bytes().windows(4).any(|window| window.iter().all(u8::is_ascii_digit));
    if digits || ENDLESS.split(' ').any(|word| expression.contains(word)) {
        return;
    }
    let output = mapping.evaluate(documents.as_bytes(), NOW);
    // What is no JSON is not noticed everywhere: the host checks what comes back.
    let Ok(read) = serde_json::from_str::<Vec<Value>>(documents) else { return };
    let output = output.unwrap();
    assert_eq!(mapping.evaluate(documents.as_bytes(), NOW).as_ref(), Ok(&output), "the same each time");
    let output: Value = serde_json::from_slice(&output).unwrap();
    let count = |name: &str| output[name].as_array().map_or(0, Vec::len);
    assert_eq!(count("entities"), read.len(), "a property costs no entity");
    let reported: u64 = output["misconfigured"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["count"].as_u64())
        .sum();
    let nulls =
        output["entities"].as_array().into_iter().flatten().filter(|one| one["properties"]["p"].is_null());
    assert!(nulls.count() as u64 >= reported, "what gave nothing is null");
}

/// A whole mapping, as the host hands it over.
pub(crate) fn mappings(input: &[u8]) {
    match Mapping::compile(input) {
        Ok(_) => assert!(serde_json::from_slice::<Value>(input).is_ok()),
        Err(reason) => assert!(!reason.is_empty()),
    }
}
