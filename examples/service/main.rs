//! Berth's service inside of another program: resyncs the S3 buckets of an account into a catalog in memory,
//! at the start and whenever somebody posts to `/resync`, and serves health, metrics and the status page.
//!
//! It needs neither AWS nor Port: see `examples/embed` for how a host gets both.
//!
//! ```console
//! cargo xtask components
//! cargo run -p berth-service --example service -- target/components/plugins examples/embed/recording
//! ```
#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::{env, error::Error, path::PathBuf, sync::Arc};

use berth_embed::{MemoryCatalog, ReplaySource, SyncHost, core::Kind};
use berth_service::{Engine, EngineConfig, HttpServer, Listener, LoadedPlugins, Service, ServiceHost};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(plugins), Some(recording)) = (arguments.next(), arguments.next()) else {
        return Err("give a directory of plugins and a recording".into());
    };
    let dirs = vec![plugins];
    let config = EngineConfig { plugin_dirs: dirs.clone(), reloads: true, ..EngineConfig::default() };
    let engine = Arc::new(Engine::new(config)?);
    let host = SyncHost::builder()
        .source(Arc::new(ReplaySource::open(&recording)?))
        .mapper(engine.clone())
        .catalog(Arc::new(MemoryCatalog::of_kinds([Kind::new("AWS::S3::Bucket")?])))
        .build()?;
    // Files of plugins that change are loaded again.
    let plugins = LoadedPlugins { engine, dirs, lock: None, host_depends: false };
    let service = Service::builder(ServiceHost { host, plugins: Some(plugins) })
        .listener(Listener::Webhook { app_host: "https://berth.example.com".parse()?, resync_on_start: true })
        .http(HttpServer { status_page: true, ..HttpServer::default() })
        .on_report(|report, _| println!("{:?}: {} units", report.outcome, report.units.len()))
        .build()?;
    for address in service.addresses() {
        println!("http://{address}/status");
    }
    service.run(async { _ = tokio::signal::ctrl_c().await }).await?;
    println!("stopped");
    Ok(())
}
