//! The bundled plugins as plain Rust, to measure the sandbox against.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use berth_core::{Account, AccountId, Kind, Manifest, MapContext, Partition, RawPage, Region, Scope};
use berth_plugin::{Context, Output};
use serde_json::value::RawValue;

/// A bundled plugin.
pub(crate) struct Native {
    krate: &'static str,
    manifest: &'static [u8],
    /// Maps a batch.
    pub(crate) map: fn(&Context, &[u8]) -> Result<Vec<u8>, String>,
}

macro_rules! bundled {
    ($($krate:ident),+ $(,)?) => {
        &[$(Native { krate: stringify!($krate), manifest: $krate::MANIFEST, map: $krate::berth_map_batch }),+]
    };
}

/// Those of a fresh installation, and two with much to read.
const SOME: &[Native] =
    bundled![account_info, ec2_instance, ecs_cluster, lambda_function, rds_db_instance, s3_bucket,];

/// The others.
#[cfg(feature = "all-kinds")]
const OTHERS: &[Native] = bundled![
    acm_certificate,
    apigateway_rest_api,
    apigatewayv2_api,
    autoscaling_auto_scaling_group,
    backup_backup_vault,
    cloudcontrol_resource,
    cloudformation_stack,
    cloudfront_distribution,
    cloudwatch_alarm,
    codebuild_build_run,
    codebuild_project,
    codedeploy_application,
    codedeploy_deployment,
    codedeploy_deployment_group,
    codedeploy_deployment_target,
    codepipeline_action,
    codepipeline_action_execution,
    codepipeline_pipeline,
    codepipeline_pipeline_execution,
    codepipeline_stage,
    codepipeline_stage_execution,
    dynamodb_table,
    ec2_image,
    ec2_internet_gateway,
    ec2_nat_gateway,
    ec2_network_interface,
    ec2_route_table,
    ec2_security_group,
    ec2_snapshot,
    ec2_subnet,
    ec2_volume,
    ec2_volume_attachment,
    ec2_vpc,
    ecr_image,
    ecr_repository,
    ecs_service,
    ecs_task_definition,
    efs_file_system,
    eks_cluster,
    eks_nodegroup,
    elasticache_cluster,
    elasticloadbalancingv2_load_balancer,
    elasticloadbalancingv2_target_group,
    events_rule,
    glue_job,
    iam_role,
    iam_user,
    kinesis_stream,
    kms_key,
    logs_log_group,
    memorydb_user,
    msk_cluster,
    msk_serverless_cluster,
    opensearchservice_domain,
    organizations_account,
    rds_db_cluster,
    redshift_cluster,
    route53_hosted_zone,
    secretsmanager_secret,
    ses_configuration_set,
    ses_email_identity,
    sns_topic,
    sqs_queue,
    ssm_managed_instance,
    stepfunctions_state_machine,
];
#[cfg(not(feature = "all-kinds"))]
const OTHERS: &[Native] = &[];

/// All plugins that this program was built with.
pub(crate) fn all() -> impl Iterator<Item = &'static Native> {
    SOME.iter().chain(OTHERS)
}

impl Native {
    /// The folder and the component's name.
    pub(crate) fn name(&self) -> String {
        self.krate.replace('_', "-")
    }

    /// The plugin of this name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn of(name: &str) -> Result<&'static Self> {
        all().find(|native| native.name() == name).with_context(|| format!("no plugin `{name}`"))
    }

    pub(crate) fn manifest(&self) -> Result<Manifest> {
        Manifest::parse(self.manifest).with_context(|| format!("the manifest of {}", self.name()))
    }

    /// A batch of `count` resources: those of the plugin's fixture, over and over.
    pub(crate) fn batch(&self, plugins: &Path, count: usize) -> Result<RawPage> {
        let file = plugins.join(self.name()).join("fixtures/normal.json");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let text = value.to_string();
        let elements: Vec<&RawValue> = serde_json::from_str(&text)?;
        let chosen: Vec<&str> = elements.iter().cycle().take(count).map(|element| element.get()).collect();
        let resources = format!("[{}]", chosen.join(",")).into_bytes();
        Ok(RawPage {
            region: None,
            resources,
            count,
            failures: Vec::new(),
            unread: Vec::new(),
            reservation: berth_core::Reservation::default(),
        })
    }
}

/// The repository's folder of plugins.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

/// An account and, for a regional kind, a region.
pub(crate) fn context(manifest: &Manifest) -> Result<(Kind, MapContext)> {
    let kind = manifest.kinds.first().context("a manifest without kinds")?;
    let account = Account::unnamed(AccountId::new("111122223333")?, Partition::Aws);
    let region: Option<Region> =
        if kind.scope == Scope::Regional { Some("eu-west-1".parse()?) } else { None };
    Ok((kind.kind.clone(), MapContext { account: account.into(), region, options: Vec::new() }))
}

/// The same, as the plugins' Rust takes it.
pub(crate) fn plain(kind: &Kind, context: &MapContext) -> Context {
    Context {
        kind: kind.to_string(),
        account_id: context.account.id.to_string(),
        account_name: context.account.name.clone(),
        region: context.region.as_ref().map(ToString::to_string),
        partition: context.account.partition.as_str().to_owned(),
        options: context.options.clone(),
        output: Output::Entities,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(feature = "all-kinds"), ignore = "needs the feature `all-kinds`")]
    fn every_plugin_is_here() {
        let mut folders: Vec<String> = fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("manifest.json").is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        folders.sort_unstable();
        let mut here: Vec<String> = all().map(Native::name).collect();
        here.sort_unstable();
        assert_eq!(here, folders);
    }
}
