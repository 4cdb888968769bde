//! Live events: what is posted to the service, up to the queue of the resources to read again.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, Adoption, BlueprintId, Catalog, CatalogError, DeleteReport, Entity, EntityKey,
    FetchError, FetchRequest, FieldSet, Intent, Kind, KindEntry, Manifest, MapError, MapReport, MapRequest,
    Mapper, OwnedEntity, Problem, RawPage, RefusedPlugin, Region, ResyncStatus, Session, Source,
    UpsertOptions, UpsertReport, from_json,
};
use berth_sync::{Journal, Live, LiveOptions, LiveParts, NullObserver, Roster, Submission};
use futures::stream::{self, BoxStream};
use serde_json::Value;

/// The plugins whose events are followed: one with everything that a trigger may say.
const MANIFESTS: &[&str] = &[
    include_str!("../../../plugins/ec2-instance/manifest.json"),
    include_str!("../../../plugins/lambda-function/manifest.json"),
    include_str!("../../../plugins/s3-bucket/manifest.json"),
    include_str!("../../../plugins/ecs-service/manifest.json"),
];

/// Nothing is read, mapped or written: events only get as far as the queue.
struct Nothing(BTreeMap<Kind, KindEntry>);

const UNUSED: &str = "nobody asks for it";

#[async_trait]
impl Source for Nothing {
    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        Err(Problem::new(UNUSED))
    }

    async fn regions(&self, _: &Account) -> Result<Vec<Region>, Problem> {
        Err(Problem::new(UNUSED))
    }

    fn fetch(&self, _: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        Box::pin(stream::empty())
    }
}

#[async_trait]
impl Mapper for Nothing {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        self.0.clone()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, _: MapRequest) -> Result<MapReport, MapError> {
        panic!("{UNUSED}")
    }
}

#[async_trait]
impl Catalog for Nothing {
    async fn open(&self, _: Intent, _: &[KindEntry]) -> Result<Session, CatalogError> {
        Ok(Session::default())
    }

    async fn begin(&self, _: SystemTime) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn end(&self, _: ResyncStatus) -> Result<(), CatalogError> {
        Ok(())
    }

    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        Box::pin(stream::empty())
    }

    async fn current(&self, _: &[EntityKey], _: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        Ok(Vec::new())
    }

    async fn relations(
        &self,
        _: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        Ok(None)
    }

    fn upsert_batch(&self) -> usize {
        20
    }

    async fn upsert(&self, _: &BlueprintId, _: &[Entity], _: UpsertOptions) -> UpsertReport {
        panic!("{UNUSED}")
    }

    async fn delete(&self, _: &[EntityKey], _: bool) -> DeleteReport {
        panic!("{UNUSED}")
    }
}

fn kinds() -> &'static BTreeMap<Kind, KindEntry> {
    static KINDS: OnceLock<BTreeMap<Kind, KindEntry>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let manifests = MANIFESTS.iter().map(|text| Manifest::parse(text.as_bytes()).unwrap());
        let entries = manifests.flat_map(|manifest| {
            let plugin = manifest.name;
            manifest.kinds.into_iter().map(move |kind| {
                (kind.kind.clone(), KindEntry { plugin: plugin.clone(), manifest: Arc::new(kind) })
            })
        });
        entries.collect()
    })
}

fn live() -> Live {
    let nothing = Arc::new(Nothing(kinds().clone()));
    let parts = LiveParts {
        source: Arc::new(Roster::new(Arc::clone(&nothing) as Arc<dyn Source>)),
        mapper: Arc::clone(&nothing) as Arc<dyn Mapper>,
        catalog: nothing,
        journal: Arc::new(Journal::default()),
        ledger: None,
        gate: None,
        observer: Arc::new(NullObserver),
        adoption: Adoption::Never,
        max_deletions: None,
    };
    Live::new(parts, LiveOptions { capacity: 100, ..LiveOptions::default() })
}

/// The body of a request, as the webhook takes it.
pub(crate) fn envelopes(input: &[u8]) {
    let Ok((envelope, _)) = from_json::<Value>(input) else { return };
    let live = live();
    match live.submit(&envelope) {
        Submission::Queued(count) => {
            assert!(count > 0 && live.waiting() == count, "each resource waits once");
            assert!(envelope["detail"]["errorCode"].is_null(), "a call that failed changed nothing");
            // Twice the same is one resource to read.
            assert_eq!(live.submit(&envelope), Submission::Queued(count));
            assert_eq!(live.waiting(), count);
            // What waits is kept when the process ends, and comes back as it was.
            let restored = self::live();
            let kept = serde_json::to_value(live.take_backlog()).unwrap();
            let kept = serde_json::from_value(kept).unwrap();
            assert_eq!(restored.restore(kept), count, "what is kept comes back");
        }
        Submission::Malformed(reason) => assert!(!reason.is_empty()),
        Submission::Ignored | Submission::Full => {}
        Submission::Closed => panic!("nobody closed it"),
    }
}
