//! The integration in Port: found or created, and kept consistent with the settings.

use std::time::Duration;

use berth_core::{AppConfig, CatalogInfo, KindEntry, Problem, ProblemCode, Processing};
use serde_json::{Map, Value};
use url::Url;

use super::{
    blueprints, examples, flags::FeatureFlags, ingest::IngestAddresses, ownership::DataSource,
    process_state::ProcessState, processing,
};
use crate::{
    EventType, PortConfig, ResourcesOrigin,
    api::{
        client::PortClient,
        error::PortError,
        integrations::{CreateIntegration, INSTALLATION_TYPE, Integration, PatchIntegration, Traits},
    },
};

/// The flag of organizations whose default resources Port creates itself.
const PROVISIONED_DEFAULTS: &str = "USE_PROVISIONED_DEFAULTS";

/// Port's information, and the stored integration, if there is one.
pub(crate) type FoundIntegration = (CatalogInfo, Option<Integration>);

/// How often to check for Port's own provisioning.
const PROVISION_ATTEMPTS: u32 = 30;
const PROVISION_FIRST_WAIT: Duration = Duration::from_secs(3);
const PROVISION_GROWTH: f64 = 1.55;

/// Finds the integration, or creates it with its default resources.
pub(crate) struct Installation<'a> {
    pub(crate) client: &'a PortClient,
    pub(crate) config: &'a PortConfig,
    pub(crate) flags: &'a FeatureFlags,
    pub(crate) addresses: &'a IngestAddresses,
    pub(crate) data_source: &'a DataSource,
    pub(crate) state: &'a ProcessState,
}

impl Installation<'_> {
    /// Creates what is missing at the start of a process, in the order of the contract.
    pub(crate) async fn start(&self, defaults: &[KindEntry]) -> Result<FoundIntegration, PortError> {
        let mut notes = Vec::new();
        if let Some(found) = self.get().await? {
            self.check_runtime(&found)?;
        }
        let provisioned = self.client.provision_enabled().await?;
        let flags = self.flags.get(self.client).await?;
        let processing = processing::decide(self.config, &flags);
        let existing = self.get().await?;
        let fresh = existing.is_none();
        if fresh && !self.config.install {
            return Err(self.deleted());
        }

        let origin = origin(
            existing.as_ref().and_then(|found| found.create_port_resources_origin.as_deref()),
            self.config.create_port_resources_origin,
            provisioned.contains(&self.config.integration_type)
                && flags.iter().any(|f| f == PROVISIONED_DEFAULTS),
        );
        let integration = if let Some(integration) = existing {
            integration
        } else {
            notes.push(format!("created integration {}", self.config.integration_identifier));
            self.create(origin).await?
        };
        self.agree(&integration, processing, &mut notes).await?;

        let written = notes.len();
        if integration.are_port_resources_initialized != Some(true) {
            self.set_up(origin, &integration, defaults, &mut notes).await?;
        }
        // Reads again only what was changed here; a new integration may not have had its addresses for raw
        // data when it was created.
        let again = notes.len() > written || fresh && processing != Processing::Entities;
        let integration = if again { self.get().await?.ok_or_else(|| self.vanished())? } else { integration };
        let config = self.app_config(integration.config.as_ref())?;
        Ok((self.info(config, notes, processing), Some(integration)))
    }

    /// Opens a further resync of the same process: reads only the mapping again, and expired flags. An
    /// integration that was deleted meanwhile stays deleted: only a start installs it again.
    pub(crate) async fn reload(&self) -> Result<FoundIntegration, PortError> {
        let integration = self.get().await?.ok_or_else(|| self.deleted())?;
        let mut notes = Vec::new();
        let processing = processing::of(self.config, self.flags, self.client).await?;
        // The organization's flags may have changed meanwhile; the start handles other differences.
        if integration.processing_mode.as_deref() != Some(processing::mode(processing)) {
            self.agree(&integration, processing, &mut notes).await?;
        }
        let config = self.app_config(integration.config.as_ref())?;
        Ok((self.info(config, notes, processing), Some(integration)))
    }

    /// Returns what a resync would work on, without changing anything.
    pub(crate) async fn look(&self, defaults: &[KindEntry]) -> Result<FoundIntegration, PortError> {
        let mut notes = Vec::new();
        let integration = self.get().await?;
        let processing = processing::of(self.config, self.flags, self.client).await?;
        match &integration {
            Some(found) => self.check_runtime(found)?,
            // Events change what resyncs have created.
            None if self.config.event_type == EventType::HttpRequest => return Err(self.deleted()),
            None => notes.push(format!(
                "integration {} does not exist yet: planned with the default mapping",
                self.config.integration_identifier
            )),
        }
        let config = integration.as_ref().and_then(|found| found.config.as_ref());
        let fresh = integration.as_ref().is_none_or(|found| {
            found.are_port_resources_initialized != Some(true) && self.config.initialize_port_resources
        });
        if !fresh {
            return Ok((self.info(self.app_config(config)?, notes, processing), integration));
        }
        let stored = integration.as_ref().and_then(|found| found.create_port_resources_origin.as_deref());
        let origin = origin(stored, self.config.create_port_resources_origin, false);
        let config = match origin {
            _ if !is_empty(config) => self.app_config(config)?,
            ResourcesOrigin::Empty => AppConfig::default(),
            _ => default_config(defaults),
        };
        if self.config.initialize_port_resources && origin != ResourcesOrigin::Empty {
            let found = blueprints::survey(self.client, defaults).await?;
            if found.existing.is_empty() {
                notes.extend(
                    found.missing.iter().map(|b| format!("would create blueprint {}", b.identifier())),
                );
            } else {
                notes.extend(found.gaps(&config));
            }
        }
        Ok((self.info(config, notes, processing), integration))
    }

    fn info(&self, config: AppConfig, notes: Vec<String>, processing: Processing) -> CatalogInfo {
        let examples = if self.config.send_raw_data_examples { examples::COUNT } else { 0 };
        CatalogInfo { config, notes, processing, examples, ..CatalogInfo::default() }
    }

    async fn get(&self) -> Result<Option<Integration>, PortError> {
        let integration = self.client.integration(&self.config.integration_identifier).await?;
        if let Some(found) = &integration {
            self.addresses.learn(self.config, found);
            if let Some(version) = &found.version {
                self.data_source.add_version(version);
            }
        }
        Ok(integration)
    }

    /// Names the catalog, its organization and the integration in it. Adds a note if the organization is
    /// unknown.
    pub(crate) async fn identity(&self) -> (String, Option<String>) {
        let config = self.config;
        let base_url = place(&config.base_url);
        let mut why = "its response has no id".to_owned();
        if self.client.organization_id().is_none()
            && let Err(error) = self.client.organization().await
        {
            why = error.to_string();
        }
        let (place, note) = if let Some(id) = self.client.organization_id() {
            (format!("organization {id}"), None)
        } else {
            let note = format!("Port does not name the organization of these credentials: {why}");
            ("an unknown organization".to_owned(), Some(note))
        };
        let (identifier, integration_type) = (&config.integration_identifier, &config.integration_type);
        (format!("{identifier} of type {integration_type} at {base_url} in {place}"), note)
    }

    /// An integration of the other runtime belongs to Port's own cloud: the two would conflict.
    fn check_runtime(&self, integration: &Integration) -> Result<(), PortError> {
        let found = integration.installation_type.as_deref().unwrap_or(INSTALLATION_TYPE);
        if found == INSTALLATION_TYPE {
            return Ok(());
        }
        let identifier = &self.config.integration_identifier;
        Err(PortError::Other(
            Problem::new(
                ProblemCode::PortIntegration,
                format!("integration `{identifier}` is installed as `{found}`, not as `{INSTALLATION_TYPE}`"),
            )
            .remedy(
                "Set OCEAN__INTEGRATION__IDENTIFIER to another value, or delete that integration in \
                Port.",
            ),
        ))
    }

    async fn create(&self, origin: ResourcesOrigin) -> Result<Integration, PortError> {
        let config = self.config;
        let new = CreateIntegration {
            installation_id: &config.integration_identifier,
            installation_app_type: &config.integration_type,
            version: &config.integration_version,
            changelog_destination: &config.changelog_destination,
            config: Map::new(),
            actions_processing_enabled: false,
            incremental_sync_enabled: false,
            create_port_resources_origin: origin.as_str(),
        };
        self.client.create_integration(&new, origin == ResourcesOrigin::Port).await
    }

    /// Updates the integration to match the settings, with one change for all of it.
    async fn agree(
        &self,
        integration: &Integration,
        processing: Processing,
        notes: &mut Vec<String>,
    ) -> Result<(), PortError> {
        let mode = processing::mode(processing);
        if self.differs(integration, mode) {
            let change = PatchIntegration { traits: Some(self.traits(mode)), ..self.change() };
            self.patch(&change).await?;
            notes.push(format!("updated integration {}", self.config.integration_identifier));
        }
        Ok(())
    }

    fn differs(&self, integration: &Integration, mode: &str) -> bool {
        let config = self.config;
        integration.changelog_destination.as_ref() != Some(&config.changelog_destination)
            || integration.installation_app_type.as_ref() != Some(&config.integration_type)
            || integration.version.as_ref() != Some(&config.integration_version)
            || integration.actions_processing_enabled.unwrap_or_default()
            || integration.incremental_sync_enabled.unwrap_or_default()
            || integration.processing_mode.as_deref() != Some(mode)
    }

    fn traits(&self, mode: &'static str) -> Traits<'_> {
        Traits {
            installation_app_type: &self.config.integration_type,
            changelog_destination: &self.config.changelog_destination,
            actions_processing_enabled: false,
            incremental_sync_enabled: false,
            processing_mode: mode,
        }
    }

    fn change(&self) -> PatchIntegration<'_> {
        PatchIntegration {
            version: &self.config.integration_version,
            traits: None,
            config: None,
            are_port_resources_initialized: None,
        }
    }

    async fn patch(&self, change: &PatchIntegration<'_>) -> Result<(), PortError> {
        self.client.update_integration(&self.config.integration_identifier, change).await
    }

    /// Creates the default resources of an integration that does not have them yet.
    async fn set_up(
        &self,
        origin: ResourcesOrigin,
        integration: &Integration,
        defaults: &[KindEntry],
        notes: &mut Vec<String>,
    ) -> Result<(), PortError> {
        match origin {
            ResourcesOrigin::Empty => {
                let config = AppConfig::default();
                let change = PatchIntegration {
                    config: Some(&config),
                    are_port_resources_initialized: Some(true),
                    ..self.change()
                };
                self.patch(&change).await?;
                notes.push("set an empty mapping".into());
            }
            ResourcesOrigin::Port => {
                self.wait_for_provisioning().await?;
                notes.push("Port created the default resources".into());
            }
            ResourcesOrigin::Default | ResourcesOrigin::Ocean => {
                if !self.config.initialize_port_resources {
                    return Ok(());
                }
                let config = if is_empty(integration.config.as_ref()) {
                    let config = default_config(defaults);
                    self.client.set_mapping(&self.config.integration_identifier, &config).await?;
                    notes.push(format!("set the default mapping of {} kinds", config.resources.len()));
                    config
                } else {
                    self.app_config(integration.config.as_ref())?
                };
                let found = blueprints::survey(self.client, defaults).await?;
                if found.existing.is_empty() {
                    // Ocean marks the resources as initialized even if this fails, and never retries. Here
                    // the failure ends the start, and the next start retries.
                    blueprints::create(self.client, &found.missing).await?;
                    notes.extend(
                        found.missing.iter().map(|b| format!("created blueprint {}", b.identifier())),
                    );
                } else {
                    notes.extend(found.gaps(&config));
                }
                let done = PatchIntegration { are_port_resources_initialized: Some(true), ..self.change() };
                self.patch(&done).await?;
            }
        }
        Ok(())
    }

    async fn wait_for_provisioning(&self) -> Result<(), PortError> {
        let mut wait = PROVISION_FIRST_WAIT;
        for _ in 0..PROVISION_ATTEMPTS {
            let integration = self.get().await?.ok_or_else(|| self.vanished())?;
            if !is_empty(integration.config.as_ref()) {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
            wait = Duration::from_secs(wait.mul_f64(PROVISION_GROWTH).as_secs()).min(self.config.retry.cap);
        }
        Err(PortError::Other(
            Problem::new(
                ProblemCode::MappingInvalid,
                "Port did not create the default resources of the \
                integration",
            )
            .remedy(
                "Set OCEAN__CREATE_PORT_RESOURCES_ORIGIN=Default and delete the integration in Port, or \
                write a mapping there.",
            ),
        ))
    }

    fn app_config(&self, config: Option<&Value>) -> Result<AppConfig, PortError> {
        let identifier = &self.config.integration_identifier;
        let Some(config) = config.filter(|config| !is_empty(Some(config))) else {
            return Err(PortError::Other(
                Problem::new(
                    ProblemCode::MappingInvalid,
                    format!("integration `{identifier}` has no mapping"),
                )
                .remedy(
                    "Write one in Port (Data sources, the integration, Mapping), or start once with \
                     OCEAN__INITIALIZE_PORT_RESOURCES=true for the default one.",
                ),
            ));
        };
        AppConfig::read(config).map_err(|reason| {
            PortError::Other(
                Problem::new(
                    ProblemCode::MappingInvalid,
                    format!("the mapping of integration `{identifier}` is not valid: {reason}"),
                )
                .remedy("Correct it in Port (Data sources, the integration, Mapping)."),
            )
        })
    }

    /// Reports that an integration that existed before is gone, or that none is installed yet.
    fn deleted(&self) -> PortError {
        self.state.set_deleted(true);
        let identifier = &self.config.integration_identifier;
        PortError::Other(
            Problem::new(ProblemCode::PortIntegration, format!(
                "integration `{identifier}` does not exist in Port (any longer): someone deleted the data \
                source"
            ))
            .remedy("Stop Berth if that was intended; a restart installs the data source again."),
        )
    }

    fn vanished(&self) -> PortError {
        PortError::Other(Problem::new(
            ProblemCode::PortIntegration,
            format!(
                "integration `{}` disappeared during its installation",
                self.config.integration_identifier
            ),
        ))
    }
}

/// Returns where Port is. An identity is shown and stored, so it must not hold a password.
fn place(base_url: &Url) -> String {
    let mut base_url = base_url.clone();
    // Neither can fail for an HTTP URL.
    _ = base_url.set_username("");
    _ = base_url.set_password(None);
    base_url.as_str().trim_end_matches('/').to_owned()
}

/// Returns who creates the default resources: what the integration stores, else the setting, else Port if it
/// can.
fn origin(stored: Option<&str>, wanted: Option<ResourcesOrigin>, port_can: bool) -> ResourcesOrigin {
    let stored = stored.and_then(|text| text.parse().ok());
    match stored.or(wanted) {
        Some(ResourcesOrigin::Empty) => ResourcesOrigin::Empty,
        Some(ResourcesOrigin::Port) | None if port_can => ResourcesOrigin::Port,
        Some(_) | None => ResourcesOrigin::Default,
    }
}

/// Returns the mapping of a new installation: the kinds' defaults in the given order.
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
