//! Which resources a response contains: a page of a list, or the resources that the input names.

use serde_json::Value;

use crate::{
    catalog::{Known, Role},
    error::Refusal,
    hash,
    template::Subject,
    world::{Item, Place, World},
};

/// Resources on a page that nobody asked another size for, and at most, by operation.
const SIZES: [(&str, usize, usize); 14] = [
    ("apigateway:GetRestApis", 25, 500),
    ("autoscaling:DescribeAutoScalingGroups", 50, 100),
    ("cloudwatch:DescribeAlarms", 50, 100),
    ("ecs:ListServices", 10, 100),
    ("elbv2:DescribeLoadBalancers", 400, 400),
    ("elbv2:DescribeTargetGroups", 400, 400),
    ("lambda:ListFunctions", 50, 50),
    ("logs:DescribeLogGroups", 50, 50),
    ("rds:DescribeDBClusters", 100, 100),
    ("rds:DescribeDBInstances", 100, 100),
    ("redshift:DescribeClusters", 100, 100),
    ("s3:ListBuckets", 10_000, 10_000),
    ("sqs:ListQueues", 1_000, 1_000),
    ("ssm:DescribeInstanceInformation", 10, 50),
];
const USUAL: (usize, usize) = (100, 1_000);

/// The resources of an answer, and the token of the next page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) subjects: Vec<Subject>,
    pub(crate) next_token: Option<String>,
}

/// Finds them.
pub(crate) fn find(world: &World, known: &Known, place: Place<'_>, input: &Value) -> Result<Page, Refusal> {
    let service = known.operation.service();
    let missing = || Refusal::missing(service.name(), service.protocol());
    match &known.role {
        Role::Own => Ok(Page::default()),
        Role::List { collection, .. } => list(world, known, *collection, place, input),
        Role::About { collections, shape } => {
            // An ARN may name a resource and what that belongs to.
            let mut deepest = collections.clone();
            deepest.sort_by_key(|index| world.catalog.collections[*index].parent.is_none());
            let mut subjects = Vec::new();
            for text in texts(input) {
                let found = deepest.iter().find_map(|collection| world.find(*collection, place, text));
                let item = found.or_else(|| organization_account(world, collections, place, text));
                subjects.extend(item.map(|item| Subject { item, asked: Some(text.to_owned()) }));
            }
            if subjects.is_empty() && shape.each.is_none() {
                return Err(missing());
            }
            Ok(Page { subjects, next_token: None })
        }
    }
}

/// The accounts of the organization go by their own ids.
fn organization_account(world: &World, collections: &[usize], place: Place<'_>, text: &str) -> Option<Item> {
    let collection = collections
        .iter()
        .find(|index| world.catalog.collections[**index].scope == berth_core::Scope::Organization)?;
    let position = world.position(text.parse().ok()?)?;
    Some(world.item(*collection, place, u32::try_from(position).ok()?))
}

fn list(
    world: &World,
    known: &Known,
    collection: usize,
    place: Place<'_>,
    input: &Value,
) -> Result<Page, Refusal> {
    let service = known.operation.service();
    let pagination = known.operation.pagination();
    let is_token =
        |name: &str| pagination.is_some_and(|pages| pages.input_tokens.iter().any(|token| token == name));
    let token = pagination.and_then(|pages| pages.input_tokens.iter().find_map(|token| input.get(token)));
    let named: Vec<Subject> = input
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !is_token(name))
        .flat_map(|(_, value)| texts(value))
        .filter_map(|text| {
            Some(Subject { item: world.find(collection, place, text)?, asked: Some(text.to_owned()) })
        })
        .collect();
    if !named.is_empty() {
        return Ok(Page { subjects: named, next_token: None });
    }
    let parent = match world.catalog.collections[collection].parent {
        None => None,
        Some(parent) => {
            let found = texts(input).into_iter().find_map(|text| world.find(parent, place, text));
            Some(found.ok_or_else(|| Refusal::missing(service.name(), service.protocol()))?)
        }
    };
    let (first, step, count) = world.children(collection, parent, place);
    let (usual, most) =
        SIZES.iter().find(|(name, ..)| *name == known.name).map_or(USUAL, |(_, usual, most)| (*usual, *most));
    // Without a page size EC2 answers with up to a thousand.
    let usual = if service.name() == "ec2" { most } else { usual };
    let asked = pagination.and_then(|pages| input.get(pages.limit_key.as_ref()?)).and_then(as_size);
    let size = asked.unwrap_or(usual).clamp(1, most);
    let check = hash::mix(world.unit(collection, place), u64::from(first)) >> 32;
    let begin = match token.and_then(Value::as_str) {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|rest| rest.split_once('-'))
            .filter(|(_, known)| *known == format!("{check:08x}"))
            .and_then(|(begin, _)| begin.parse::<usize>().ok())
            .ok_or_else(|| Refusal::invalid(service.protocol(), "The page token is not one of ours"))?,
    };
    let indices = (0..count).map(|number| first + number * step).skip(begin).take(size);
    let subjects: Vec<Subject> =
        indices.map(|index| Subject { item: world.item(collection, place, index), asked: None }).collect();
    let end = begin + subjects.len();
    let more = end < usize::try_from(count).unwrap_or_default() && pagination.is_some();
    Ok(Page { subjects, next_token: more.then(|| format!("page-{end}-{check:08x}")) })
}

/// Whether a request asks for a page or for some resources only, rather than for everything.
pub(crate) fn is_bounded(known: &Known, input: &Value) -> bool {
    let members = input.as_object().is_some_and(|members| !members.is_empty());
    members || matches!(known.role, Role::Own)
}

/// A page size: a number, or (in Route 53's and `CloudFront`'s queries) a text of digits.
fn as_size(value: &Value) -> Option<usize> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    usize::try_from(number).ok()
}

/// Every text in an input.
fn texts(input: &Value) -> Vec<&str> {
    match input {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
