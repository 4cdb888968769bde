//! The native baseline: `SyncHost` with AWS, Port and the ledger as in `berth sync`, and the plugins' plain Rust
//! instead of the sandbox.
//!
//! It maps where it reads, without separate threads, and neither logs nor ships a log. That is less than `berth`
//! does, so the ratio to it is rather too large.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use berth_core::{
    Kind, KindEntry, MapError, MapReport, MapRequest, Mapper, MapperSnapshot, Mapping, Problem, ProblemCode,
    RefusedPlugin,
};
use berth_embed::{AwsConfig, EndpointOverrides, LedgerConfig, Outcome, PortConfig, StaticKeys, SyncHost};
use berth_engine::measure;
use berth_plugin::Output;

use crate::{
    natives::{self, Native},
    profile::{Profile, S},
    stage::{CLIENT, INTEGRATION, KEY},
};

/// What is synced, and between what.
pub(crate) struct Options {
    pub(crate) aws: String,
    pub(crate) port: String,
    pub(crate) accounts: u32,
    pub(crate) state: PathBuf,
}

/// Runs one resync.
pub(crate) fn run(options: &Options) -> Result<()> {
    let profile: Profile = S.with_accounts(options.accounts);
    let aws = AwsConfig {
        static_keys: Some(StaticKeys {
            access_key_id: KEY.0.into(),
            secret_access_key: KEY.1.into(),
            session_token: None,
        }),
        account_role_arns: profile.roles(),
        endpoints: EndpointOverrides::new().all(options.aws.parse().context("AWS's address")?),
        ..AwsConfig::default()
    };
    let mut port = PortConfig::new(CLIENT.0, CLIENT.1.into(), INTEGRATION);
    port.base_url = options.port.parse().context("Port's address")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(async {
        let host = SyncHost::builder()
            .aws(aws)
            .port(port)
            .mapper(Arc::new(NativeMapper::new()?))
            .state(LedgerConfig::new(&options.state))
            .build()?;
        anyhow::Ok(host.sync().await?)
    })?;
    ensure!(report.outcome == Outcome::Done, "the resync ended otherwise: {:?}", report.outcome);
    Ok(())
}

/// The plugins that this program was built with, without a sandbox.
struct NativeMapper {
    kinds: BTreeMap<Kind, (KindEntry, &'static Native)>,
}

impl NativeMapper {
    fn new() -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for native in natives::all() {
            for manifest in native.manifest()?.kinds {
                let kind = manifest.kind.clone();
                let entry = KindEntry { plugin: native.name(), manifest: Arc::new(manifest) };
                kinds.insert(kind, (entry, native));
            }
        }
        Ok(Self { kinds })
    }
}

impl Mapper for NativeMapper {
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot> {
        self
    }
}

#[async_trait]
impl MapperSnapshot for NativeMapper {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        self.kinds.iter().map(|(kind, (entry, _))| (kind.clone(), entry.clone())).collect()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        let MapRequest { kind, context, mapping, documents, page } = request;
        let Some((entry, native)) = self.kinds.get(&kind) else {
            return Err(MapError::NoPlugin(Problem::new(
                ProblemCode::Other,
                format!("no plugin maps {kind}"),
            )));
        };
        if !matches!(mapping, Mapping::Native) {
            return Err(MapError::Mapping(Problem::new(
                ProblemCode::Other,
                "the baseline maps by the kinds' defaults only",
            )));
        }
        let failed = |reason: String| MapError::Plugin {
            plugin: entry.plugin.clone(),
            kind: kind.clone(),
            problem: Problem::new(ProblemCode::Other, reason),
        };
        let mut plain = natives::plain(&kind, &context);
        let answer = (native.map)(&plain, &page.resources).map_err(failed)?;
        let mut report = measure::read(&answer, page.count).map_err(failed)?;
        if documents {
            plain.output = Output::Documents;
            let answer = (native.map)(&plain, &page.resources).map_err(failed)?;
            report.documents = measure::read_documents(&answer, page.count).map_err(failed)?;
        }
        Ok(report)
    }
}
