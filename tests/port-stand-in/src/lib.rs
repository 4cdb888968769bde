//! A strict stand-in for Port's API: it refuses what Port would refuse.

use std::{io, net::SocketAddr};

use url::Url;

/// How a stand-in starts.
#[derive(Debug, Clone)]
pub struct StandInOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The client id that is accepted.
    pub client_id: String,
    /// The client secret that is accepted.
    pub client_secret: String,
}

impl Default for StandInOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            client_id: "stand-in-client".into(),
            client_secret: "stand-in-secret".into(),
        }
    }
}

/// A running stand-in. Dropping it stops it.
#[derive(Debug)]
pub struct PortStandIn {
    base_url: Url,
}

impl PortStandIn {
    /// Starts a stand-in in this process.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(options: StandInOptions) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(options.listen).await?;
        let base_url = Url::parse(&format!("http://{}/", listener.local_addr()?)).map_err(io::Error::other)?;
        Ok(Self { base_url })
    }

    /// What goes into `OCEAN__PORT__BASE_URL`.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }
}
