//! The fake Port server as a program.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use port_stand_in::{PortStandIn, StandInOptions};

/// How often a changed state is saved.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// Run a strict fake of Port's API, for tests and demos
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The TCP port to listen on, on 127.0.0.1; 0 selects a free one
    #[arg(long, default_value_t = 8126)]
    port: u16,
    /// Keep the state in this file across restarts
    #[arg(long)]
    state: Option<PathBuf>,
    /// The accepted client id
    #[arg(long, default_value = "stand-in-client")]
    client_id: String,
    /// The accepted client secret
    #[arg(long, default_value = "stand-in-secret")]
    client_secret: String,
    /// The lifetime of a token, in seconds
    #[arg(long, default_value_t = 3 * 60 * 60)]
    token_lifetime: u64,
    /// The organization's id
    #[arg(long, default_value = port_stand_in::ORGANIZATION)]
    organization: String,
    /// A feature flag of the organization (repeatable)
    #[arg(long)]
    feature_flag: Vec<String>,
    /// Leave the bodies of upserts out of the log, for runs with many entities
    #[arg(long)]
    forget_upserts: bool,
    /// Enforce Port's published rate limits
    #[arg(long)]
    rate_limits: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let stand_in = PortStandIn::start(StandInOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], arguments.port)),
        client_id: arguments.client_id.clone(),
        client_secret: arguments.client_secret,
        token_lifetime: Duration::from_secs(arguments.token_lifetime),
        organization: arguments.organization,
        feature_flags: arguments.feature_flag,
        reporting: true,
        keep_upserts: !arguments.forget_upserts,
        rate_limits: arguments.rate_limits,
        ..StandInOptions::default()
    })
    .await
    .map_err(|error| format!("cannot listen on port {}: {error}", arguments.port))?;
    if let Some(path) = arguments.state.as_ref().filter(|path| path.exists()) {
        load(&stand_in, path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "port-stand-in ready at {} (client id {})", stand_in.base_url(), arguments.client_id)?;
    out.flush()?;

    let mut saved = stand_in.revision();
    let mut save = || -> Result<(), Box<dyn std::error::Error>> {
        let revision = stand_in.revision();
        if let Some(path) = &arguments.state
            && revision != saved
        {
            // By way of a second file, so that a kill leaves either the old or the new state.
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, serde_json::to_vec(&stand_in.state())?)?;
            std::fs::rename(&fresh, path)?;
            saved = revision;
        }
        Ok(())
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => save()?,
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    save()
}

fn load(stand_in: &PortStandIn, path: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let state = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(stand_in.load_state(state)?)
}
