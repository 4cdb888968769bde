//! Mappings through the crate's public face, row by row.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use jq::Mapping;
use serde_json::{Value, json};

fn compile(query: &str, port: &Value) -> Result<Mapping, String> {
    Mapping::compile(json!({"selector": {"query": query}, "port": port}).to_string().as_bytes())
}

fn evaluate(query: &str, port: &Value, documents: &Value) -> Value {
    let output = compile(query, port).unwrap().evaluate(documents.to_string().as_bytes(), 1_900_000_000_500);
    serde_json::from_slice(&output.unwrap()).unwrap()
}

fn port(mappings: &Value) -> Value {
    let mut all = json!({"identifier": ".id", "blueprint": "\"b\""});
    all.as_object_mut().unwrap().extend(mappings.as_object().unwrap().clone());
    json!({"entity": {"mappings": all}})
}

/// The value of an expression on a document, as a property, and the warning if there is one.
fn property(expression: &str, document: &Value) -> (Value, Option<String>) {
    let mappings = json!({"identifier": "\"i\"", "properties": {"p": expression}});
    let output = evaluate("true", &port(&mappings), &json!([document]));
    let warning = output["warnings"][0]["reason"].as_str().map(ToOwned::to_owned);
    (output["entities"][0]["properties"]["p"].clone(), warning)
}

#[test]
fn expressions_give_what_jq_gives() {
    let document = json!({"a": {"b": [1, 2.0, 3.5]}, "s": "text", "n": null, "t": true, "o": {"z": 1, "y": 2},
        "tags": [{"Key": "Name", "Value": "web"}, {"Key": "Env", "Value": "prod"}], "big": 9_007_199_254_740_993_u64});
    for (expression, expected) in [
        (".a.b", json!([1, 2, 3.5])),
        (".a.b[1]", json!(2)),
        (".a.c.d", json!(null)),
        (" .s ", json!("text")),
        (".n.x", json!(null)),
        (".s, .t", json!("text")),
        ("empty", json!(null)),
        ("'text'", json!("text")),
        ("'a' + 'b'", json!("ab")),
        ("\"it's\"", json!("it's")),
        (".a.b | length", json!(3)),
        (".tags | map({(.Key): .Value}) | add", json!({"Name": "web", "Env": "prod"})),
        (".tags | from_entries", json!({"Name": "web", "Env": "prod"})),
        (".tags[] | select(.Key == \"Env\") | .Value", json!("prod")),
        (".o | to_entries | map(.key)", json!(["z", "y"])),
        (".o | keys", json!(["y", "z"])),
        (".missing // \"none\"", json!("none")),
        (".s | ascii_upcase | .[0:2]", json!("TE")),
        (".s | test(\"^te\")", json!(true)),
        (".s | split(\"x\")", json!(["te", "t"])),
        ("if .t then 1 else 2 end", json!(1)),
        ("\"\\(.s)-\\(.a.b[0])\"", json!("text-1")),
        ("1 / 2", json!(0.5)),
        ("4 / 2", json!(2)),
        (".a.b | add", json!(6.5)),
        ("\"2024-01-02T03:04:05Z\" | fromdateiso8601", json!(1_704_164_645)),
        ("1704164645 | todate", json!("2024-01-02T03:04:05Z")),
        ("now", json!(1_900_000_000.5)),
        ("env", json!({})),
        ("$ENV.HOME", json!(null)),
        ("@base64 \"\\(.s)\"", json!("dGV4dA==")),
        (".o | tojson", json!("{\"z\":1,\"y\":2}")),
        ("[.a.b[] | select(. > 1)] | first", json!(2)),
        (".s as $x | [$x, $x] | join(\",\")", json!("text,text")),
        ("try error(\"x\") catch .", json!("x")),
        (".big", json!(9_007_199_254_740_993_u64)),
    ] {
        assert_eq!(property(expression, &document), (expected, None), "{expression}");
    }
}

#[test]
fn a_wrong_expression_makes_null_and_a_warning() {
    for (expression, reason) in [
        (".a.b", "cannot index 1 with \"b\""),
        (".a | error(\"no\")", "no"),
        (".[", "expected a closing bracket at the end"),
        ("nonsense", "the filter `nonsense` is not defined"),
        ("$nope", "the variable `$nope` is not defined"),
        ("if 1", "expected then at the end"),
        ("halt", "it halted"),
        ("input", "the filter `input` is not defined"),
    ] {
        let (value, warning) = property(expression, &json!({"a": 1}));
        assert_eq!((value, warning.as_deref()), (Value::Null, Some(reason)), "{expression}");
    }
    let output = evaluate(
        "true",
        &port(&json!({"properties": {"p": ".id.x", "q": "1"}})),
        &json!([{"id": "i"}, {"id": "j"}]),
    );
    let warnings = json!([{"field": "properties.p", "count": 2, "reason": "cannot index \"i\" with \"x\""}]);
    assert_eq!(output["warnings"], warnings);
    assert_eq!(
        output["entities"][1],
        json!({"identifier": "j", "blueprint": "b", "properties": {"p": null, "q": 1}})
    );
}

#[test]
fn a_selector_gives_true_or_false_and_nothing_else() {
    let documents = json!([{"id": "i", "on": true}, {"id": "j", "on": false}, {"id": "k", "on": null}, {"id": "l", "on": "yes"}]);
    let output = evaluate(".on", &port(&json!({})), &documents);
    assert_eq!(output["entities"], json!([{"identifier": "i", "blueprint": "b"}]));
    assert_eq!(output["filtered"], 1);
    assert_eq!(
        output["errors"],
        json!([
            {"index": 2, "reason": "selector.query: gave `null` instead of true or false"},
            {"index": 3, "reason": "selector.query: gave `\"yes\"` instead of true or false"},
        ])
    );
    for (query, reason) in [
        ("empty", "selector.query: gave nothing instead of true or false"),
        ("error(\"x\")", "selector.query: x"),
    ] {
        let output = evaluate(query, &port(&json!({})), &json!([{"id": "i"}]));
        assert_eq!(output["errors"], json!([{"index": 0, "reason": reason}]));
    }
}

#[test]
fn an_entity_needs_an_identifier_and_a_blueprint() {
    for nothing in [json!(null), json!(false), json!(""), json!(0), json!([]), json!({})] {
        let output = evaluate("true", &port(&json!({})), &json!([{"id": nothing}, {"id": "j"}]));
        assert_eq!(output["entities"], json!([{"identifier": "j", "blueprint": "b"}]), "{nothing}");
        assert_eq!(output["warnings"][0]["field"], "identifier");
        assert_eq!(output["errors"], json!([]));
    }
    let output = evaluate("true", &port(&json!({})), &json!([{"id": 17}]));
    assert_eq!(output["entities"][0]["identifier"], "17");
    let output = evaluate("true", &port(&json!({})), &json!([{"id": ["a"]}]));
    assert_eq!(output["errors"][0]["reason"], "identifier: gave `[\"a\"]` instead of text");
    let output = evaluate("true", &port(&json!({"blueprint": ".kind"})), &json!([{"id": "i"}]));
    assert_eq!(output["entities"], json!([]));
    assert_eq!(output["warnings"][0]["field"], "blueprint");
}

#[test]
fn search_queries_are_evaluated_leaf_by_leaf() {
    let mappings = json!({"team": "[.team]", "relations": {
        "one": ".to", "many": "[.to, \"x\"]", "none": ".no",
        "searched": {"combinator": "'and'", "rules": [{"property": "'$identifier'", "operator": "'='", "value": ".to"}], "limit": 1}
    }});
    let output = evaluate("true", &port(&mappings), &json!([{"id": "i", "to": "t", "team": "red"}]));
    assert_eq!(
        output["entities"][0],
        json!({"identifier": "i", "blueprint": "b", "team": ["red"], "relations": {
            "one": "t", "many": ["t", "x"], "none": null,
            "searched": {"combinator": "and", "rules": [{"property": "$identifier", "operator": "=", "value": "t"}], "limit": 1}
        }})
    );
}

#[test]
fn documents_are_split_by_items_to_parse() {
    let mut port = port(
        &json!({"identifier": ".item.Key", "title": ".name", "properties": {"left": ".P.Tags", "n": ".P.n"}}),
    );
    port["itemsToParse"] = json!(".P.Tags");
    let documents = json!([{"name": "d", "P": {"n": 1, "Tags": [{"Key": "a"}, {"Key": "b"}]}}, {"name": "none", "P": {}}]);
    let output = evaluate(".item.Key != null", &port, &documents);
    let entity = |id: &str| json!({"identifier": id, "title": "d", "blueprint": "b", "properties": {"left": null, "n": 1}});
    assert_eq!(output["entities"], json!([entity("a"), entity("b")]));
    assert_eq!(
        output["warnings"],
        json!([{"field": "itemsToParse", "count": 1, "reason": "gave `null` instead of a list"}])
    );

    port["itemsToParseName"] = json!("tag");
    port["itemsToParseTopLevelTransform"] = json!(false);
    port["entity"]["mappings"]["identifier"] = json!(".tag.Key");
    let output = evaluate("true", &port, &documents);
    assert_eq!(output["entities"][1]["identifier"], "b");
    assert_eq!(output["entities"][1]["properties"]["left"], json!([{"Key": "a"}, {"Key": "b"}]));
}

#[test]
fn what_an_entity_cannot_do_without_must_compile() {
    for (query, mappings, expected) in [
        ("nonsense", json!({}), "`selector.query`, `nonsense`: the filter `nonsense` is not defined"),
        ("true", json!({"identifier": ".["}), "`identifier`, `.[`: expected a closing bracket"),
        ("true", json!({"blueprint": null}), "`blueprint` is not a JQ expression"),
        (
            "true",
            json!({"identifier": {"combinator": "'and'", "rules": []}}),
            "`identifier` is a search query",
        ),
    ] {
        let error = compile(query, &port(&mappings)).err().unwrap();
        assert!(error.starts_with(expected), "{error}");
    }
    let mut split = port(&json!({}));
    split["itemsToParse"] = json!("nope");
    assert!(compile("true", &split).err().unwrap().starts_with("`itemsToParse`, `nope`: "));
    assert!(Mapping::compile(b"\xff").is_err());
    assert!(compile("true", &port(&json!({}))).unwrap().evaluate(b"{}", 0).is_err());
    assert!(compile("true", &port(&json!({}))).unwrap().evaluate(b"[1", 0).is_err());
}

/// Equality in which `1` and `1.0` are the same number.
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

/// Where jaq does otherwise than libjq, and mappings are unlikely to care.
const KNOWN_DIFFERENCES: [&str; 19] = [
    // Nothing is infinite here: a division by zero, an error with libjq, is null in the end.
    "infinite",
    "-infinite",
    "1e1000",
    // Assigning below a null or beyond the end of a list does not create what is missing.
    "[] | .[2] = 1",
    "null | .[1] = 2",
    "null | .a = 1",
    "{} | .a.b = 1",
    "{} | .a[1] |= 5",
    // Regular expressions know no letters beyond ASCII, and groups that did not match are left out.
    ".Properties.Text | test(\"WÖRLD\"; \"i\")",
    ".Properties.Text | sub(\"(?<first>\\\\w+), (?<second>\\\\w+)\"; \"\\(.second) \\(.first)\")",
    ".Properties.Text | gsub(\"\"; \"-\")",
    ".Properties.Text | [match(\"(l+)(x)?\").captures[].string]",
    // Incomplete dates and times.
    "\"10:00\" | strptime(\"%H:%M\")",
    "[2024,2,1]|mktime",
    // Syntax.
    "$__loc__",
    "1 as $x | 2 as $y | [$x, $y, $__loc__.line]",
    "[.[] as [$a] ?// $a | $a] | length",
    "\"ab\" * 0",
    ".Properties.Numbers | .[1.7]",
];

/// What libjq gives for some five hundred expressions, recorded by `fixtures/record.py`.
#[test]
fn expressions_give_what_libjq_gives() {
    let document: Value = serde_json::from_str(include_str!("../fixtures/document.json")).unwrap();
    let recorded: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("../fixtures/libjq.json")).unwrap();
    let mut differences = Vec::new();
    for (expression, expected) in &recorded {
        let (value, warning) = property(expression, &document);
        if same(&value, expected) == KNOWN_DIFFERENCES.contains(&expression.as_str()) {
            differences.push(format!("{expression}\n  libjq {expected}\n  here  {value} {warning:?}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} are not as recorded, or no longer known to differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
