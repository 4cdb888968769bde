//! A denied call costs only the data of that call.

use std::collections::BTreeMap;

use berth_e2e::World;
use serde_json::{Value, json};

const TAGS: &str = "s3 GET ?tagging";

#[test]
fn denied_tags_are_not_emptied_and_are_reported_once_for_all_accounts() {
    let world = World::with_accounts(2).buckets(2).build();
    world.sync().exits(0);
    let before = world.port().entities();
    let tags = |entities: &Value| -> BTreeMap<String, Value> {
        let buckets = entities["s3Bucket"].as_object().unwrap();
        buckets.iter().map(|(arn, bucket)| (arn.clone(), bucket["properties"]["tags"].clone())).collect()
    };
    assert!(tags(&before).values().any(|tags| tags != &json!([]) && !tags.is_null()), "{before}");

    world.gate().deny_call(TAGS);
    let account = world.accounts()[0].clone();
    let buckets = before["s3Bucket"].as_object().unwrap();
    let arn =
        buckets.iter().find(|(_, bucket)| bucket["relations"]["account"] == account.as_str()).unwrap().0;
    world.delete_bucket(&account, arn.trim_start_matches("arn:aws:s3:::"));
    let run = world.sync();
    // Everything is listed, so what is gone is deleted; what the tags were stays.
    run.exits(3).says("`s3:GetBucketTagging` is denied: its values stay unchanged in Port");
    run.says("allow `s3:GetBucketTagging`");
    let after = world.port().entities();
    let mut expected = before.clone();
    expected["s3Bucket"].as_object_mut().unwrap().remove(arn);
    assert_eq!(tags(&after), tags(&expected), "{run}");
    let reported = run.stdout.matches("`s3:GetBucketTagging` is denied").count();
    assert_eq!(reported, 1, "one problem for both accounts: {run}");

    let ill = world.tool(&["doctor"]);
    ill.exits(3).says("AWS::S3::Bucket in us-east-1").says("s3:GetBucketTagging");

    world.gate().allow_calls();
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
}
