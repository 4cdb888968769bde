//! Sample responses that are generated from the model. Fetch plans are validated on them.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};

use crate::{
    Operation,
    model::{Model, Reference, Shape},
};

/// Structures below this depth have no members: a few models branch without end.
const DEPTH: usize = 10;

impl Operation {
    /// Returns a possible result of [`Operation::decode`] with every member of the model: lists and maps
    /// have one element, every text is `sample`, and a structure within itself is empty. A path that
    /// matches nothing in it matches nothing in any response, and an input that is built from its values
    /// has the same types as one built from real responses.
    pub fn sample(&self) -> Value {
        let model = self.service().model();
        let output = self.model().output.as_ref();
        output.map_or_else(|| json!({}), |output| sample(model, output, &mut Vec::new()))
    }
}

/// `within` are the structures around the value, outermost first.
fn sample(model: &Model, reference: &Reference, within: &mut Vec<usize>) -> Value {
    match model.shape(reference) {
        Shape::Structure(_) if within.contains(&reference.shape) || within.len() == DEPTH => json!({}),
        Shape::Structure(structure) => {
            within.push(reference.shape);
            let members = structure.members.iter().map(|member| {
                let value = sample(model, &member.reference, within);
                (member.name.clone(), value)
            });
            let members: Map<String, Value> = members.collect();
            within.pop();
            Value::Object(members)
        }
        Shape::List(element) => json!([sample(model, element, within)]),
        Shape::Map(_, element) => json!({"sample": sample(model, element, within)}),
        Shape::String => json!("sample"),
        Shape::Integer => json!(1),
        Shape::Float => json!(1.5),
        Shape::Boolean => json!(true),
        Shape::Blob => json!(BASE64.encode("sample")),
        Shape::Timestamp => json!("2024-01-02T03:04:05Z"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::AwsService;

    #[test]
    fn a_sample_has_every_member_and_is_finite() {
        let sample = |service: &str, operation: &str| {
            AwsService::load(service).unwrap().operation(operation).unwrap().sample()
        };
        let buckets = sample("s3", "ListBuckets");
        assert_eq!(buckets["Buckets"][0]["Name"], "sample");
        assert_eq!(buckets["Buckets"][0]["CreationDate"], "2024-01-02T03:04:05Z");
        assert_eq!(buckets["Owner"]["ID"], "sample");
        let instance = &sample("ec2", "DescribeInstances")["Reservations"][0]["Instances"][0];
        assert_eq!((&instance["EbsOptimized"], &instance["AmiLaunchIndex"]), (&json!(true), &json!(1)));
        // A statement of a web ACL holds statements.
        let rule = &sample("wafv2", "GetWebACL")["WebACL"]["Rules"][0];
        assert_eq!(rule["Statement"]["NotStatement"]["Statement"], json!({}));
    }
}
