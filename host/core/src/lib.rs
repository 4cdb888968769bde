//! The leaf crate that every other crate of Berth knows: the vocabulary (account, region, kind, blueprint,
//! entity, unit), the fetch-plan language, and the four traits of a sync.
//!
//! # Invariants
//! - No I/O, no runtime, no HTTP, no AWS SDK type, no Port wire type, no WASM type.
//! - A name that passed its constructor is valid: [`AccountId`], [`Region`], [`Kind`], [`BlueprintId`] and
//!   [`RoleArn`] cannot hold anything else.
//! - No type here can hold a secret.

mod appconfig;
mod blueprint_names;
mod document;
mod entity;
mod error_class;
mod fetch;
mod grants;
mod ids;
mod lenient;
mod manifest;
mod path;
pub mod port_names;
mod problem;
mod regions;
mod traits;
mod unit;

pub use appconfig::{
    AppConfig, EntityField, EntityMapping, ItemsToParse, PortMapping, RegionPolicy, ResourceConfig, Selector,
};
pub use document::Document;
pub use entity::{Blueprint, Entity, EntityKey, FieldSet};
pub use error_class::{ErrorClass, NO_ORGANIZATION};
pub use fetch::{Account, FetchError, FetchRequest, ItemFailure, One, RawPage, Reservation, UnreadStep};
pub use grants::{Ask, EVALUATOR, Grant, GrantMismatch, Grants};
pub use ids::{
    AccountId, BlueprintId, IdError, Kind, PARTITIONS, Partition, Region, RoleArn, home_region, main_region,
    partition_of,
};
pub use lenient::{Mended, from_json, lossy, mend_json};
pub use manifest::{
    Batch, BatchFailures, DocumentShape, EmptyConvention, EmptyList, ErrorPolicy, ErrorRule, EventRules,
    FetchPlan, Install, KindManifest, KindReads, Manifest, ManifestError, Match, Only, OptionInfo, Scope,
    StatedEmpty, Step, StepInput, Trigger, Unmatched,
};
pub use path::{Path, PathError, PathSegment, Template, TemplateScope};
pub use problem::{Cause, Problem, ProblemCode, error_chain, place};
pub use regions::{EnabledRegions, RegionHints};
pub use traits::{
    catalog::{
        Adoption, BegunResync, Catalog, CatalogError, CatalogInfo, CatalogSession, CatalogView, DeleteReport,
        Dependent, DocumentBatch, DocumentsError, EntityStore, EventDocuments, EventSession, ForeignEntity,
        Milestone, Opened, OwnedEntity, Processing, ResourceResult, ResyncStart, ResyncStatus, UpsertOptions,
        UpsertOutcome, UpsertReport,
    },
    ledger::{
        Ledger, LedgerEntry, LedgerReader, LedgerSession, MissingScopes, OpenedLedger, Producer, Producers,
        RemovedScope,
    },
    mapper::{
        ItemError, KindEntry, MapContext, MapError, MapReport, MapRequest, Mapper, MapperSnapshot, Mapping,
        MisconfiguredField, RefusedPlugin,
    },
    source::{AccountAccess, OpenedSource, PlannedRead, ResourceReader, Source, SourceSession},
};
pub use unit::{Place, Unit, UnitCounts, UnitId, UnitState};
