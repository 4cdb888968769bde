use serde_json::{Value, json};

use super::{generate, mapper_name};

/// A manifest with one kind, whose document and properties are these.
fn manifest(document: &Value, properties: &Value) -> String {
    let mappings =
        json!({"identifier": ".Properties.Id", "blueprint": "\"widget\"", "properties": properties});
    let mapping = json!({"port": {"entity": {"mappings": mappings}}});
    json!({"kinds": [{"kind": "Acme::Widget", "document": document, "mapping": mapping}]}).to_string()
}

fn refusal(document: &Value, properties: &Value) -> String {
    generate(&manifest(document, properties)).unwrap_err()
}

#[test]
fn mappers_are_named_as_berth_plugin_new_names_them() {
    for (kind, name) in [
        ("AWS::EC2::Volume", "AwsEc2VolumeMapper"),
        ("AWS::RDS::DBInstance", "AwsRdsDbInstanceMapper"),
        ("AWS::ElasticLoadBalancingV2::TargetGroup", "AwsElasticLoadBalancingV2TargetGroupMapper"),
        ("acme::widget", "AcmeWidgetMapper"),
    ] {
        assert_eq!(mapper_name(kind), name);
    }
}

#[test]
fn what_the_mapping_reads_is_generated_once_for_each_kind() {
    let document = json!({
        "merge": ["item", "steps.describe?"],
        "set": {
            "Tags": {"value": "{steps.tags}", "option": "TagsAction"},
            "Arn": "arn:{partition}:acme:{region}:{account}:widget/{item.Id}"
        },
        "owner": "item.OwnerId",
        "keepUnknown": true,
        "required": ["Id"],
        "times": ["Created"]
    });
    let properties = json!({"arn": ".Properties.Arn", "tags": ".Properties.Tags | length"});
    let code = generate(&manifest(&document, &properties)).unwrap();
    assert_eq!(code.matches("pub struct AcmeWidgetMapper;").count(), 1, "{code}");
    assert!(code.contains("export!([AcmeWidgetMapper,]"), "{code}");
}

#[test]
fn what_only_jq_evaluates_is_refused_with_the_field() {
    let refused =
        refusal(&json!({}), &json!({"total": "reduce .Properties.Sizes[] as $size (0; . + $size)"}));
    assert!(refused.starts_with("manifest.json: Acme::Widget: `total`: `reduce "), "{refused}");
    assert!(refused.ends_with("needs a whole JQ"), "{refused}");
    let refused = refusal(&json!({"set": {"Total": "{item.Sizes | add // input}"}}), &json!({}));
    assert!(refused.contains("`.item.Sizes | add // input` needs a whole JQ"), "{refused}");
}

#[test]
fn whole_documents_are_refused() {
    for path in [".", ".Properties", ".__ExtraContext"] {
        let refused = refusal(&json!({}), &json!({"all": path}));
        assert!(refused.starts_with("manifest.json: Acme::Widget: `all`: "), "{refused}");
        assert!(refused.contains("reads the whole document"), "{refused}");
    }
}

#[test]
fn a_text_has_nothing_below_it() {
    let refused =
        refusal(&json!({"set": {"Arn": "arn:aws:{item.Id}"}}), &json!({"size": ".Properties.Arn.Size"}));
    assert!(refused.ends_with("`size`: `arn:aws:{item.Id}` is a text, which has no `Size`"), "{refused}");
    let option = json!({"value": "arn:aws:{item.Id}", "option": "ArnAction"});
    let refused = refusal(&json!({"set": {"Arn": option}}), &json!({"arn": ".Properties.Arn"}));
    assert!(refused.ends_with("is a text; read its parts in the mapping instead"), "{refused}");
    let refused = refusal(&json!({"set": {"Arn": "arn:{item.Id"}}), &json!({}));
    assert!(refused.ends_with("`arn:{item.Id` has a brace that does not end"), "{refused}");
}

#[test]
fn what_an_option_switches_on_is_not_null_without_it() {
    let source = json!({"value": "{steps.tags}", "nulls": "write", "option": "TagsAction"});
    let refused = refusal(&json!({"set": {"Tags": source}}), &json!({}));
    assert!(refused.ends_with("`Tags`: with an option, `nulls` is `skip` or `keep`"), "{refused}");
}

#[test]
fn unknown_fields_are_named() {
    for (document, name) in [
        (json!({"require": ["Id"]}), "require"),
        (json!({"set": {"Arn": {"value": "{item.Id}", "null": "keep"}}}), "null"),
        (json!({"set": {"Arn": {"value": "{item.Id}", "nulls": "drop"}}}), "drop"),
        (json!({"origin": "planet"}), "planet"),
    ] {
        let refused = refusal(&document, &json!({}));
        assert!(refused.starts_with("manifest.json: unknown "), "{refused}");
        assert!(refused.contains(&format!("`{name}`")), "{refused}");
    }
}

#[test]
fn a_blueprint_is_a_text() {
    let computed = manifest(&json!({}), &json!({})).replace("\\\"widget\\\"", ".Properties.Kind");
    let refused = generate(&computed).unwrap_err();
    assert!(refused.ends_with("`blueprint`: `.Properties.Kind` is not a text in quotes"), "{refused}");
}
