//! What implementations of [`Source`](crate::Source), [`Mapper`](crate::Mapper),
//! [`Catalog`](crate::Catalog) and [`Ledger`](crate::Ledger) are made of, and what reports name.
//!
//! A [`KindManifest`] is read from JSON, as it stands in a plugin's manifest (`wit/manifest.schema.json`).
//! Its fetch plan and its events are data here: [`AwsConfig`](crate::AwsConfig)'s source runs them.

// The sessions and their errors.
pub use berth_core::{
    AccountAccess, BegunResync, CatalogError, CatalogInfo, CatalogSession, CatalogView, DocumentsError,
    EntityStore, EventSession, FetchError, LedgerReader, LedgerSession, MapError, MapperSnapshot, Milestone,
    Opened, OpenedLedger, OpenedSource, ResourceReader, ResourceResult, ResyncStart, ResyncStatus,
    SourceSession,
};
// What they take and give.
pub use berth_core::{
    Adoption, DeleteReport, Dependent, Document, DocumentBatch, EventDocuments, FetchRequest, FieldSet,
    ForeignEntity, ItemError, ItemFailure, KindEntry, LedgerEntry, MapContext, MapReport, MapRequest,
    Mapping, MisconfiguredField, MissingScopes, One, OwnedEntity, PlannedRead, Processing, Producer,
    Producers, RawPage, RefusedPlugin, RegionHints, RemovedScope, Reservation, UnreadStep, UpsertOptions,
    UpsertOutcome, UpsertReport,
};
// The vocabulary.
pub use berth_core::{
    Account, AccountId, AppConfig, Blueprint, BlueprintId, Cause, EnabledRegions, Entity, EntityField,
    EntityKey, EntityMapping, IdError, ItemsToParse, Kind, KindManifest, Partition, Place, PortMapping,
    Region, RegionPolicy, ResourceConfig, RoleArn, Scope, Selector, UnitId, UnitState,
};
