//! Calls `ec2:DescribeRegions` through the official SDK: the SDK builds, signs and sends the request, and
//! reads the response. Limits, retries, renewed credentials and the clock are those of all calls.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_ec2::{
    config::{
        BehaviorVersion, ConfigBag, IdentityCache, Intercept, RuntimeComponents,
        StalledStreamProtectionConfig, interceptors::AfterDeserializationInterceptorContextRef,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{BoxError, SdkError},
    operation::describe_regions::{DescribeRegionsError, DescribeRegionsOutput},
    types::Filter,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use berth_aws_protocol::{AwsService, DecodeError, Operation};
use berth_core::{Path, Region, error_chain};
use berth_http::TransportError;
use bytes::Bytes;
use serde_json::json;

use super::{ENABLED, named};
use crate::{
    client::{AttemptReply, AwsClient, AwsRequest, AwsResponse, RegionalSession, Sender, Signature, decode},
    clock::AwsClock,
    errors::CallError,
    sdk_transport::SdkTransport,
};

/// Without `AllRegions`, EC2 omits regions that are not opted in.
///
/// The SDK accepts a truncated response, so the models check first whether it is complete.
pub(super) async fn by_ec2(
    client: &Arc<AwsClient>,
    target: &RegionalSession,
) -> Result<BTreeSet<Region>, CallError> {
    let operation = AwsService::load("ec2")?.operation("DescribeRegions")?;
    let (transport, clock, timeout) = client.sdk_parts();
    let sdk = Sdk { transport, clock, timeout, output: Mutex::default() };
    let answer = client.call_by(&sdk, target, &operation, &json!({})).await?;
    operation.check_list(&decode(&operation, &answer)?, &Path::list_of("Regions"), None)?;
    let output = match taken(&sdk.output) {
        Some(Ok(output)) => output,
        Some(Err(reason)) => return Err(unreadable(&operation, reason)),
        None => DescribeRegionsOutput::builder().build(),
    };
    let regions = output.regions().iter();
    Ok(regions.filter_map(|region| named(region.region_name(), region.opt_in_status())).collect())
}

fn unreadable(operation: &Operation, reason: String) -> CallError {
    DecodeError::Malformed { operation: operation.to_string(), reason }.into()
}

struct Sdk {
    transport: SdkTransport,
    clock: AwsClock,
    /// The time limit of one attempt.
    timeout: Duration,
    /// The response as read by the SDK, or why it cannot read it.
    output: Mutex<Option<Result<DescribeRegionsOutput, String>>>,
}

impl Sender for Sdk {
    async fn send(&self, request: AwsRequest<'_>) -> Result<AttemptReply, CallError> {
        let issued = request.session.credentials().await;
        let credentials = issued.map_err(|problem| CallError::Credentials(Arc::new(problem)))?;
        let answer = Kept::default();
        let region = aws_sdk_ec2::config::Region::new(request.to.endpoint.signing_region.clone());
        let timeouts = TimeoutConfig::builder().disable_connect_timeout().read_timeout(self.timeout);
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.transport.clone())
            .interceptor(answer.clone())
            .time_source(self.clock.clone())
            .region(region)
            .endpoint_url(request.to.endpoint.url.as_str())
            .credentials_provider(credentials.credentials().clone())
            .identity_cache(IdentityCache::no_cache())
            // The client retries, corrects the clock, and limits the time.
            .retry_config(RetryConfig::disabled())
            .disable_clock_skew_correction(true)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts.build())
            .build();
        let enabled = ENABLED.map(str::to_owned).to_vec();
        let status = Filter::builder().name("opt-in-status").set_values(Some(enabled)).build();
        let at = self.clock.stamp();
        let call = aws_sdk_ec2::Client::from_conf(config).describe_regions().filters(status);
        let output = call.send().await;
        if let Some(answer) = taken(&answer.0) {
            let output = output.map_err(|error| error_chain(&error));
            *self.output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
            return Ok(AttemptReply::Answer(answer, Signature { credentials, at }));
        }
        match output {
            Ok(_) => Err(unanswered(&"the SDK stored no response")),
            Err(error) => no_answer(&error),
        }
    }
}

/// Returns why there is no response, or why the request could not be built.
fn no_answer(error: &SdkError<DescribeRegionsError, HttpResponse>) -> Result<AttemptReply, CallError> {
    match TransportError::find(error) {
        Some(silence) => Ok(AttemptReply::NoAnswer(silence)),
        None => Err(unanswered(&error_chain(error))),
    }
}

fn unanswered(reason: &dyn std::fmt::Display) -> CallError {
    CallError::Signing(reason.to_string())
}

fn taken<T>(kept: &Mutex<Option<T>>) -> Option<T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The response as received.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Option<AwsResponse>>>);

impl Intercept for Kept {
    fn name(&self) -> &'static str {
        "keep the response"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let mut headers = http::HeaderMap::new();
        for (name, value) in response.headers() {
            headers.append(name.parse::<http::HeaderName>()?, value.parse()?);
        }
        let body = Bytes::copy_from_slice(response.body().bytes().unwrap_or_default());
        let answer = AwsResponse { status: response.status().as_u16(), headers, body };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok(())
    }
}
