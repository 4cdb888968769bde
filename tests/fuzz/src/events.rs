//! Live events: from the request to the queue of resources to read again.

use std::sync::{Arc, OnceLock};

use berth_core::{Adoption, KindEntry, Manifest, Problem, ProblemCode, from_json};
use berth_sync::{
    AccountCache, Backlog, LiveEvents, LiveOptions, LiveParts, NullObserver, Submission, WriteArbiter,
};
use berth_test_support::{FakeCatalog, FakeMapper, FakeSource};
use serde_json::Value;

/// The plugins whose events are followed: one with everything that a trigger may say.
const MANIFESTS: &[&str] = &[
    include_str!("../../../plugins/ec2-instance/manifest.json"),
    include_str!("../../../plugins/lambda-function/manifest.json"),
    include_str!("../../../plugins/s3-bucket/manifest.json"),
    include_str!("../../../plugins/ecs-service/manifest.json"),
];

const UNUSED: &str = "nobody asks for it";

fn kinds() -> &'static [KindEntry] {
    static KINDS: OnceLock<Vec<KindEntry>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let manifests = MANIFESTS.iter().map(|text| Manifest::parse(text.as_bytes()).unwrap());
        let entries = manifests.flat_map(|manifest| {
            let plugin = manifest.name;
            manifest
                .kinds
                .into_iter()
                .map(move |kind| KindEntry { plugin: plugin.clone(), manifest: Arc::new(kind) })
        });
        entries.collect()
    })
}

/// Nothing is read, mapped or written: events only get as far as the queue.
fn live() -> LiveEvents {
    let source = FakeSource::new(|| Err(Problem::new(ProblemCode::Other, UNUSED)));
    let mapper = FakeMapper::new(kinds().iter().cloned(), |_| panic!("{UNUSED}"));
    let parts = LiveParts {
        source: Arc::new(AccountCache::new(Arc::new(source))),
        mapper: Arc::new(mapper),
        catalog: Arc::new(FakeCatalog { broken: true, ..FakeCatalog::default() }),
        write_arbiter: Arc::new(WriteArbiter::default()),
        ledger: None,
        gate: None,
        observer: Arc::new(NullObserver),
        adoption: Adoption::Never,
        max_deletions: None,
    };
    parts.follow(LiveOptions { capacity: 100, ..LiveOptions::default() })
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
            let kept = serde_json::to_value(Backlog::take(&live)).unwrap();
            let kept: Backlog = serde_json::from_value(kept).unwrap();
            assert_eq!(kept.restore(&restored), count, "what is kept comes back");
        }
        Submission::Malformed(reason) => assert!(!reason.is_empty()),
        Submission::Ignored | Submission::Full => {}
        Submission::Closed => panic!("nobody closed it"),
    }
}
