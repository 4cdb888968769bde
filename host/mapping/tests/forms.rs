//! Which forms of JQ are evaluated on texts, and that the default mappings of the bundled plugins mostly are.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use berth_mapping::{DocumentReader, EvaluationResult, Expression, Found, PathTree};
use serde_json::Value;

/// The value of an expression on a document; none where a whole JQ is needed.
fn evaluate(code: &str, document: &str) -> Option<String> {
    let mut paths = PathTree::default();
    let expression = Expression::parse(code)?.place(&mut paths);
    let mut found = Found::default();
    paths.find(document, &mut found).unwrap();
    match expression.evaluate(&found) {
        EvaluationResult::Value(value) => {
            let mut out = Vec::new();
            value.write(&mut out);
            Some(String::from_utf8(out).unwrap())
        }
        EvaluationResult::Nothing => Some("nothing".to_owned()),
        EvaluationResult::Failed => Some("an error".to_owned()),
        EvaluationResult::Deferred => None,
    }
}

#[test]
fn frequent_forms_are_evaluated_on_texts() {
    let document = r#"{"Name": "web\u002d1", "A": "1:2", "N": {"x": [1.0, {"y": -0}, 2]}, "Name": "last",
        "Tags": [{"Key": "Name", "Value": "db"}, {"Key": "Env", "Value": null}], "On": false, "Size": 8, "No": null}"#;
    for (code, expected) in [
        (".Name", r#""last""#),
        (" .\"Name\" ", r#""last""#),
        (".N.x", r#"[1, {"y": 0}, 2]"#),
        (".N.x[-1]", "2"),
        (".N.missing.deeper[0]", "null"),
        (".Missing // \"none\"", r#""none""#),
        (".On // .No // .Size", "8"),
        ("\"arn:\" + .A + \"/\" + .Name", r#""arn:1:2/last""#),
        ("\"\\(.A)-\\(.Size)-\\(.No)\"", r#""1:2-8-null""#),
        (".Tags | map(.Value)", r#"["db",null]"#),
        (".No | if . == null then null else map(.a) end", "null"),
        (
            "first(.Tags[]? | select(.Key == \"Name\") | .Value | select(. != null and . != \"\")) // .Name",
            r#""db""#,
        ),
        ("[.Tags[]?.Value | values]", r#"["db"]"#),
        (".Tags | map(select(.Key == \"Env\")) | .[0].Value", "null"),
        (".A | split(\":\") | last", r#""2""#),
        (".Size >= 8 and (.On | not)", "true"),
        ("[.No[]?]", "[]"),
        (".No[]?", "nothing"),
        ("if .On then 1 elif .Size == 8 then \"eight\" else empty end", r#""eight""#),
        (".Tags | length > 1", "true"),
    ] {
        assert_eq!(evaluate(code, document).as_deref(), Some(expected), "{code}");
    }
    for code in [
        ".Name.x",
        ".Tags | .x",
        "[.No[]]",
        ".On | map(.x)",
        ".Size | split(\":\")",
        ".Name[0]",
        "[.Name.x[]?]",
        ".Name.x // 1",
    ] {
        assert_eq!(evaluate(code, document).as_deref(), Some("an error"), "{code}");
    }
    // A question mark is for the brackets before it, and no more.
    assert_eq!(evaluate("[.Name[]?] | length", document).as_deref(), Some("0"));
    // What a whole JQ must be asked for: what is not certain, and what is no such form.
    for code in
        [".N | map(.x)", ".Name + .Size", ".N.x[0] + 1", "..", ".Tags[1:]", ". as $x | $x", "1.5", ". -1"]
    {
        assert_eq!(evaluate(code, document), None, "{code}");
    }
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = ".a + ".repeat(10_000) + ".a";
    assert!(Expression::parse(&deep).is_none() && Expression::parse(&long).is_none());
}

#[test]
fn what_expressions_read_is_found_and_nothing_else() {
    let mut paths = PathTree::default();
    for path in [&["P", "Tags"][..], &["P", "State", "Name"], &["P", "Text", "x"], &["Missing"], &["No", "x"]]
    {
        paths.keep(path);
    }
    let text = r#"[{"P": {"Tags": [1], "Other": {}, "State": {"Code": 1, "Name": "on"}, "Text": "t"}, "No": null}, 5, {}]"#;
    let mut batch = DocumentReader::new(text).unwrap();
    let mut found = Found::default();
    let mut pruned = Vec::new();
    while batch.next(&paths, &mut found).unwrap().is_some() {
        let mut out = Vec::new();
        paths.pruned(&found, &mut out);
        pruned.push(String::from_utf8(out).unwrap());
    }
    assert_eq!(pruned, [r#"{"P":{"Tags":[1],"State":{"Name":"on"},"Text":"t"},"No":null}"#, "5", "{}"]);
    for broken in ["", "{}", "[{]", "[{}", "[{\"P\" 1}]", "[1] 2", "[{\"P\": {\"Tags\"}}]"] {
        let read = DocumentReader::new(broken).and_then(|mut batch| {
            while batch.next(&paths, &mut Found::default())?.is_some() {}
            Ok(())
        });
        assert!(read.is_err(), "{broken}");
    }
}

#[test]
fn default_mappings_are_evaluated_on_texts() {
    let (mut known, mut unknown) = (0, Vec::new());
    let mut visit = |value: &Value| {
        let mut values = vec![value.clone()];
        while let Some(value) = values.pop() {
            match value {
                Value::String(code) if Expression::parse(&code).is_some() => known += 1,
                Value::String(code) => unknown.push(code),
                Value::Object(members) => values.extend(members.into_iter().map(|(_, member)| member)),
                _ => {}
            }
        }
    };
    for folder in fs::read_dir("../../plugins").unwrap() {
        let Ok(manifest) = fs::read(folder.unwrap().path().join("manifest.json")) else { continue };
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for kind in manifest["kinds"].as_array().unwrap() {
            visit(&kind["mapping"]["port"]["entity"]["mappings"]);
        }
    }
    assert!(known > 1_000 && unknown.len() <= 10, "{known} are known, and not: {unknown:#?}");
}
