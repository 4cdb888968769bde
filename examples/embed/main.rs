//! Berth inside of another program: syncs the S3 buckets of an account into a catalog in memory, and
//! prints what happens.
//!
//! It needs neither AWS nor Port: the source answers from a recording (`berth sync --record`). With
//! `.aws(AwsConfig { … })` instead of `.source(…)` it reads AWS, with `.port(PortConfig::new(…))` instead
//! of `.catalog(…)` it writes to Port.
//!
//! ```console
//! cargo xtask components
//! cargo run -p berth-embed --example embed -- target/components/plugins examples/embed/recording
//! ```
#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::{env, error::Error, path::PathBuf, sync::Arc};

use berth_embed::{MemoryCatalog, Mode, PluginConfig, ReplaySource, ResyncEvent, SyncHost, core::Kind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(plugins), Some(recording)) = (arguments.next(), arguments.next()) else {
        return Err("give a directory of plugins and a recording".into());
    };
    let catalog = Arc::new(MemoryCatalog::of_kinds([Kind::new("AWS::S3::Bucket")?]));
    let host = SyncHost::builder()
        .source(Arc::new(ReplaySource::open(&recording)?))
        .plugins(PluginConfig { dirs: vec![plugins], ..PluginConfig::default() })
        .catalog(catalog.clone())
        .build()?;

    let mut resync = host.start(Mode::Apply);
    while let Some(event) = resync.next().await {
        match event {
            ResyncEvent::UnitStarted { unit } => println!("reading  {unit}"),
            ResyncEvent::UnitFinished { report } => println!("read     {} resources", report.counts.fetched),
            ResyncEvent::Upserted { entity, .. } => println!("wrote    {entity}"),
            ResyncEvent::Missed { count } => println!("…        {count} events"),
            _ => {}
        }
    }
    let report = resync.report().await?;
    println!("{:?}: {} entities in the catalog", report.outcome, catalog.entities().len());
    Ok(())
}
