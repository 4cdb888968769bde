//! The stand-in for Port's API on its own.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use port_stand_in::{PortStandIn, StandInOptions};

/// How often a changed state is written.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// A strict stand-in for Port's API, for trying out and for tests.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The TCP port to listen on, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8126)]
    port: u16,
    /// Keeps everything in this file from one start to the next.
    #[arg(long)]
    state: Option<PathBuf>,
    /// The client id that is accepted.
    #[arg(long, default_value = "stand-in-client")]
    client_id: String,
    /// The client secret that is accepted.
    #[arg(long, default_value = "stand-in-secret")]
    client_secret: String,
    /// How many seconds a token is valid.
    #[arg(long, default_value_t = 3 * 60 * 60)]
    token_lifetime: u64,
    /// The organization's id.
    #[arg(long, default_value = port_stand_in::ORGANIZATION)]
    organization: String,
    /// A feature flag of the organization (repeatable).
    #[arg(long)]
    feature_flag: Vec<String>,
    /// Keeps no bodies of upserts in the log: for very many entities.
    #[arg(long)]
    forget_upserts: bool,
    /// Enforces Port's published rate limits.
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
