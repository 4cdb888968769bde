//! Describes a list operation from AWS's models, as the starting point of a plugin.

use berth_aws_protocol::{AwsService, EndpointOptions, Operation};
use berth_core::{Problem, ProblemCode};
use serde_json::Value;

/// A list operation, as the first step of a fetch plan needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The service, by its `botocore` name.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The path of the items in a response, as in `Volumes[]`.
    pub items: String,
    /// A sample item with every member of the model: each text is `sample`, each time
    /// `2024-01-02T03:04:05Z`, lists have one element.
    pub item: Value,
    /// The required input members that the host does not add.
    pub required: Vec<String>,
    /// The input member that limits the page size, if there is one.
    pub limit: Option<String>,
    /// Whether the service has one endpoint for all regions.
    pub global: bool,
}

impl Listing {
    /// Looks up an operation. `items` is the path of its items, for operations whose model does not name
    /// it, or that list groups of the wanted items (`Reservations[].Instances[]`).
    ///
    /// # Errors
    /// A [`Problem`] if there is no such read operation, or no such list in its response.
    pub fn of(service: &str, operation: &str, items: Option<&str>) -> Result<Self, Problem> {
        let unknown =
            |error: berth_aws_protocol::ModelError| Problem::from_error(ProblemCode::CommandArgument, &error);
        let found = AwsService::load(service).map_err(|error| {
            unknown(error).remedy(
                "use the name that the AWS CLI and botocore use for the service, as in `ec2` or `sesv2`",
            )
        })?;
        let operation = found.operation(operation).map_err(|error| {
            let mut like: Vec<&str> = found.operations().filter(|known| alike(known, operation)).collect();
            // The shortest name is the closest to the requested one.
            like.sort_by_key(|name| name.len());
            like.truncate(4);
            let problem = unknown(error);
            if like.is_empty() {
                problem.remedy("use a read operation (List…, Describe…, Get…)")
            } else {
                problem.remedy(format!("did you mean {}?", like.join(", ")))
            }
        })?;
        let answer = operation.sample();
        let path = match items {
            Some(path) => path.to_owned(),
            None => items_of(&operation, &answer).ok_or_else(|| {
                Problem::new(
                    ProblemCode::CommandArgument,
                    format!("the model of {service}:{} has no list", operation.name()),
                )
                .remedy("set the path of the list in its response with --items, as in `--items Volumes[]`")
            })?,
        };
        let parsed = berth_core::Path::parse(&path).map_err(|error| {
            Problem::new(ProblemCode::CommandArgument, format!("`{path}` is not a path: {error}"))
                .remedy("write it as in `Volumes[]` or `Reservations[].Instances[]`")
        })?;
        let item = parsed.all(&answer).into_iter().next().filter(|_| parsed.is_list()).cloned();
        let item = item.ok_or_else(|| {
            let members: Vec<&str> =
                answer.as_object().into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
            Problem::new(
                ProblemCode::AwsInvalidAnswer,
                format!("the response of {service}:{} has no list at `{path}`", operation.name()),
            )
            .remedy(format!("its members are {}", members.join(", ")))
        })?;
        let url = |region: &str| {
            let region = region.parse().ok()?;
            Some(operation.endpoint(&region, EndpointOptions::default()).ok()?.url)
        };
        let input = operation.model().input.as_ref();
        let input = input.and_then(|input| operation.service().model().structure(input));
        let required = input.map(|input| input.required.clone()).unwrap_or_default();
        let limit = operation.pagination().and_then(|pagination| pagination.limit_key.clone());
        Ok(Self {
            service: service.to_owned(),
            operation: operation.name().to_owned(),
            items: path,
            item,
            required,
            limit,
            global: url("eu-west-1") == url("ap-south-1"),
        })
    }
}

/// Returns the list that the paginator names; otherwise the only list.
fn items_of(operation: &Operation, answer: &Value) -> Option<String> {
    if let Some(key) = operation.pagination().and_then(|pagination| pagination.result_keys.first()) {
        return Some(format!("{key}[]"));
    }
    let mut lists = answer.as_object()?.iter().filter(|(_, value)| value.is_array());
    let (name, _) = lists.next()?;
    lists.next().is_none().then(|| format!("{name}[]"))
}

/// Returns whether a name is similar to the requested one.
fn alike(known: &str, wanted: &str) -> bool {
    // The first word is the action; the others are its object.
    let mut capitals = wanted.char_indices().skip(1).filter(|(_, c)| c.is_ascii_uppercase());
    let stem = capitals.next().map_or(wanted, |(at, _)| &wanted[at..]).to_lowercase();
    let stem = stem.trim_end_matches('s');
    let known = known.to_lowercase();
    stem.len() > 2 && known.contains(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_contains_the_path_of_the_items() {
        let volumes = Listing::of("ec2", "DescribeVolumes", None).unwrap();
        assert_eq!((volumes.items.as_str(), volumes.global), ("Volumes[]", false));
        assert_eq!(volumes.item["VolumeId"], "sample");
        assert_eq!(volumes.limit.as_deref(), Some("MaxResults"));
        let instances = Listing::of("ec2", "DescribeInstances", Some("Reservations[].Instances[]")).unwrap();
        assert_eq!(instances.item["InstanceId"], "sample");
        let users = Listing::of("iam", "ListUsers", None).unwrap();
        assert_eq!((users.items.as_str(), users.global), ("Users[]", true));
        assert!(users.required.is_empty(), "{:?}", users.required);
        let stages = Listing::of("apigateway", "GetStages", None).unwrap();
        assert_eq!(stages.required, ["restApiId"]);
        let queues = Listing::of("sqs", "ListQueues", None).unwrap();
        assert_eq!(queues.item, "sample");
    }

    #[test]
    fn an_unknown_name_is_reported_with_similar_names() {
        let remedy = |service, operation, items| {
            Listing::of(service, operation, items).unwrap_err().remedy.unwrap_or_default()
        };
        assert!(remedy("ec2", "ListVolumes", None).contains("DescribeVolumes"));
        assert!(remedy("ec2", "DeleteVolume", None).contains("DescribeVolumes"));
        assert!(remedy("elastic", "ListX", None).contains("botocore"));
        assert!(remedy("ec2", "DescribeVolumes", Some("Disks[]")).contains("Volumes"));
    }
}
