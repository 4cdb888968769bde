//! Whose an entity is, by the exact data source `port-ocean/{type}/{version}/{identifier}/exporter`.
//!
//! Port's search cannot say that the version has no slash, so beginning and end alone also find the
//! entities of an integration whose identifier ends with `/{identifier}`. There are two exact ways: to
//! name the versions, which finds only what these versions wrote; or beginning and end without the
//! integrations that could be confused, for which Port must list its integrations. The first one costs
//! no request, so it comes first. The second one follows when something is missing.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use reqwest::Method;

use crate::{
    PortCatalog,
    client::Call,
    error::PortError,
    integration,
    wire::{self, Condition},
};

/// The property by which Port knows who wrote an entity.
pub(crate) const DATASOURCE: &str = "$datasource";

/// The integrations of the organization.
#[derive(Debug, Default)]
pub(crate) struct Integrations(Vec<wire::IntegrationSummary>);

impl Integrations {
    /// Ends of data sources that contain the end of another integration's.
    fn confusable(&self, identifier: &str) -> Vec<String> {
        let own = suffix(identifier);
        let others = self.0.iter().map(|other| other.installation_id.as_str());
        others.filter(|other| *other != identifier).map(suffix).filter(|other| other.contains(&own)).collect()
    }
}

fn prefix(integration_type: &str) -> String {
    format!("port-ocean/{integration_type}/")
}

fn suffix(identifier: &str) -> String {
    format!("/{identifier}/exporter")
}

/// The two ends of this integration's data source; its version lies between them.
pub(crate) fn ends(port: &PortCatalog) -> (String, String) {
    (prefix(&port.config.integration_type), suffix(&port.config.integration_identifier))
}

/// The integrations of the organization, asked for once in a session. `None` when Port does not list
/// them.
pub(crate) async fn integrations(port: &PortCatalog) -> Option<Arc<Integrations>> {
    let cache = port.cache();
    cache.integrations.get_or_init(|| list(port)).await.clone()
}

async fn list(port: &PortCatalog) -> Option<Arc<Integrations>> {
    let listed = async {
        let call = Call::new("list the integrations", Method::GET, port.client.url(&["integration"])?);
        port.client.send(call).await?.json::<wire::IntegrationsReply>()
    };
    match listed.await {
        Ok(reply) => Some(Arc::new(Integrations(reply.integrations))),
        Err(error) => {
            // Live events open a session every minute: one warning is enough.
            if !port.client.warned_of_integrations.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %error,
                    "entities that an older version wrote are not deleted, because Port does not list its \
                     integrations: allow the credentials of OCEAN__PORT__CLIENT_ID to read them (GET /v1/integration)"
                );
            }
            None
        }
    }
}

/// Rules that only entities of this integration meet, which one of the known versions wrote.
pub(crate) fn of_known_versions(port: &PortCatalog) -> Condition {
    of_versions(port, &port.config.integration_identifier, &port.client.versions())
}

fn of_versions(port: &PortCatalog, identifier: &str, versions: &BTreeSet<String>) -> Condition {
    let exact = versions.iter().map(|version| exact(port, version, identifier));
    Condition::any(exact.map(|source| Condition::rule(DATASOURCE, "=", source)).collect())
}

fn exact(port: &PortCatalog, version: &str, identifier: &str) -> String {
    format!("{}{version}{}", prefix(&port.config.integration_type), suffix(identifier))
}

/// Rules that the entities of an integration of this type meet, whatever version wrote them. What a known
/// version wrote is matched exactly: an integration that was removed may have left entities behind.
fn of_any_version(port: &PortCatalog, identifier: &str, all: &Integrations) -> Condition {
    let (prefix, suffix) = (prefix(&port.config.integration_type), suffix(identifier));
    let versions = port.client.versions();
    let mut rules = vec![
        Condition::rule(DATASOURCE, "contains", prefix.clone()),
        Condition::rule(DATASOURCE, "contains", suffix.clone()),
    ];
    let known = versions.iter().map(|version| format!("{prefix}{version}/"));
    let others = known.chain(all.confusable(identifier));
    rules.extend(others.map(|other| Condition::rule(DATASOURCE, "doesNotContains", other)));
    rules.extend(overlaps(&prefix, &suffix).map(|source| Condition::rule(DATASOURCE, "!=", source)));
    Condition::any(vec![of_versions(port, identifier, &versions), Condition::all(rules)])
}

/// Data sources that have both ends and no version between them: `1.0/x` ends like version 1.0 of `x`.
fn overlaps(prefix: &str, suffix: &str) -> impl Iterator<Item = String> {
    let ends = prefix.match_indices('/').map(|(at, _)| &prefix[at..]);
    ends.filter_map(|end| Some(format!("{prefix}{}", suffix.strip_prefix(end)?)))
        // Without a slash in the identifier nothing is left for another one's.
        .filter(|source| source.matches('/').count() >= 4)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Rules that this integration's own entities meet, if what there is to know is known in this session.
pub(crate) fn settled(port: &PortCatalog) -> Option<Condition> {
    if is_refused(port) {
        return Some(of_known_versions(port));
    }
    let cache = port.cache();
    Some(match cache.integrations.get()? {
        Some(all) => of_any_version(port, &port.config.integration_identifier, all),
        None => of_known_versions(port),
    })
}

/// Whether Port has refused the rules of [`complete`] in this session.
pub(crate) fn is_refused(port: &PortCatalog) -> bool {
    port.cache().refused.load(Ordering::Relaxed)
}

/// Notes that Port does not take the rules of [`complete`]: from then on in this session, only what known
/// versions wrote is certain.
pub(crate) fn refused(port: &PortCatalog, error: &PortError) {
    if !port.cache().refused.swap(true, Ordering::Relaxed) {
        tracing::warn!(%error, "entities that an older version wrote are not deleted, because Port refuses to search for them");
    }
}

/// Rules that all entities of this integration meet, whatever version wrote them; `None` when Port does
/// not list its integrations.
pub(crate) async fn complete(port: &PortCatalog) -> Option<Condition> {
    let all = integrations(port).await?;
    Some(of_any_version(port, &port.config.integration_identifier, &all))
}

/// Rules that entities of somebody else meet. Those that an unknown version of this integration may have
/// written are not among them: they are written to, and are this integration's own for certain from then
/// on.
pub(crate) async fn foreign(port: &PortCatalog) -> Condition {
    let (prefix, suffix) = ends(port);
    let mut rules = vec![
        Condition::rule(DATASOURCE, "doesNotContains", prefix),
        Condition::rule(DATASOURCE, "doesNotContains", suffix),
        Condition::bare(DATASOURCE, "isEmpty"),
    ];
    rules.push(confused(port).await);
    Condition::any(rules)
}

/// Rules that an entity with both ends of this integration's data source meets.
pub(crate) fn similar(port: &PortCatalog) -> Condition {
    let (prefix, suffix) = ends(port);
    Condition::all(vec![
        Condition::rule(DATASOURCE, "contains", prefix),
        Condition::rule(DATASOURCE, "contains", suffix),
    ])
}

/// Rules by which a [`similar`] entity is somebody else's.
pub(crate) async fn confused(port: &PortCatalog) -> Condition {
    let (prefix, suffix) = ends(port);
    let own = &port.config.integration_identifier;
    // What a known version wrote under another name.
    let mut rules: Vec<Condition> = port
        .client
        .versions()
        .iter()
        .map(|version| {
            Condition::all(vec![
                Condition::rule(DATASOURCE, "contains", format!("{prefix}{version}/")),
                Condition::rule(DATASOURCE, "!=", exact(port, version, own)),
            ])
        })
        .collect();
    if let Some(all) = integrations(port).await {
        let others = all.confusable(own).into_iter();
        rules.extend(others.map(|other| Condition::rule(DATASOURCE, "contains", other)));
    }
    rules.extend(overlaps(&prefix, &suffix).map(|source| Condition::rule(DATASOURCE, "=", source)));
    Condition::any(rules)
}

/// Rules that only entities meet which another integration of this type wrote last.
pub(crate) async fn of(port: &PortCatalog, identifier: &str) -> Result<Condition, PortError> {
    if let Some(all) = integrations(port).await {
        return Ok(of_any_version(port, identifier, &all));
    }
    let mut versions = port.client.versions();
    let cell = port.cache().version_of(identifier);
    let stored = cell.get_or_try_init(|| integration::version(port, identifier)).await?;
    versions.extend(stored.clone().filter(|version| is_version(version)));
    Ok(of_versions(port, identifier, &versions))
}

/// Whether a text can stand in a data source as a version.
pub(crate) fn is_version(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integrations(identifiers: &[&str]) -> Integrations {
        let summary = |id: &&str| wire::IntegrationSummary { installation_id: (*id).to_owned() };
        Integrations(identifiers.iter().map(summary).collect())
    }

    #[test]
    fn only_identifiers_whose_end_is_the_own_one_can_be_confused() {
        let all = integrations(&["sec", "team/sec", "a/b/sec", "sec/exporter", "team/sec2", "xsec", "sec/x"]);
        assert_eq!(
            all.confusable("sec"),
            ["/team/sec/exporter", "/a/b/sec/exporter", "/sec/exporter/exporter"]
        );
        assert_eq!(all.confusable("team/sec"), [""; 0]);
    }

    #[test]
    fn an_identifier_that_begins_like_a_version_does_not_own_what_that_version_wrote() {
        let overlaps =
            |identifier: &str| overlaps("port-ocean/aws-v3/", &suffix(identifier)).collect::<Vec<_>>();
        assert_eq!(overlaps("sec"), [""; 0]);
        assert_eq!(overlaps("1.0/x"), ["port-ocean/aws-v3/1.0/x/exporter"]);
        assert!(overlaps("aws-v3/1.0/x").contains(&"port-ocean/aws-v3/1.0/x/exporter".to_owned()));
    }
}
