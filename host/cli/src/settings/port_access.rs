//! The settings that the access to Port needs.

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::schema::Setting;

#[derive(Debug, Deserialize)]
pub(super) struct PortAccess {
    pub(super) client_id: Setting<String>,
    pub(super) client_secret: Setting<SecretString>,
    pub(super) base_url: Setting<Url>,
}
