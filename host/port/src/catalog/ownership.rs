//! Decides who owns an entity, by the exact data source `port-ocean/{type}/{version}/{identifier}/exporter`.
//!
//! Port's search cannot say that the version has no slash, so prefix and suffix alone also match the entities
//! of an integration whose identifier ends with `/{identifier}`. There are two exact ways: name the versions,
//! which finds only what these versions wrote; or use prefix and suffix without the integrations that could
//! be confused, which requires Port's list of integrations. The first way needs no request, so it comes
//! first. The second one follows if something is missing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::OnceCell;

use crate::{
    PortConfig,
    api::{client::PortClient, error::PortError, integrations::IntegrationSummary, search::Condition},
};

/// The property that names the writer of an entity in Port.
pub(crate) const DATASOURCE: &str = "$datasource";

/// The integrations of the organization.
#[derive(Debug, Default)]
pub(crate) struct Integrations(Vec<IntegrationSummary>);

impl Integrations {
    /// Returns the suffixes of data sources that contain another integration's suffix.
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

/// The data source of this integration, and its versions that wrote entities.
pub(crate) struct DataSource {
    /// Ends with a slash.
    prefix: String,
    identifier: String,
    versions: Mutex<BTreeSet<String>>,
    /// Whether the log already says that Port does not list its integrations.
    warned: AtomicBool,
}

impl DataSource {
    pub(crate) fn new(config: &PortConfig) -> Self {
        Self {
            prefix: prefix(&config.integration_type),
            identifier: config.integration_identifier.clone(),
            versions: Mutex::new(BTreeSet::from([config.integration_version.clone()])),
            warned: AtomicBool::new(false),
        }
    }

    /// Returns the prefix and the suffix; the version is between them.
    pub(crate) fn ends(&self) -> (String, String) {
        (self.prefix.clone(), suffix(&self.identifier))
    }

    /// Adds a version that is known to have written entities, if it is valid in a data source.
    pub(crate) fn add_version(&self, version: &str) {
        if is_version(version) {
            self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(version.to_owned());
        }
    }

    fn versions(&self) -> BTreeSet<String> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn exact(&self, version: &str, identifier: &str) -> String {
        format!("{}{version}{}", self.prefix, suffix(identifier))
    }

    /// Returns rules that match only entities of this integration that one of the known versions wrote.
    pub(crate) fn of_known_versions(&self) -> Condition {
        self.of_versions(&self.identifier, &self.versions())
    }

    fn of_versions(&self, identifier: &str, versions: &BTreeSet<String>) -> Condition {
        let exact = versions.iter().map(|version| self.exact(version, identifier));
        Condition::any(exact.map(|source| Condition::rule(DATASOURCE, "=", source)).collect())
    }

    /// Returns rules that match the entities of an integration of this type, written by any version. What a
    /// known version wrote is matched exactly: an integration that was removed may have left entities.
    fn of_any_version(&self, identifier: &str, all: &Integrations) -> Condition {
        let (prefix, suffix) = (&self.prefix, suffix(identifier));
        let versions = self.versions();
        let mut rules = vec![
            Condition::rule(DATASOURCE, "contains", prefix.clone()),
            Condition::rule(DATASOURCE, "contains", suffix.clone()),
        ];
        let known = versions.iter().map(|version| format!("{prefix}{version}/"));
        let others = known.chain(all.confusable(identifier));
        rules.extend(others.map(|other| Condition::rule(DATASOURCE, "doesNotContains", other)));
        rules.extend(overlaps(prefix, &suffix).map(|source| Condition::rule(DATASOURCE, "!=", source)));
        Condition::any(vec![self.of_versions(identifier, &versions), Condition::all(rules)])
    }

    /// Returns rules that match an entity with both ends of this integration's data source.
    pub(crate) fn similar(&self) -> Condition {
        let (prefix, suffix) = self.ends();
        Condition::all(vec![
            Condition::rule(DATASOURCE, "contains", prefix),
            Condition::rule(DATASOURCE, "contains", suffix),
        ])
    }
}

/// Returns data sources that have both ends and no version between them: `1.0/x` ends like version 1.0 of
/// `x`.
fn overlaps(prefix: &str, suffix: &str) -> impl Iterator<Item = String> {
    let ends = prefix.match_indices('/').map(|(at, _)| &prefix[at..]);
    ends.filter_map(|end| Some(format!("{prefix}{}", suffix.strip_prefix(end)?)))
        // An identifier without a slash leaves nothing for another one.
        .filter(|source| source.matches('/').count() >= 4)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Which entities are this integration's own, as far as this session knows.
pub(crate) struct Ownership {
    client: Arc<PortClient>,
    source: Arc<DataSource>,
    /// The organization's integrations; `None` if Port does not list them.
    integrations: OnceCell<Option<Arc<Integrations>>>,
    /// Whether Port rejects the rules that need the integrations.
    refused: AtomicBool,
    /// The versions of other integrations, by identifier.
    versions: Mutex<HashMap<String, Arc<OnceCell<Option<String>>>>>,
}

impl Ownership {
    pub(crate) fn new(client: Arc<PortClient>, source: Arc<DataSource>) -> Self {
        Self {
            client,
            source,
            integrations: OnceCell::new(),
            refused: AtomicBool::new(false),
            versions: Mutex::default(),
        }
    }

    /// Returns this integration's data source.
    pub(crate) fn source(&self) -> &DataSource {
        &self.source
    }

    /// Returns the integrations of the organization, fetched once per session. Returns `None` if Port does
    /// not list them.
    async fn integrations(&self) -> Option<Arc<Integrations>> {
        self.integrations.get_or_init(|| self.list()).await.clone()
    }

    async fn list(&self) -> Option<Arc<Integrations>> {
        match self.client.integrations().await {
            Ok(integrations) => Some(Arc::new(Integrations(integrations))),
            Err(error) => {
                // Live events open a session every minute: one warning is enough.
                if !self.source.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "Berth does not delete entities that an older version wrote, because Port does not \
                         list its integrations: allow the credentials of OCEAN__PORT__CLIENT_ID to read them \
                         (GET /v1/integration)"
                    );
                }
                None
            }
        }
    }

    /// Returns rules that match this integration's own entities, if this session knows enough.
    pub(crate) fn settled(&self) -> Option<Condition> {
        if self.is_refused() {
            return Some(self.source.of_known_versions());
        }
        Some(match self.integrations.get()? {
            Some(all) => self.source.of_any_version(&self.source.identifier, all),
            None => self.source.of_known_versions(),
        })
    }

    /// Returns whether Port has rejected the rules of [`complete`](Self::complete) in this session.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Records that Port rejects the rules of [`complete`](Self::complete): for the rest of this session,
    /// only what known versions wrote is certain.
    pub(crate) fn set_refused(&self, error: &PortError) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "Berth does not delete entities that an older version wrote, because Port refuses to search \
                 for them"
            );
        }
    }

    /// Returns rules that match all entities of this integration, written by any version; `None` if Port does
    /// not list its integrations.
    pub(crate) async fn complete(&self) -> Option<Condition> {
        let all = self.integrations().await?;
        Some(self.source.of_any_version(&self.source.identifier, &all))
    }

    /// Returns rules that match entities of another owner. They exclude those that an unknown version of this
    /// integration may have written: Berth writes to them, and from then on they are certainly its own.
    pub(crate) async fn foreign(&self) -> Condition {
        let (prefix, suffix) = self.source.ends();
        let mut rules = vec![
            Condition::rule(DATASOURCE, "doesNotContains", prefix),
            Condition::rule(DATASOURCE, "doesNotContains", suffix),
            Condition::bare(DATASOURCE, "isEmpty"),
        ];
        rules.push(self.confused().await);
        Condition::any(rules)
    }

    /// Returns rules that match [similar](DataSource::similar) entities of another owner.
    pub(crate) async fn confused(&self) -> Condition {
        let (prefix, suffix) = self.source.ends();
        let own = &self.source.identifier;
        // What a known version wrote under another name.
        let mut rules: Vec<Condition> = self
            .source
            .versions()
            .iter()
            .map(|version| {
                Condition::all(vec![
                    Condition::rule(DATASOURCE, "contains", format!("{prefix}{version}/")),
                    Condition::rule(DATASOURCE, "!=", self.source.exact(version, own)),
                ])
            })
            .collect();
        if let Some(all) = self.integrations().await {
            let others = all.confusable(own).into_iter();
            rules.extend(others.map(|other| Condition::rule(DATASOURCE, "contains", other)));
        }
        rules.extend(overlaps(&prefix, &suffix).map(|source| Condition::rule(DATASOURCE, "=", source)));
        Condition::any(rules)
    }

    /// Returns rules that match only entities that another integration of this type wrote last.
    pub(crate) async fn of(&self, identifier: &str) -> Result<Condition, PortError> {
        if let Some(all) = self.integrations().await {
            return Ok(self.source.of_any_version(identifier, &all));
        }
        let cell = {
            let mut known = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(identifier.to_owned()).or_default())
        };
        let stored = cell.get_or_try_init(|| self.client.integration_version(identifier)).await?;
        let mut versions = self.source.versions();
        versions.extend(stored.clone().filter(|version| is_version(version)));
        Ok(self.source.of_versions(identifier, &versions))
    }
}

/// Returns whether a text is valid as a version in a data source.
fn is_version(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integrations(identifiers: &[&str]) -> Integrations {
        let summary = |id: &&str| IntegrationSummary { installation_id: (*id).to_owned() };
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
