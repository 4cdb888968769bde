//! Measures single steps: load, instantiate, map with and without the sandbox, decode, compare, remember.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use berth_core::{
    AccountId, Kind, Ledger as _, LedgerEntry, MapContext, MissingScopes, Place, Problem, Producer,
    Producers, RawPage,
};
use berth_engine::{
    EngineConfig,
    measure::{Bench, Sandboxed, read},
};
use berth_ledger::{FileLedger, LedgerConfig};
use serde_json::{Value, json};

use crate::{
    allocator,
    clock::{Case, Clock, Measured, measure, measure_by},
    edited,
    natives::{self, Native},
    report::{Row, Table, Target},
    wire,
};

/// The kinds that are looked at in detail: those of a fresh installation, and two with much to read.
const IN_DETAIL: [&str; 5] =
    ["ec2-instance", "s3-bucket", "ecs-cluster", "lambda-function", "rds-db-instance"];
/// How many resources a batch has.
const BATCHES: [usize; 4] = [1, 10, 100, 1000];
/// Odd, so that its multiples are different and spread.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
/// The target for batches of 100.
pub(crate) const SANDBOX_TARGET: f64 = 1.5;

/// What is to be measured, and how well.
pub(crate) struct Options<'a> {
    /// A directory with the bundled components.
    pub(crate) components: &'a Path,
    /// How many rounds are run.
    pub(crate) rounds: usize,
    /// Only mapping in batches of 100: what a change of a plugin's code may make slower.
    pub(crate) brief: bool,
    /// Only mappings that users edited.
    pub(crate) edited: bool,
}

/// One plugin with a batch, in and out of the sandbox.
struct Pair {
    name: String,
    native: &'static Native,
    sandboxed: Sandboxed,
    kind: Kind,
    context: MapContext,
    plain: berth_plugin::Context,
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn reported(problem: Problem) -> anyhow::Error {
    anyhow!("{problem}")
}

impl Pair {
    fn new(bench: &Bench, components: &Path, native: &'static Native) -> Result<Self> {
        let name = native.name();
        let sandboxed = bench
            .plugin(&components.join(format!("{name}.wasm")))
            .map_err(reported)
            .with_context(|| name.clone())?;
        let (kind, context) = natives::context(&native.manifest()?)?;
        let plain = natives::plain(&kind, &context);
        Ok(Self { name, native, sandboxed, kind, context, plain })
    }

    fn native(&self, page: &RawPage) -> Vec<u8> {
        (self.native.map)(&self.plain, &page.resources).unwrap_or_default()
    }

    fn sandboxed(&self, page: &RawPage) -> Vec<u8> {
        self.sandboxed.call(&self.kind, &self.context, &page.resources).unwrap_or_default()
    }

    /// Both ways must give the same, else nothing is compared.
    ///
    /// # Errors
    /// Where they differ.
    fn check(&self, page: &RawPage) -> Result<usize> {
        let (native, sandboxed) = (self.native(page), self.sandboxed(page));
        anyhow::ensure!(
            native == sandboxed && !native.is_empty(),
            "{}: the sandboxed plugin maps otherwise than the native one; run `cargo xtask components`",
            self.name
        );
        let report = read(&native, page.count).map_err(|what| anyhow!("{}: {what}", self.name))?;
        anyhow::ensure!(report.errors.is_empty(), "{}: {:?}", self.name, report.errors);
        Ok(report.entities.len().max(1))
    }
}

/// Measures, and shows the table of each topic when it is there.
pub(crate) fn run(options: &Options<'_>, show: fn(&Table)) -> Result<Vec<Table>> {
    let cache = tempfile::tempdir()?;
    let config = EngineConfig { cache_dir: Some(cache.path().to_owned()), ..EngineConfig::default() };
    let bench = Bench::new(&config)?;
    let topics: &[fn(&Options<'_>, &Bench) -> Result<Table>] =
        &[mapping, all_kinds, loading, decoding, comparing, expressions];
    let topics = match (options.brief, options.edited) {
        (true, _) => &topics[..1],
        (_, true) => &topics[5..],
        _ => topics,
    };
    let mut tables = Vec::new();
    for topic in topics {
        let table = topic(options, &bench)?;
        show(&table);
        tables.push(table);
    }
    Ok(tables)
}

fn mapping(options: &Options<'_>, bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        format!("Mapping an entity, allocator {}", allocator::name()),
        &["plugin", "batch", "native, ns", "sandboxed, ns", "ratio", "ratio with reading the answer"],
    );
    for name in IN_DETAIL {
        let pair = Pair::new(bench, options.components, Native::of(name)?)?;
        for batch in BATCHES.into_iter().filter(|batch| !options.brief || *batch == 100) {
            let page = pair.native.batch(&natives::folder(), batch)?;
            let entities = pair.check(&page)?;
            let measured = measure(
                options.rounds,
                &mut [
                    Case::new("native", entities, || drop(std::hint::black_box(pair.native(&page)))),
                    Case::new("sandboxed", entities, || drop(std::hint::black_box(pair.sandboxed(&page)))),
                    Case::new("native, read", entities, || {
                        drop(std::hint::black_box(read(&pair.native(&page), page.count)));
                    }),
                    Case::new("sandboxed, read", entities, || {
                        drop(std::hint::black_box(pair.sandboxed.map(&pair.kind, &pair.context, &page)));
                    }),
                ],
            );
            let ratio = measured.ratio(1, 0);
            let target = (batch == 100).then(|| {
                Target::at_most(
                    format!("sandboxed ÷ native mapping, {name}, 100 resources"),
                    SANDBOX_TARGET,
                    ratio,
                )
            });
            table.row(Row {
                cells: vec![
                    name.to_owned(),
                    batch.to_string(),
                    nanos(&measured, 0),
                    nanos(&measured, 1),
                    format!("{ratio:.2}"),
                    format!("{:.2}", measured.ratio(3, 2)),
                ],
                target,
            });
        }
    }
    Ok(table)
}

fn all_kinds(options: &Options<'_>, bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        format!("Mapping 100 resources of every kind, allocator {}", allocator::name()),
        &["plugin", "bytes a resource", "native, ns a resource", "ratio"],
    );
    let (mut logarithms, mut count) = (0.0, 0.0);
    for native in natives::all() {
        let pair = Pair::new(bench, options.components, native)?;
        let page = native.batch(&natives::folder(), 100)?;
        pair.check(&page)?;
        let measured = measure(
            options.rounds / 2 + 1,
            &mut [
                Case::new("native", 100, || drop(std::hint::black_box(pair.native(&page)))),
                Case::new("sandboxed", 100, || drop(std::hint::black_box(pair.sandboxed(&page)))),
            ],
        );
        let ratio = measured.ratio(1, 0);
        logarithms += ratio.ln();
        count += 1.0;
        let size = page.resources.len() / 100;
        table.row(Row::plain([native.name(), size.to_string(), nanos(&measured, 0), format!("{ratio:.2}")]));
    }
    let mean = f64::exp(logarithms / count);
    let name = "sandboxed ÷ native mapping, 100 resources, geometric mean of all kinds".to_owned();
    table.row(Row {
        cells: vec!["all (geometric mean)".to_owned(), String::new(), String::new(), format!("{mean:.2}")],
        target: Some(Target::at_most(name, SANDBOX_TARGET, mean)),
    });
    Ok(table)
}

fn loading(options: &Options<'_>, bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        "Loading and instantiating ec2-instance",
        &["what", "CPU-µs", "times mapping one entity natively"],
    );
    let cold = Bench::new(&EngineConfig { cache_dir: None, ..EngineConfig::default() })?;
    let file = options.components.join("ec2-instance.wasm");
    let pair = Pair::new(bench, options.components, Native::of("ec2-instance")?)?;
    let page = pair.native.batch(&natives::folder(), 1)?;
    let entities = pair.check(&page)?;
    let mut cases = [
        Case::new("native", entities, || drop(std::hint::black_box(pair.native(&page)))),
        Case::new("load, compiling", 1, || drop(std::hint::black_box(cold.plugin(&file)))),
        Case::new("load from the cache", 1, || drop(std::hint::black_box(bench.plugin(&file)))),
        Case::new("instantiate and call once (manifest)", 1, || {
            drop(std::hint::black_box(pair.sandboxed.manifest()));
        }),
    ];
    // Compiling uses several threads.
    let measured = measure_by(Clock::Process, options.rounds.min(7), &mut cases);
    for (index, case) in cases.iter().enumerate().skip(1) {
        let micros = format!("{:.1}", measured.nanos(index) / 1000.0);
        table.row(Row::plain([case.name.clone(), micros, format!("{:.1}", measured.ratio(index, 0))]));
    }
    Ok(table)
}

fn expressions(options: &Options<'_>, bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        "A kind's default mapping, and what users make of it, 100 resources",
        &["plugin", "mapping", "default by own code, ns an entity", "ns an entity", "ratio"],
    );
    let jq = bench.jq(&options.components.join("jq.wasm")).map_err(reported)?;
    for name in IN_DETAIL {
        let pair = Pair::new(bench, options.components, Native::of(name)?)?;
        let page = pair.native.batch(&natives::folder(), 100)?;
        let entities = pair.check(&page)?;
        let manifest = pair.native.manifest()?;
        let Some(default) = manifest.kinds.first().and_then(|kind| kind.mapping.clone()) else { continue };
        let edited = edited::all(&default)?;
        let by_jq =
            |mapping| jq.map(&pair.sandboxed, &pair.kind, &pair.context, mapping, &page).map_err(reported);
        for edited in &edited {
            anyhow::ensure!(by_jq(&edited.mapping)?.entities.len() == entities, "{name}: JQ maps otherwise");
        }
        let mut cases = vec![
            Case::new("own code", entities, || {
                drop(std::hint::black_box(pair.sandboxed.map(&pair.kind, &pair.context, &page)));
            }),
            Case::new("documents alone", entities, || {
                drop(std::hint::black_box(pair.sandboxed.documents(&pair.kind, &pair.context, &page)));
            }),
        ];
        cases.extend(edited.iter().map(|edited| {
            Case::new(edited.name, entities, || drop(std::hint::black_box(by_jq(&edited.mapping))))
        }));
        let measured = measure(options.rounds, &mut cases);
        for (index, case) in cases.iter().enumerate().skip(1) {
            let ratio = format!("{:.2}", measured.ratio(index, 0));
            let cells =
                [name.to_owned(), case.name.clone(), nanos(&measured, 0), nanos(&measured, index), ratio];
            table.row(Row::plain(cells));
        }
    }
    Ok(table)
}

fn decoding(options: &Options<'_>, _: &Bench) -> Result<Table> {
    let mut table = Table::new(
        "Decoding an answer of AWS",
        &["protocol", "bytes a resource", "ns a resource", "times serde_json parsing the same JSON"],
    );
    for answer in wire::answers()? {
        let headers = http::HeaderMap::new();
        let decode = || answer.operation.decode(200, &headers, &answer.body);
        let text = serde_json::to_vec(&decode()?)?;
        let measured = measure(
            options.rounds,
            &mut [
                Case::new("serde_json", wire::RESOURCES, || {
                    drop(std::hint::black_box(serde_json::from_slice::<Value>(&text)));
                }),
                Case::new("decode", wire::RESOURCES, || drop(std::hint::black_box(decode()))),
            ],
        );
        table.row(Row::plain([
            answer.protocol.to_owned(),
            (answer.body.len() / wire::RESOURCES).to_string(),
            nanos(&measured, 1),
            format!("{:.2}", measured.ratio(1, 0)),
        ]));
    }
    Ok(table)
}

fn comparing(options: &Options<'_>, bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        "Comparing and remembering an entity",
        &["what", "ns an entity", "times mapping it natively (ec2-instance, 100 resources)"],
    );
    let pair = Pair::new(bench, options.components, Native::of("ec2-instance")?)?;
    let page = pair.native.batch(&natives::folder(), 100)?;
    let entities = pair.check(&page)?;
    let report = pair.sandboxed.map(&pair.kind, &pair.context, &page).map_err(reported)?;
    let held = report.entities.clone();
    let state = tempfile::tempdir()?;
    let ledger = FileLedger::open(LedgerConfig::new(state.path())).map_err(reported)?;
    // Keys are digests, hence anywhere.
    let keys: Vec<u128> = (1..=1000_u128).map(|n| n.wrapping_mul(SPREAD)).collect();
    let account = AccountId::new("111111111111")?;
    let producers = Producers::one(Producer { account, place: Place::Global, kind: pair.kind.clone() });
    let entry = |key: &u128| LedgerEntry { content: Some(*key), producers: producers.clone() };
    let known: Vec<_> = keys.iter().map(|key| (*key, Some(entry(key)))).collect();
    let former = ledger.begin("bench").map_err(reported)?.session;
    former.record(&known).map_err(reported)?;
    former.end(&MissingScopes::new()).map_err(reported)?;
    // What is known is what the resync before has left.
    let session = ledger.begin("bench").map_err(reported)?.session;
    let look_up = || keys.iter().filter(|key| session.look_up(**key).is_some()).count();
    anyhow::ensure!(look_up() == keys.len(), "the ledger does not know what was recorded");
    let mut cases = [
        Case::new("native", entities, || drop(std::hint::black_box(pair.native(&page)))),
        Case::new("compare with what the catalog holds", entities, || {
            std::hint::black_box(
                report.entities.iter().zip(&held).filter(|(ours, held)| ours.changes(held)).count(),
            );
        }),
        Case::new(
            "record in the ledger, 1,000 in a transaction (without waiting for the disk)",
            1000,
            || {
                drop(std::hint::black_box(session.record(&known)));
            },
        ),
        Case::new("look up in the ledger, of 1,000", 1000, || {
            std::hint::black_box(look_up());
        }),
    ];
    let measured = measure(options.rounds, &mut cases);
    for (index, case) in cases.iter().enumerate().skip(1) {
        let ratio = format!("{:.2}", measured.ratio(index, 0));
        table.row(Row::plain([case.name.clone(), nanos(&measured, index), ratio]));
    }
    Ok(table)
}

fn nanos(measured: &Measured, case: usize) -> String {
    format!("{:.0}", measured.nanos(case))
}

/// The tables as JSON, for whoever puts runs together.
pub(crate) fn write(tables: &[Table], file: &Path) -> Result<()> {
    let tables: Vec<Value> = tables.iter().map(Table::json).collect();
    fs::write(file, json!({"allocator": allocator::name(), "tables": tables}).to_string())
        .with_context(|| file.display().to_string())
}
