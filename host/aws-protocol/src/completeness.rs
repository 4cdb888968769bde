//! Checks that a response contains the requested list. A response without it does not prove that there are
//! no items.

use berth_core::{EmptyList, Path, PathSegment, StatedEmpty};
use serde_json::Value;

use crate::{Operation, model::Shape, protocol::Syntax};

/// A response without its list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteList {
    /// The list is missing.
    #[error("the response to {operation} has no list `{items}`, so it does not show which items exist")]
    NoList {
        /// The operation, such as `ec2.DescribeInstances`.
        operation: String,
        /// The path of the items.
        items: String,
    },
    /// An element of the list lacks the listed member.
    #[error(
        "the response to {operation} lists {elements} elements, but `{items}` is in only {found} of them"
    )]
    NoMember {
        /// The operation.
        operation: String,
        /// The path of the items.
        items: String,
        /// The number of elements of the list.
        elements: usize,
        /// The number of elements with the member.
        found: usize,
    },
}

impl Operation {
    /// Checks that a response has the first list on the path of its items, and that each element of it has
    /// the members on the path. For a path without a list, checks that the value exists.
    ///
    /// A flattened XML list consists only of its elements, so it may be absent if it is empty. Otherwise
    /// `empty` describes the service's response in that case.
    ///
    /// # Errors
    /// [`IncompleteList`] if the response does not show which items exist.
    pub fn check_list(
        &self,
        answer: &Value,
        items: &Path,
        empty: Option<&EmptyList>,
    ) -> Result<(), IncompleteList> {
        self.check_listed(answer, items.all(answer).len(), items, empty)
    }

    /// Does the same as [`check_list`](Self::check_list) for a response whose items are null, with the
    /// number of items that were found.
    ///
    /// # Errors
    /// [`IncompleteList`] if the response does not show which items exist.
    pub fn check_listed(
        &self,
        answer: &Value,
        found: usize,
        items: &Path,
        empty: Option<&EmptyList>,
    ) -> Result<(), IncompleteList> {
        let no_list =
            || IncompleteList::NoList { operation: self.to_string(), items: items.as_str().to_owned() };
        if !items.is_list() {
            return if found > 0 { Ok(()) } else { Err(no_list()) };
        }
        let Some(list) = items.list_in(answer).and_then(Value::as_array) else {
            let is_empty = match empty {
                Some(EmptyList::Convention(_)) => true,
                Some(EmptyList::Stated(StatedEmpty { path, is })) => path.first(answer) == Some(is),
                None => self.leaves_out_when_empty(answer, items),
            };
            return if is_empty { Ok(()) } else { Err(no_list()) };
        };
        let below = &items.segments()[items.to_first_list().len() + 1..];
        let one_each = below.iter().all(|segment| matches!(segment, PathSegment::Name(_)));
        if one_each && found != list.len() {
            return Err(IncompleteList::NoMember {
                operation: self.to_string(),
                items: items.as_str().to_owned(),
                elements: list.len(),
                found,
            });
        }
        Ok(())
    }

    /// Returns whether the first list on the path is flattened, without an enclosing element, and its
    /// enclosing structure is present.
    fn leaves_out_when_empty(&self, answer: &Value, items: &Path) -> bool {
        let model = self.service().model();
        if model.protocol.syntax() != Syntax::Xml {
            return false;
        }
        let (mut around, mut reference) = (Some(answer), self.model().output.as_ref());
        let mut flattened = false;
        for (depth, segment) in items.to_first_list().iter().enumerate() {
            let (PathSegment::Name(name), Some(structure)) =
                (segment, reference.and_then(|reference| model.structure(reference)))
            else {
                return false;
            };
            let Some(member) = structure.members.iter().find(|member| member.name == *name) else {
                return false;
            };
            if depth > 0 {
                let above = &items.to_first_list()[depth - 1];
                around = match above {
                    PathSegment::Name(name) => around.and_then(|value| value.get(name.as_str())),
                    PathSegment::Flatten | PathSegment::Index(_) => None,
                };
            }
            flattened = member.reference.flattened;
            reference = Some(&member.reference);
        }
        let is_list = reference.is_some_and(|reference| matches!(model.shape(reference), Shape::List(_)));
        flattened && is_list && around.is_some_and(Value::is_object)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::AwsService;

    /// Returns whether the response with this body is a complete list, by both ways of reading it.
    fn is_complete(operation: &str, body: &str, items: &str, empty: &Value) -> bool {
        let (service, name) = operation.split_once('.').unwrap();
        let operation = AwsService::load(service).unwrap().operation(name).unwrap();
        let items = Path::parse(items).unwrap();
        let empty: Option<EmptyList> = serde_json::from_value(empty.clone()).unwrap();
        let answer = operation.decode(200, &HeaderMap::new(), body.as_bytes()).unwrap();
        let checked = operation.check_list(&answer, &items, empty.as_ref());
        let page = operation.decode_page(200, &HeaderMap::new(), body.as_bytes(), &items).unwrap();
        let of_page = operation.check_listed(&page.rest, page.items.len(), &items, empty.as_ref());
        assert_eq!(checked, of_page, "{body}");
        checked.is_ok()
    }

    /// Checks cases of an operation, its items, a body, and whether that body is a complete list.
    #[track_caller]
    fn check_all(cases: &[(&str, &str, &str, bool)]) {
        for (operation, items, body, complete) in cases {
            let found = is_complete(operation, body, items, &Value::Null);
            assert_eq!(found, *complete, "{operation} {items} {body}");
        }
    }

    #[test]
    fn json_responses_contain_an_empty_list() {
        check_all(&[
            // JSON
            ("logs.DescribeLogGroups", "logGroups[]", r#"{"logGroups": []}"#, true),
            ("logs.DescribeLogGroups", "logGroups[]", r#"{"logGroups": [{"logGroupName": "a"}]}"#, true),
            ("logs.DescribeLogGroups", "logGroups[]", "{}", false),
            ("logs.DescribeLogGroups", "logGroups[]", r#"{"logGroups": null}"#, false),
            ("dynamodb.DescribeTable", "Table.TableName", r#"{"Table": {"TableName": "t"}}"#, true),
            ("dynamodb.DescribeTable", "Table.TableName", r#"{"Table": {}}"#, false),
            ("dynamodb.DescribeTable", "Table.TableName", "{}", false),
            ("sqs.ListQueues", "QueueUrls[]", "{}", false),
            // REST with JSON
            ("eks.ListClusters", "clusters[]", r#"{"clusters": []}"#, true),
            ("eks.ListClusters", "clusters[]", "{}", false),
            ("lambda.GetFunctionConfiguration", "@", "{}", true),
        ]);
    }

    #[test]
    fn xml_responses_contain_an_empty_list() {
        check_all(&[
            // EC2
            (
                "ec2.DescribeVolumes",
                "Volumes[]",
                "<DescribeVolumesResponse><volumeSet/></DescribeVolumesResponse>",
                true,
            ),
            (
                "ec2.DescribeVolumes",
                "Volumes[]",
                "<DescribeVolumesResponse><requestId>x</requestId></DescribeVolumesResponse>",
                false,
            ),
            (
                "ec2.DescribeInstances",
                "Reservations[].Instances[]",
                "<DescribeInstancesResponse><reservationSet><item/></reservationSet></DescribeInstancesResponse>",
                true,
            ),
            // Query
            (
                "sns.ListTopics",
                "Topics[].TopicArn",
                "<ListTopicsResponse><ListTopicsResult><Topics/></ListTopicsResult></ListTopicsResponse>",
                true,
            ),
            (
                "sns.ListTopics",
                "Topics[].TopicArn",
                "<ListTopicsResponse><ListTopicsResult></ListTopicsResult></ListTopicsResponse>",
                false,
            ),
            (
                "sns.ListTopics",
                "Topics[].TopicArn",
                "<ListTopicsResponse><ListTopicsResult><Topics><member><TopicArn>a</TopicArn></member><member/></Topics></ListTopicsResult></ListTopicsResponse>",
                false,
            ),
            // REST with XML
            (
                "s3.ListBuckets",
                "Buckets[]",
                "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
                true,
            ),
            ("s3.ListBuckets", "Buckets[]", "<ListAllMyBucketsResult/>", false),
            (
                "s3.ListObjectsV2",
                "Contents[]",
                "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>",
                true,
            ),
            (
                "s3.ListObjectsV2",
                "CommonPrefixes[].Prefix",
                "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>",
                true,
            ),
            (
                "route53.ListHostedZones",
                "HostedZones[]",
                "<ListHostedZonesResponse><HostedZones/></ListHostedZonesResponse>",
                true,
            ),
            ("route53.ListHostedZones", "HostedZones[]", "<ListHostedZonesResponse/>", false),
        ]);
    }

    #[test]
    fn a_plan_declares_how_a_service_omits_an_empty_list() {
        let quantity = json!({"path": "DistributionList.Quantity", "is": 0});
        for (operation, items, empty, body, complete) in [
            ("sqs.ListQueues", "QueueUrls[]", json!("omitted"), "{}", true),
            (
                "cloudfront.ListDistributions",
                "DistributionList.Items[]",
                quantity.clone(),
                "<DistributionList><Quantity>0</Quantity></DistributionList>",
                true,
            ),
            (
                "cloudfront.ListDistributions",
                "DistributionList.Items[]",
                quantity.clone(),
                "<DistributionList><Quantity>2</Quantity></DistributionList>",
                false,
            ),
            (
                "cloudfront.ListDistributions",
                "DistributionList.Items[]",
                quantity,
                "<DistributionList/>",
                false,
            ),
        ] {
            assert_eq!(is_complete(operation, body, items, &empty), complete, "{operation} {body}");
        }
    }
}
