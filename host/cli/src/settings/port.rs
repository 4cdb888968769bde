//! Port: Berth's identity there, and how it writes entities.

use berth_embed::{PortConfig, ResourcesOrigin};
use serde::Deserialize;

use super::{
    addresses::{self, Domains},
    check::SettingsCheck,
    listener, network,
    port_access::PortAccess,
    raw,
    schema::Setting,
    values::{Count, OneOf, Seconds, Words},
};

#[derive(Debug, Deserialize)]
pub(super) struct PortTable {
    pub(super) port: PortAccess,
    pub(super) integration: Identity,
    initialize_port_resources: Setting<bool>,
    create_port_resources_origin: Setting<OneOf<ResourcesOrigin>>,
    upsert_entities_batch_max_length: Setting<Count>,
    upsert_entities_batch_max_size_in_bytes: Setting<Count>,
    delete_entities_max_batch_size: Setting<Count>,
    #[serde(alias = "BERTH_OUTAGE_SECONDS")]
    outage_seconds: Setting<Seconds>,
    ingest_domains: Setting<Domains>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Identity {
    identifier: Setting<String>,
    r#type: Setting<String>,
}

impl Words for ResourcesOrigin {
    const WORDS: &'static [(&'static str, Self)] =
        &[("Empty", Self::Empty), ("Ocean", Self::Ocean), ("Default", Self::Default), ("Port", Self::Port)];
}

/// Reads Port's settings, without those of other sections.
pub(super) fn read(check: &mut SettingsCheck<'_>) -> Option<PortConfig> {
    let table: PortTable = check.table()?;
    let where_from = "copy it from Port: … menu > Credentials";
    let client_id = check.required(&table.port.client_id, where_from);
    let client_secret = check.required(&table.port.client_secret, where_from);
    let base_url = check.value(&table.port.base_url);
    let kind = check.value(&table.integration.r#type).map(|kind| kind.to_lowercase());
    let identifier = check.value(&table.integration.identifier);
    let initialize = check.value(&table.initialize_port_resources);
    let origin = check.value(&table.create_port_resources_origin);
    let changelog_destination = listener::changelog_destination(check);
    let length = check.value(&table.upsert_entities_batch_max_length);
    let bytes = check.value(&table.upsert_entities_batch_max_size_in_bytes);
    let delete = check.value(&table.delete_entities_max_batch_size);
    let outage = check.value(&table.outage_seconds);
    let ingest_domains = check.value(&table.ingest_domains);
    let raw = raw::read(check);
    let proxies = network::proxies(check);
    addresses::check_port(check, &table.port, &proxies);

    let kind = kind?;
    let identifier = identifier.unwrap_or_else(|| format!("my-{kind}-integration"));
    let mut config = PortConfig::new(client_id?, client_secret?, identifier);
    config.base_url = base_url?;
    config.integration_type = kind;
    config.changelog_destination = changelog_destination?;
    config.initialize_port_resources = initialize?;
    config.create_port_resources_origin = origin.map(|OneOf(origin)| origin);
    config.upsert_batch_max_length = length?.0;
    config.upsert_batch_max_bytes = bytes?.0;
    config.delete_batch_max = delete?.0;
    config.outage = outage?.0;
    config.ingest_domains = ingest_domains.map(|Domains(domains)| domains).unwrap_or_default();
    raw?.apply(&mut config);
    Some(config)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        let settings = Settings::load(&args.global, &Environment::of(&seed)).unwrap();
        let library = PortConfig::new("client", "secret".to_owned().into(), "my-aws-v3-integration");
        // Port accepts fewer at once than Ocean's setting, and the library keeps to that limit.
        let deletions = settings.port.delete_batch_max.min(library.delete_batch_max);
        let port = PortConfig { delete_batch_max: deletions, ..settings.port };
        assert_eq!(format!("{port:#?}"), format!("{library:#?}"));
    }
}
