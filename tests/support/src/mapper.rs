//! A fake mapper.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use berth_core::{
    Kind, KindEntry, KindManifest, MapError, MapReport, MapRequest, Mapper, MapperSnapshot, RefusedPlugin,
};
use serde_json::Value;

type Map = dyn Fn(MapRequest) -> Result<MapReport, MapError> + Send + Sync;

/// Plugins that never change and whose code is a closure.
#[derive(Clone)]
pub struct FakeMapper {
    kinds: BTreeMap<Kind, KindEntry>,
    map: Arc<Map>,
}

impl FakeMapper {
    /// Maps the kinds of these manifests.
    pub fn new(
        kinds: impl IntoIterator<Item = KindEntry>,
        map: impl Fn(MapRequest) -> Result<MapReport, MapError> + Send + Sync + 'static,
    ) -> Self {
        let kinds = kinds.into_iter().map(|entry| (entry.manifest.kind.clone(), entry)).collect();
        Self { kinds, map: Arc::new(map) }
    }

    /// A kind of the plugin `p`.
    pub fn kind(manifest: Value) -> KindEntry {
        let manifest: KindManifest = serde_json::from_value(manifest).unwrap();
        KindEntry { plugin: "p".into(), manifest: Arc::new(manifest) }
    }
}

impl Mapper for FakeMapper {
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot> {
        self
    }
}

#[async_trait]
impl MapperSnapshot for FakeMapper {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        self.kinds.clone()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        (self.map)(request)
    }
}

/// Plugins that are exchanged while a test runs.
pub struct ExchangedMapper(Mutex<Arc<FakeMapper>>);

impl ExchangedMapper {
    /// The first version.
    pub fn new(mapper: FakeMapper) -> Self {
        Self(Mutex::new(Arc::new(mapper)))
    }

    /// Another takes its place.
    pub fn exchange(&self, mapper: FakeMapper) {
        *self.0.lock().unwrap() = Arc::new(mapper);
    }
}

impl Mapper for ExchangedMapper {
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot> {
        Arc::clone(&*self.0.lock().unwrap()) as Arc<dyn MapperSnapshot>
    }
}
