//! The integration: found or created, kept in step with its settings, and told how resyncs go.

use std::time::{Duration, SystemTime};

use berth_core::{AppConfig, KindEntry, Problem, Processing, ResyncStatus, Session};
use reqwest::Method;
use serde_json::{Map, Value};
use url::Url;

use crate::{
    EventType, OCEAN_CORE_VERSION, PortCatalog, ResourcesOrigin, blueprints,
    client::{Call, Repeat, Reply},
    error::PortError,
    iso, ownership, processing,
    wire::{self, Integration},
};

/// Where the host runs, as Port tells installations apart.
pub(crate) const INSTALLATION_TYPE: &str = "OnPrem";

/// The flag of organizations whose default resources Port creates by itself.
const PROVISIONED_DEFAULTS: &str = "USE_PROVISIONED_DEFAULTS";

/// How many documents of each kind are shown as examples.
pub(crate) const EXAMPLES: usize = 5;

/// A session, and the integration as Port holds it, if it does.
pub(crate) type Opened = (Session, Option<Integration>);

/// How often and how patiently Port's own provisioning is waited for.
const PROVISION_ATTEMPTS: u32 = 30;
const PROVISION_FIRST_WAIT: Duration = Duration::from_secs(3);
const PROVISION_GROWTH: f64 = 1.55;

/// The start of a process: creates what is missing, in the order of the contract.
pub(crate) async fn start(port: &PortCatalog, defaults: &[KindEntry]) -> Result<Opened, PortError> {
    let mut notes = Vec::new();
    if let Some(found) = get(port).await? {
        check_runtime(port, &found)?;
    }
    let provisioned = provision_enabled(port).await?;
    let flags = port.flags().await?;
    let processing = processing::decide(port, &flags);
    let existing = get(port).await?;
    let fresh = existing.is_none();
    if fresh && !port.config.install {
        return Err(deleted(port));
    }

    let origin = origin(
        existing.as_ref().and_then(|found| found.create_port_resources_origin.as_deref()),
        port.config.create_port_resources_origin,
        provisioned.contains(&port.config.integration_type)
            && flags.iter().any(|f| f == PROVISIONED_DEFAULTS),
    );
    let integration = if let Some(integration) = existing {
        integration
    } else {
        notes.push(format!("created integration {}", port.config.integration_identifier));
        create(port, origin).await?
    };
    agree(port, &integration, processing, &mut notes).await?;

    let written = notes.len();
    if integration.are_port_resources_initialized != Some(true) {
        set_up(port, origin, &integration, defaults, &mut notes).await?;
    }
    // Only what was changed here has to be read again; and a new integration may not have been told
    // its addresses for raw data when it was created.
    let again = notes.len() > written || fresh && processing != Processing::Entities;
    let integration = if again { get(port).await?.ok_or_else(|| vanished(port))? } else { integration };
    let config = app_config(port, integration.config.as_ref())?;
    Ok((session(port, config, notes, processing), Some(integration)))
}

/// A further resync of the same process: only the mapping is read again, and the flags when they are
/// old. Who deletes the integration meanwhile wants it to be gone: only a start installs it again.
pub(crate) async fn reload(port: &PortCatalog) -> Result<Opened, PortError> {
    let integration = get(port).await?.ok_or_else(|| deleted(port))?;
    let mut notes = Vec::new();
    let processing = processing::of(port).await?;
    // The organization's flags may have changed meanwhile; what else differs is seen to at the start.
    if integration.processing_mode.as_deref() != Some(processing::mode(processing)) {
        agree(port, &integration, processing, &mut notes).await?;
    }
    let config = app_config(port, integration.config.as_ref())?;
    Ok((session(port, config, notes, processing), Some(integration)))
}

/// What a resync would work on, without changing anything.
pub(crate) async fn look(port: &PortCatalog, defaults: &[KindEntry]) -> Result<Opened, PortError> {
    let mut notes = Vec::new();
    let integration = get(port).await?;
    let processing = processing::of(port).await?;
    match &integration {
        Some(found) => check_runtime(port, found)?,
        // Events change what resyncs have made.
        None if port.config.event_type == EventType::HttpRequest => return Err(deleted(port)),
        None => notes.push(format!(
            "integration {} does not exist yet: planned with the default mapping",
            port.config.integration_identifier
        )),
    }
    let config = integration.as_ref().and_then(|found| found.config.as_ref());
    let fresh = integration.as_ref().is_none_or(|found| {
        found.are_port_resources_initialized != Some(true) && port.config.initialize_port_resources
    });
    if !fresh {
        return Ok((session(port, app_config(port, config)?, notes, processing), integration));
    }
    let stored = integration.as_ref().and_then(|found| found.create_port_resources_origin.as_deref());
    let origin = origin(stored, port.config.create_port_resources_origin, false);
    let config = match origin {
        _ if !is_empty(config) => app_config(port, config)?,
        ResourcesOrigin::Empty => AppConfig::default(),
        _ => default_config(defaults),
    };
    if port.config.initialize_port_resources && origin != ResourcesOrigin::Empty {
        let found = blueprints::survey(port, defaults).await?;
        if found.existing.is_empty() {
            notes.extend(found.missing.iter().map(|b| format!("would create blueprint {}", b.identifier())));
        } else {
            notes.extend(found.gaps(&config));
        }
    }
    Ok((session(port, config, notes, processing), integration))
}

fn session(port: &PortCatalog, config: AppConfig, notes: Vec<String>, processing: Processing) -> Session {
    let examples = if port.config.send_raw_data_examples { EXAMPLES } else { 0 };
    Session { config, notes, processing, examples, ..Session::default() }
}

/// `resyncState` at the start of a resync.
pub(crate) async fn report_begin(port: &PortCatalog, started: SystemTime) -> Result<(), PortError> {
    let reply = report(
        port,
        &wire::ResyncStarted {
            status: "running",
            last_resync_end: None,
            last_resync_start: iso(started),
            next_resync: next_resync(port),
            interval_in_minutes: interval(port),
        },
    )
    .await?;
    // Only told back: an answer without it is as good.
    let reply: Option<wire::IntegrationReply> = reply.json().ok();
    let begun = reply.and_then(|reply| reply.integration.resync_state?.updated_at).map(SystemTime::from);
    let of_use = begun.is_some_and(|begun| port.client.clock.learn_stamp(begun, SystemTime::now()));
    let mut session = port.session();
    session.begun = begun;
    if of_use {
        // Without a `Date` header, nothing else says what time it is at Port.
        session.opened = begun;
    }
    Ok(())
}

/// `resyncState` at the end of a resync.
pub(crate) async fn report_end(port: &PortCatalog, status: ResyncStatus) -> Result<(), PortError> {
    let status = match status {
        ResyncStatus::Completed => "completed",
        ResyncStatus::Failed => "failed",
        ResyncStatus::Aborted => "aborted",
    };
    tracing::info!("Resync {status}");
    report(
        port,
        &wire::ResyncEnded {
            status,
            last_resync_end: iso(SystemTime::now()),
            next_resync: next_resync(port),
            interval_in_minutes: interval(port),
        },
    )
    .await
    .map(drop)
}

/// When somebody last asked for a resync of this integration, if ever.
pub(crate) async fn resync_request(port: &PortCatalog) -> Result<Option<SystemTime>, PortError> {
    let url = port.client.url(&["integration", &port.config.integration_identifier, "resync-request"])?;
    let call =
        Call::new("look for a resync request", Method::GET, url).subject(&port.config.integration_identifier);
    let reply: wire::ResyncRequestReply = port.client.send(call).await?.json()?;
    Ok(reply.request.and_then(|request| request.updated_at).map(SystemTime::from))
}

async fn report(port: &PortCatalog, state: &impl serde::Serialize) -> Result<Reply, PortError> {
    let url = port.client.url(&["integration", &port.config.integration_identifier, "resync-state"])?;
    // Unlike the peer's, repeated: one 503 must not leave Port with a resync that runs for ever.
    let call = Call::new("report the resync's state", Method::PATCH, url).closing().json(state)?;
    port.client.send(call).await
}

fn next_resync(port: &PortCatalog) -> Option<String> {
    port.config.schedule.map(|schedule| iso(schedule.next(SystemTime::now())))
}

fn interval(port: &PortCatalog) -> Option<u32> {
    port.config.schedule.map(|schedule| schedule.interval_minutes)
}

async fn get(port: &PortCatalog) -> Result<Option<Integration>, PortError> {
    let url = port.client.url(&["integration", &port.config.integration_identifier])?;
    let call = Call::new("get the integration", Method::GET, url)
        .subject(&port.config.integration_identifier)
        .query("oceanCoreVersion", OCEAN_CORE_VERSION)
        .query("isPolling", "false");
    let Some(reply) = port.client.find(call).await? else { return Ok(None) };
    let integration = reply.json::<wire::IntegrationReply>()?.integration;
    port.ingest.learn(&port.config, &integration);
    if let Some(version) = integration.version.as_ref().filter(|version| ownership::is_version(version)) {
        port.client.add_version(version.clone());
    }
    Ok(Some(integration))
}

/// The version of any integration; `None` when there is no such integration, or it has none.
pub(crate) async fn version(port: &PortCatalog, identifier: &str) -> Result<Option<String>, PortError> {
    let url = port.client.url(&["integration", identifier])?;
    let call = Call::new("get the integration", Method::GET, url).subject(identifier);
    let Some(reply) = port.client.find(call).await? else { return Ok(None) };
    Ok(reply.json::<wire::IntegrationReply>()?.integration.version)
}

/// Where Port is. An identity is shown and kept, a password must not be.
fn place(base_url: &Url) -> String {
    let mut base_url = base_url.clone();
    // Neither can fail for an HTTP URL.
    _ = base_url.set_username("");
    _ = base_url.set_password(None);
    base_url.as_str().trim_end_matches('/').to_owned()
}

/// Names the catalog, its organization and the integration in it. With a note where the organization is
/// not known.
pub(crate) async fn identity(port: &PortCatalog) -> (String, Option<String>) {
    let config = &port.config;
    let base_url = place(&config.base_url);
    let mut why = "its answer has no id".to_owned();
    if port.client.organization().is_none()
        && let Err(error) = organization(port).await
    {
        why = error.to_string();
    }
    let (place, note) = if let Some(id) = port.client.organization() {
        (format!("organization {id}"), None)
    } else {
        let note = format!("Port does not name the organization of these credentials: {why}");
        ("an unknown organization".to_owned(), Some(note))
    };
    let (identifier, integration_type) = (&config.integration_identifier, &config.integration_type);
    (format!("{identifier} of type {integration_type} at {base_url} in {place}"), note)
}

async fn provision_enabled(port: &PortCatalog) -> Result<Vec<String>, PortError> {
    let url = port.client.url(&["integration", "provision-enabled"])?;
    let call = Call::new("list integrations with provisioned defaults", Method::GET, url);
    match port.client.find(call).await? {
        Some(reply) => Ok(reply.json::<wire::ProvisionEnabledReply>()?.integrations),
        None => Ok(Vec::new()),
    }
}

/// The organization's feature flags, asked for anew.
pub(crate) async fn feature_flags(port: &PortCatalog) -> Result<Vec<String>, PortError> {
    Ok(organization(port).await?.feature_flags.unwrap_or_default())
}

pub(crate) async fn organization(port: &PortCatalog) -> Result<wire::Organization, PortError> {
    let call = Call::new("get the organization", Method::GET, port.client.url(&["organization"])?);
    let reply: wire::OrganizationReply = port.client.send(call).await?.json()?;
    if let Some(id) = reply.organization.id.as_ref().filter(|id| !id.is_empty()) {
        port.client.set_organization_unless_known(id);
    }
    Ok(reply.organization)
}

/// An integration of the other runtime belongs to Port's own cloud: two would fight over it.
fn check_runtime(port: &PortCatalog, integration: &Integration) -> Result<(), PortError> {
    let found = integration.installation_type.as_deref().unwrap_or(INSTALLATION_TYPE);
    if found == INSTALLATION_TYPE {
        return Ok(());
    }
    let identifier = &port.config.integration_identifier;
    Err(PortError::Other(
        Problem::new(format!(
            "integration `{identifier}` is installed as `{found}`, not as `{INSTALLATION_TYPE}`"
        ))
        .remedy("Give OCEAN__INTEGRATION__IDENTIFIER another value, or delete that integration in Port."),
    ))
}

/// Who creates the default resources: what the integration stores, else what the settings say, else
/// Port where it can.
fn origin(stored: Option<&str>, wanted: Option<ResourcesOrigin>, port_can: bool) -> ResourcesOrigin {
    let stored = stored.and_then(|text| text.parse().ok());
    match stored.or(wanted) {
        Some(ResourcesOrigin::Empty) => ResourcesOrigin::Empty,
        Some(ResourcesOrigin::Port) | None if port_can => ResourcesOrigin::Port,
        Some(_) | None => ResourcesOrigin::Default,
    }
}

async fn create(port: &PortCatalog, origin: ResourcesOrigin) -> Result<Integration, PortError> {
    let config = &port.config;
    let mut call = Call::new("create the integration", Method::POST, port.client.url(&["integration"])?)
        .subject(&config.integration_identifier)
        .repeat(Repeat::Unprocessed);
    if origin == ResourcesOrigin::Port {
        call = call.query("integration_modes", "create_resources");
    }
    let call = call.json(&wire::CreateIntegration {
        installation_id: &config.integration_identifier,
        installation_app_type: &config.integration_type,
        version: &config.integration_version,
        changelog_destination: &config.changelog_destination,
        config: Map::new(),
        actions_processing_enabled: false,
        incremental_sync_enabled: false,
        create_port_resources_origin: origin.as_str(),
    })?;
    let reply: wire::IntegrationReply = port.client.send(call).await?.json()?;
    Ok(reply.integration)
}

/// Brings the integration into agreement with the settings, with one change for all of it.
async fn agree(
    port: &PortCatalog,
    integration: &Integration,
    processing: Processing,
    notes: &mut Vec<String>,
) -> Result<(), PortError> {
    let mode = processing::mode(processing);
    if differs(port, integration, mode) {
        let change = wire::PatchIntegration { traits: Some(traits(port, mode)), ..change(port) };
        patch(port, &change).await?;
        notes.push(format!("updated integration {}", port.config.integration_identifier));
    }
    Ok(())
}

fn differs(port: &PortCatalog, integration: &Integration, mode: &str) -> bool {
    let config = &port.config;
    integration.changelog_destination.as_ref() != Some(&config.changelog_destination)
        || integration.installation_app_type.as_ref() != Some(&config.integration_type)
        || integration.version.as_ref() != Some(&config.integration_version)
        || integration.actions_processing_enabled.unwrap_or_default()
        || integration.incremental_sync_enabled.unwrap_or_default()
        || integration.processing_mode.as_deref() != Some(mode)
}

fn traits<'p>(port: &'p PortCatalog, mode: &'static str) -> wire::Traits<'p> {
    wire::Traits {
        installation_app_type: &port.config.integration_type,
        changelog_destination: &port.config.changelog_destination,
        actions_processing_enabled: false,
        incremental_sync_enabled: false,
        processing_mode: mode,
    }
}

fn change(port: &PortCatalog) -> wire::PatchIntegration<'_> {
    wire::PatchIntegration {
        version: &port.config.integration_version,
        traits: None,
        config: None,
        are_port_resources_initialized: None,
    }
}

async fn patch(port: &PortCatalog, change: &wire::PatchIntegration<'_>) -> Result<(), PortError> {
    let url = port.client.url(&["integration", &port.config.integration_identifier])?;
    let call = Call::new("update the integration", Method::PATCH, url)
        .subject(&port.config.integration_identifier)
        .json(change)?;
    port.client.send(call).await.map(drop)
}

/// The default resources of an integration that has not got them yet.
async fn set_up(
    port: &PortCatalog,
    origin: ResourcesOrigin,
    integration: &Integration,
    defaults: &[KindEntry],
    notes: &mut Vec<String>,
) -> Result<(), PortError> {
    match origin {
        ResourcesOrigin::Empty => {
            let config = AppConfig::default();
            let change = wire::PatchIntegration {
                config: Some(&config),
                are_port_resources_initialized: Some(true),
                ..change(port)
            };
            patch(port, &change).await?;
            notes.push("set an empty mapping".into());
        }
        ResourcesOrigin::Port => {
            wait_for_provisioning(port).await?;
            notes.push("Port created the default resources".into());
        }
        ResourcesOrigin::Default | ResourcesOrigin::Ocean => {
            if !port.config.initialize_port_resources {
                return Ok(());
            }
            let config = if is_empty(integration.config.as_ref()) {
                let config = default_config(defaults);
                patch_config(port, &config).await?;
                notes.push(format!("set the default mapping of {} kinds", config.resources.len()));
                config
            } else {
                app_config(port, integration.config.as_ref())?
            };
            let found = blueprints::survey(port, defaults).await?;
            if found.existing.is_empty() {
                // The peer marks the resources as initialized even when this fails, and so never
                // tries again. Here the failure ends the start, and the next one tries again.
                blueprints::create(port, &found.missing).await?;
                notes.extend(found.missing.iter().map(|b| format!("created blueprint {}", b.identifier())));
            } else {
                notes.extend(found.gaps(&config));
            }
            let done = wire::PatchIntegration { are_port_resources_initialized: Some(true), ..change(port) };
            patch(port, &done).await?;
        }
    }
    Ok(())
}

async fn patch_config(port: &PortCatalog, config: &AppConfig) -> Result<(), PortError> {
    let url = port.client.url(&["integration", &port.config.integration_identifier, "config"])?;
    let call =
        Call::new("set the default mapping", Method::PATCH, url).json(&wire::PatchConfig { config })?;
    port.client.send(call).await.map(drop)
}

async fn wait_for_provisioning(port: &PortCatalog) -> Result<(), PortError> {
    let mut wait = PROVISION_FIRST_WAIT;
    for _ in 0..PROVISION_ATTEMPTS {
        let integration = get(port).await?.ok_or_else(|| vanished(port))?;
        if !is_empty(integration.config.as_ref()) {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        wait = Duration::from_secs(wait.mul_f64(PROVISION_GROWTH).as_secs()).min(port.config.retry.cap);
    }
    Err(PortError::Other(
        Problem::new("Port did not create the default resources of the integration").remedy(
            "Set OCEAN__CREATE_PORT_RESOURCES_ORIGIN=Default and delete the integration in Port, or write a \
             mapping there.",
        ),
    ))
}

/// The mapping of a fresh installation: the kinds' defaults in the order given.
fn default_config(defaults: &[KindEntry]) -> AppConfig {
    AppConfig {
        resources: defaults.iter().filter_map(|entry| entry.manifest.mapping.clone()).collect(),
        ..AppConfig::default()
    }
}

fn is_empty(config: Option<&Value>) -> bool {
    match config {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

fn app_config(port: &PortCatalog, config: Option<&Value>) -> Result<AppConfig, PortError> {
    let identifier = &port.config.integration_identifier;
    let Some(config) = config.filter(|config| !is_empty(Some(config))) else {
        return Err(PortError::Other(
            Problem::new(format!("integration `{identifier}` has no mapping")).remedy(
                "Write one in Port (Data sources, the integration, Mapping), or start once with \
                 OCEAN__INITIALIZE_PORT_RESOURCES=true for the default one.",
            ),
        ));
    };
    AppConfig::read(config).map_err(|reason| {
        PortError::Other(
            Problem::new(format!("the mapping of integration `{identifier}` is not valid: {reason}"))
                .remedy("Correct it in Port (Data sources, the integration, Mapping)."),
        )
    })
}

/// The integration was there before, or nobody has installed it yet.
fn deleted(port: &PortCatalog) -> PortError {
    port.session().deleted = true;
    let identifier = &port.config.integration_identifier;
    PortError::Other(
        Problem::new(format!(
            "integration `{identifier}` does not exist in Port (any more): somebody deleted the data source"
        ))
        .remedy("Stop Berth if that was intended; a restart installs the data source again."),
    )
}

fn vanished(port: &PortCatalog) -> PortError {
    PortError::Other(Problem::new(format!(
        "integration `{}` disappeared while it was set up",
        port.config.integration_identifier
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_neither_password_nor_trailing_slash() {
        for base_url in
            ["https://api.getport.io/", "https://api.getport.io", "https://user:hush@api.getport.io"]
        {
            assert_eq!(place(&base_url.parse().unwrap()), "https://api.getport.io");
        }
    }

    #[test]
    fn the_stored_origin_wins_then_the_setting_then_what_port_can() {
        use ResourcesOrigin::{Default, Empty, Ocean, Port};
        for (stored, wanted, port_can, chosen) in [
            (None, None, false, Default),
            (None, None, true, Port),
            (None, Some(Port), false, Default),
            (None, Some(Port), true, Port),
            (None, Some(Ocean), true, Default),
            (None, Some(Default), true, Default),
            (None, Some(Empty), true, Empty),
            (Some("Empty"), Some(Default), true, Empty),
            (Some("Default"), Some(Empty), true, Default),
            (Some("Something new"), Some(Empty), true, Empty),
        ] {
            assert_eq!(origin(stored, wanted, port_can), chosen, "{stored:?} {wanted:?} {port_can}");
        }
    }
}
