//! The source that the sync runs through.

use async_trait::async_trait;
use berth_core::{Account, AccountAccess, FetchError, FetchRequest, Problem, RawPage, Region, Source};
use futures::stream::{BoxStream, StreamExt};

use crate::{AwsConfig, AwsStats, ConfigError, stats::Counters};

/// AWS as a [`Source`].
pub struct AwsSource {
    counters: Counters,
}

impl AwsSource {
    /// Makes a source. Sends nothing yet.
    ///
    /// `http` is used for every request, those of the official SDK included. It should have a
    /// connect timeout, follow no redirects and leave bodies as they are.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that makes no sense.
    pub fn new(config: AwsConfig, http: reqwest::Client) -> Result<Self, ConfigError> {
        let _ = (config, http);
        Ok(Self { counters: Counters::default() })
    }

    /// What was sent so far.
    pub fn stats(&self) -> AwsStats {
        self.counters.snapshot()
    }
}

#[async_trait]
impl Source for AwsSource {
    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        Err(Problem::new("not built yet"))
    }

    async fn regions(&self, _account: &Account) -> Result<Vec<Region>, Problem> {
        Err(Problem::new("not built yet"))
    }

    fn fetch(&self, _request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        futures::stream::once(async { Err(FetchError::Failed(Problem::new("not built yet"))) }).boxed()
    }
}
