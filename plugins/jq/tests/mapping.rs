//! Mappings through the crate's public face, row by row.
#![expect(clippy::unwrap_used, reason = "tests")]

use berth_plugin::{PORT_IDENTIFIER_JQ, port_identifier};
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

/// The value of an expression on a document, as a property, and the reason where there is none.
fn property(expression: &str, document: &Value) -> (Value, Option<String>) {
    let mappings = json!({"identifier": "\"i\"", "properties": {"p": expression}});
    let output = evaluate("true", &port(&mappings), &json!([document]));
    let reason = output["misconfigured"][0]["reason"].as_str().map(ToOwned::to_owned);
    (output["entities"][0]["properties"]["p"].clone(), reason)
}

#[test]
fn expressions_give_what_jq_gives() {
    let document = json!({"a": {"b": [1, 2.0, 3.5]}, "s": "text", "n": null, "t": true, "o": {"z": 1, "y": 2},
        "tags": [{"Key": "Name", "Value": "web"}, {"Key": "Env", "Value": "prod"}], "big": 9_007_199_254_740_993_u64,
        "policy": "{\"Sid\": \"cut \\ud83d\n\", \"\\udE00\": 1}"});
    for (expression, expected) in [
        (".a.b", json!([1, 2, 3.5])),
        (".a.b[1]", json!(2)),
        (" .s ", json!("text")),
        (".s, .t", json!("text")),
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
        ("$ENV", json!({})),
        ("@base64 \"\\(.s)\"", json!("dGV4dA==")),
        (".o | tojson", json!("{\"z\":1,\"y\":2}")),
        ("[.a.b[] | select(. > 1)] | first", json!(2)),
        (".s as $x | [$x, $x] | join(\",\")", json!("text,text")),
        ("try error(\"x\") catch .", json!("x")),
        (".big", json!(9_007_199_254_740_993_u64)),
        (".policy | fromjson | .Sid", json!("cut \u{fffd}\n")),
        (".policy | fromjson | keys", json!(["Sid", "\u{fffd}"])),
    ] {
        assert_eq!(property(expression, &document), (expected, None), "{expression}");
    }
}

#[test]
fn an_expression_that_gives_nothing_makes_null_and_is_told() {
    for (expression, reason) in [
        (".b", "gave null"),
        ("empty", "gave nothing"),
        ("$ENV.HOME", "gave null"),
        ("True", "the filter `True` is not defined"),
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
        &port(&json!({"blueprint": ".kind // \"b\"", "title": null, "properties": {"p": ".id.x", "q": "1"}})),
        &json!([{"id": "i"}, {"id": "j"}, {"id": "k", "kind": "c"}]),
    );
    let misconfigured = |blueprint: &str, count: usize, id: &str| {
        [
            json!({"field": "properties.p", "expression": ".id.x", "blueprint": blueprint, "count": count,
                "reason": format!("cannot index \"{id}\" with \"x\"")}),
            json!({"field": "title", "blueprint": blueprint, "count": count,
                "reason": "is `null`, which is no JQ expression"}),
        ]
    };
    // The error is that of the batch's first document.
    let (b, c) = (misconfigured("b", 2, "i"), misconfigured("c", 1, "i"));
    assert_eq!(output["misconfigured"], json!([b[0], c[0], b[1], c[1]]));
    assert_eq!(
        output["entities"][1],
        json!({"identifier": "j", "title": null, "blueprint": "b", "properties": {"p": null, "q": 1}})
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
        let mappings = json!({"properties": {"p": ".p"}});
        let output = evaluate("true", &port(&mappings), &json!([{"id": nothing}, {"id": "j", "p": 1}]));
        let entity = json!({"identifier": "j", "blueprint": "b", "properties": {"p": 1}});
        assert_eq!(output["entities"], json!([entity]), "{nothing}");
        let gave = if nothing.is_null() { "null".to_owned() } else { format!("`{nothing}`") };
        assert_eq!(
            output["misconfigured"],
            json!([{"field": "identifier", "expression": ".id", "count": 1,
                "reason": format!("gave {gave}, so that there is no entity")}])
        );
        assert_eq!(output["errors"], json!([]));
    }
    let output = evaluate("true", &port(&json!({"identifier": ".id.x"})), &json!([{"id": "i"}]));
    let reason = "cannot index \"i\" with \"x\", so that there is no entity";
    assert_eq!(output["misconfigured"][0]["reason"], reason);
    let output = evaluate("true", &port(&json!({})), &json!([{"id": ["a"]}]));
    assert_eq!(output["errors"][0]["reason"], "identifier: gave `[\"a\"]` instead of text");
    let output = evaluate("true", &port(&json!({"blueprint": ".kind"})), &json!([{"id": "i"}]));
    assert_eq!(output["entities"], json!([]));
    assert_eq!(output["misconfigured"][0]["field"], "blueprint");
}

#[test]
fn numbers_are_text_where_port_has_text() {
    let mappings = json!({"blueprint": "7", "title": ".n", "icon": "\"AWS\"", "properties": {"n": ".n"}});
    let output = evaluate("true", &port(&mappings), &json!([{"id": 17, "n": 1.50}, {"id": 1.0, "n": true}]));
    assert_eq!(
        output["entities"],
        json!([
            {"identifier": "17", "title": "1.5", "icon": "AWS", "blueprint": "7", "properties": {"n": 1.5}},
            {"identifier": "1", "title": "true", "icon": "AWS", "blueprint": "7", "properties": {"n": true}},
        ])
    );
}

#[test]
fn search_queries_are_evaluated_leaf_by_leaf() {
    let rule = |value: &str| json!({"property": "'$title'", "operator": "\"=\"", "value": value});
    let query = |value: &str| json!({"combinator": "'and'", "rules": [rule(value), {"combinator": "'or'", "rules": [rule("'x'")]}]});
    let found = |value: &str| {
        let rule = |value: &str| json!({"property": "$title", "operator": "=", "value": value});
        json!({"combinator": "and", "rules": [rule(value), {"combinator": "or", "rules": [rule("x")]}]})
    };
    let mappings = json!({"identifier": query(".id"), "team": query(".team"), "relations": {
        "one": ".to", "many": "[.to, \"x\"]", "none": ".no", "searched": query(".to"), "lost": query(".no")}});
    let output =
        evaluate("true", &port(&mappings), &json!([{"id": "i", "to": "t", "team": "red"}, {"to": "t"}]));
    assert_eq!(
        output["entities"],
        json!([{"search": found("i"), "team": found("red"), "blueprint": "b", "relations": {
            "one": "t", "many": ["t", "x"], "none": null, "searched": found("t"), "lost": null}}])
    );
    let told: Vec<(&str, u64, bool)> = output["misconfigured"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["field"].as_str().unwrap(), it["count"].as_u64().unwrap(), it["blueprint"] == "b"))
        .collect();
    assert_eq!(
        told,
        [
            ("identifier.rules[0].value", 1, false),
            ("relations.lost.rules[0].value", 1, true),
            ("relations.none", 1, true),
        ]
    );
}

#[test]
fn the_environment_is_what_the_host_shows() {
    let mappings = json!({"identifier": "$ENV.STAGE", "blueprint": "env.STAGE", "properties": {"all": "env", "home": "$ENV.HOME"}});
    let mapping = json!({"selector": {"query": "true"}, "port": {"entity": {"mappings": mappings}},
        "environment": {"STAGE": "prod"}});
    let mapping = Mapping::compile(mapping.to_string().as_bytes()).unwrap();
    let output: Value = serde_json::from_slice(&mapping.evaluate(b"[{}]", 0).unwrap()).unwrap();
    assert_eq!(
        output["entities"][0],
        json!({"identifier": "prod", "blueprint": "prod", "properties": {"all": {"STAGE": "prod"}, "home": null}})
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
        output["misconfigured"],
        json!([
            {"field": "itemsToParse", "expression": ".P.Tags", "count": 1, "reason": "gave `null` instead of a list"},
            {"field": "properties.left", "expression": ".P.Tags", "blueprint": "b", "count": 2, "reason": "gave null"},
        ])
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
            json!({"identifier": {"combinator": "'and'", "rules": [{"property": "a", "operator": "'='", "value": "."}]}}),
            "`identifier.rules[0].property`, `a`: the filter `a` is not defined",
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

#[test]
fn identifiers_for_port_are_the_same_in_rust() {
    let mappings = json!({"identifier": "\"i\"", "properties": {"p": format!(". | {PORT_IDENTIFIER_JQ}")}});
    let mapping = compile("true", &port(&mappings)).unwrap();
    // All of ASCII, and enough of each plane to meet every byte that UTF-8 has.
    let some: Vec<char> = ('\0'..='\u{52f}').chain(('\u{530}'..=char::MAX).step_by(1021)).collect();
    let texts: Vec<String> = some.chunks(128).map(|characters| characters.iter().collect()).collect();
    let output = mapping.evaluate(json!(texts).to_string().as_bytes(), 0).unwrap();
    let output: Value = serde_json::from_slice(&output).unwrap();
    let entities = output["entities"].as_array().unwrap();
    let made: Vec<&str> = entities.iter().map(|entity| entity["properties"]["p"].as_str().unwrap()).collect();
    let expected: Vec<_> = texts.iter().map(|text| port_identifier(text)).collect();
    assert_eq!(made, expected);
}
