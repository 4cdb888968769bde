//! Who owns an entity, by the exact data source `port-ocean/{type}/{version}/{identifier}/exporter`.
//!
//! Port's search cannot say that the version has no slash, so beginning and end alone also find the
//! entities of an integration whose identifier ends with `/{identifier}`. There are two exact ways: to
//! name the versions, which finds only what these versions wrote; or beginning and end without the
//! integrations that could be confused, for which Port must list its integrations. The first one costs
//! no request, so it comes first. The second one follows when something is missing.

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
    api::{client::Client, error::PortError, integrations::IntegrationSummary, search::Condition},
};

/// The property by which Port knows who wrote an entity.
pub(crate) const DATASOURCE: &str = "$datasource";

/// The integrations of the organization.
#[derive(Debug, Default)]
pub(crate) struct Integrations(Vec<IntegrationSummary>);

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

/// The data source of this integration, and the versions of it that wrote entities.
pub(crate) struct DataSource {
    /// Ends with a slash.
    prefix: String,
    identifier: String,
    versions: Mutex<BTreeSet<String>>,
    /// Whether it was logged that Port does not list its integrations.
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

    /// The two ends; the version lies between them.
    pub(crate) fn ends(&self) -> (String, String) {
        (self.prefix.clone(), suffix(&self.identifier))
    }

    /// Adds a version that is known to have written entities, if it can stand in a data source.
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

    /// Rules that only entities of this integration meet, which one of the known versions wrote.
    pub(crate) fn of_known_versions(&self) -> Condition {
        self.of_versions(&self.identifier, &self.versions())
    }

    fn of_versions(&self, identifier: &str, versions: &BTreeSet<String>) -> Condition {
        let exact = versions.iter().map(|version| self.exact(version, identifier));
        Condition::any(exact.map(|source| Condition::rule(DATASOURCE, "=", source)).collect())
    }

    /// Rules that the entities of an integration of this type meet, whatever version wrote them. What a
    /// known version wrote is matched exactly: an integration that was removed may have left entities
    /// behind.
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

    /// Rules that an entity with both ends of this integration's data source meets.
    pub(crate) fn similar(&self) -> Condition {
        let (prefix, suffix) = self.ends();
        Condition::all(vec![
            Condition::rule(DATASOURCE, "contains", prefix),
            Condition::rule(DATASOURCE, "contains", suffix),
        ])
    }
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

/// Which entities are this integration's own, as far as this session knows.
pub(crate) struct Ownership {
    client: Arc<Client>,
    source: Arc<DataSource>,
    /// The organization's integrations; none where Port does not list them.
    integrations: OnceCell<Option<Arc<Integrations>>>,
    /// Whether Port refuses the rules that need the integrations.
    refused: AtomicBool,
    /// The versions of other integrations, by identifier.
    versions: Mutex<HashMap<String, Arc<OnceCell<Option<String>>>>>,
}

impl Ownership {
    pub(crate) fn new(client: Arc<Client>, source: Arc<DataSource>) -> Self {
        Self {
            client,
            source,
            integrations: OnceCell::new(),
            refused: AtomicBool::new(false),
            versions: Mutex::default(),
        }
    }

    /// This integration's data source.
    pub(crate) fn source(&self) -> &DataSource {
        &self.source
    }

    /// The integrations of the organization, asked for once in a session. `None` when Port does not list
    /// them.
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
                        "entities that an older version wrote are not deleted, because Port does not list its \
                         integrations: allow the credentials of OCEAN__PORT__CLIENT_ID to read them (GET /v1/integration)"
                    );
                }
                None
            }
        }
    }

    /// Rules that this integration's own entities meet, if what there is to know is known in this session.
    pub(crate) fn settled(&self) -> Option<Condition> {
        if self.is_refused() {
            return Some(self.source.of_known_versions());
        }
        Some(match self.integrations.get()? {
            Some(all) => self.source.of_any_version(&self.source.identifier, all),
            None => self.source.of_known_versions(),
        })
    }

    /// Whether Port has refused the rules of [`complete`](Self::complete) in this session.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Notes that Port does not take the rules of [`complete`](Self::complete): from then on in this
    /// session, only what known versions wrote is certain.
    pub(crate) fn set_refused(&self, error: &PortError) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "entities that an older version wrote are not deleted, because Port refuses to search for them");
        }
    }

    /// Rules that all entities of this integration meet, whatever version wrote them; `None` when Port
    /// does not list its integrations.
    pub(crate) async fn complete(&self) -> Option<Condition> {
        let all = self.integrations().await?;
        Some(self.source.of_any_version(&self.source.identifier, &all))
    }

    /// Rules that entities of somebody else meet. Those that an unknown version of this integration may
    /// have written are not among them: they are written to, and are this integration's own for certain
    /// from then on.
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

    /// Rules by which a [similar](DataSource::similar) entity is somebody else's.
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

    /// Rules that only entities meet which another integration of this type wrote last.
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

/// Whether a text can stand in a data source as a version.
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
