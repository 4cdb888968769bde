//! `ec2:DescribeRegions` by the official SDK.

use std::{collections::BTreeSet, sync::Arc};

use aws_sdk_ec2::{
    config::{BehaviorVersion, SharedCredentialsProvider},
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::Filter,
};
use berth_aws_protocol::WireError;
use berth_core::Region;

use crate::{
    client::{Client, Target},
    credentials::Provider,
    errors::CallError,
};

/// Without `AllRegions` EC2 leaves out what is not opted in.
pub(super) async fn by_ec2(client: &Arc<Client>, target: &Target) -> Result<BTreeSet<Region>, CallError> {
    let mut config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(client.transport())
        .region(aws_sdk_ec2::config::Region::new(target.region.to_string()))
        .credentials_provider(SharedCredentialsProvider::new(Provider(target.session.clone())));
    if let Some(endpoint) = client.endpoint_override("ec2") {
        config = config.endpoint_url(endpoint.as_str());
    }
    let status =
        Filter::builder().name("opt-in-status").values("opt-in-not-required").values("opted-in").build();
    let answer =
        aws_sdk_ec2::Client::from_conf(config.build()).describe_regions().filters(status).send().await;
    let answer = answer.map_err(|error| {
        let told = WireError {
            code: error.code().unwrap_or("NoAnswer").to_owned(),
            message: error.message().map_or_else(|| DisplayErrorContext(&error).to_string(), str::to_owned),
            request_id: None,
            region: None,
        };
        CallError::of_answer(error.raw_response().map_or(0, |raw| raw.status().as_u16()), told, true)
    })?;
    let names = answer.regions().iter().filter_map(|region| region.region_name());
    Ok(names.filter_map(|name| Region::new(name).ok()).collect())
}
