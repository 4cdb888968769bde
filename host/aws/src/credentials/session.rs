//! Sessions: credentials that are renewed before they expire.

use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use aws_credential_types::Credentials;
use berth_core::{Problem, ProblemCode};
use tokio::sync::Mutex;

use super::source::{CredentialSource, IssueError};
use crate::{clock::AwsClock, errors::AWS};

/// How long credentials are used that look expired on arrival: as long as no response has corrected the
/// clock, their expiry is not reliable. AWS's shortest sessions last fifteen minutes.
const UNCORRECTED_CLOCK_GRACE: Duration = Duration::from_mins(10);

/// The minimum time between two renewals that are caused by an ambiguous response.
const INVALIDATION_INTERVAL: Duration = Duration::from_mins(1);

/// How long a session counts as accepted after AWS last accepted it.
const RECENT: Duration = Duration::from_mins(5);

/// Credentials as issued. Two values are equal only if they were issued together.
#[derive(Debug)]
pub(crate) struct Issued {
    credentials: Credentials,
    at: Instant,
    /// The lifetime when they were issued; `None` if they do not expire. Zero means that a clock is wrong.
    life: Option<Duration>,
}

impl Issued {
    fn new(credentials: Credentials, now: SystemTime) -> Self {
        let life = credentials.expiry().map(|expiry| expiry.duration_since(now).unwrap_or_default());
        Self { credentials, at: Instant::now(), life }
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Returns whether they expire.
    pub(super) fn is_temporary(&self) -> bool {
        self.life.is_some()
    }

    /// Returns the time since they were issued.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// Returns whether enough time is left: five minutes, or a fifth of a short lifetime.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let most = Duration::from_mins(5);
        let margin = self.life.filter(|life| !life.is_zero()).map_or(most, |life| (life / 5).min(most));
        self.lasts(now + margin)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.lasts(now + Duration::from_secs(5))
    }

    fn lasts(&self, until: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| until < expiry)
            || (self.life == Some(Duration::ZERO) && self.age() < UNCORRECTED_CLOCK_GRACE)
    }
}

/// Credentials that are renewed before they expire or when AWS rejects them. Only one caller renews at a
/// time; all waiting callers get the same result.
pub(crate) struct AccountSession {
    source: Box<dyn CredentialSource>,
    clock: AwsClock,
    current: RwLock<Option<Arc<Issued>>>,
    renewing: Mutex<()>,
    history: StdMutex<History>,
}

#[derive(Default)]
struct History {
    /// The number of failures of the source, and its last error.
    failures: u64,
    error: Option<IssueError>,
    /// The time of the last invalidation.
    invalidated: Option<Instant>,
    /// The time when AWS last accepted credentials of this session.
    accepted: Option<Instant>,
}

impl fmt::Debug for AccountSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl AccountSession {
    pub(super) fn new(clock: AwsClock, source: impl CredentialSource + 'static) -> Self {
        Self {
            source: Box::new(source),
            clock,
            current: RwLock::new(None),
            renewing: Mutex::new(()),
            history: StdMutex::default(),
        }
    }

    /// Returns credentials that are valid for at least a moment, by AWS's clock.
    ///
    /// # Errors
    /// A [`Problem`] if none are left and no new ones can be obtained.
    pub(crate) async fn credentials(&self) -> Result<Arc<Issued>, Problem> {
        self.get().await.map_err(|error| match error.transport {
            Some(silence) => silence.problem(AWS, error.text),
            None => Problem::new(ProblemCode::AwsCredentials, error.text),
        })
    }

    /// Discards credentials that AWS called expired, unless newer ones are already there.
    pub(crate) fn expire(&self, used: &Arc<Issued>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, used)) {
            *current = None;
        }
    }

    /// Discards credentials that AWS rejected for an ambiguous reason. At most once a minute: if the
    /// credentials are not the cause, new ones do not help.
    pub(crate) fn invalidate(&self, used: &Arc<Issued>) {
        {
            let mut history = self.history();
            if history.invalidated.is_some_and(|last| last.elapsed() < INVALIDATION_INTERVAL) {
                return;
            }
            history.invalidated = Some(Instant::now());
        }
        self.expire(used);
    }

    /// Records that AWS accepted credentials of this session.
    pub(super) fn accepted(&self) {
        self.history().accepted = Some(Instant::now());
    }

    /// Returns whether AWS accepted credentials of this session in the last minutes.
    pub(super) fn has_just_worked(&self) -> bool {
        self.history().accepted.is_some_and(|at| at.elapsed() < RECENT)
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, good: impl FnOnce(&Issued, SystemTime) -> bool) -> Option<Arc<Issued>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|issued| good(issued, self.clock.time())).cloned()
    }

    pub(super) async fn get(&self) -> Result<Arc<Issued>, IssueError> {
        if let Some(issued) = self.known(Issued::is_fresh) {
            return Ok(issued);
        }
        let usable = self.known(Issued::is_valid);
        let failures = self.history().failures;
        let _renewing = match (&usable, self.renewing.try_lock()) {
            (_, Ok(renewing)) => renewing,
            // Another caller is renewing them; the current ones are still valid.
            (Some(issued), Err(_)) => return Ok(issued.clone()),
            (None, Err(_)) => self.renewing.lock().await,
        };
        if let Some(issued) = self.known(Issued::is_fresh) {
            return Ok(issued);
        }
        {
            let history = self.history();
            if history.failures > failures
                && let Some(error) = &history.error
            {
                return Err(error.clone());
            }
        }
        match self.source.issue().await {
            Ok(credentials) => {
                let issued = Arc::new(Issued::new(credentials, self.clock.time()));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(issued.clone());
                Ok(issued)
            }
            Err(error) => {
                if let Some(issued) = usable {
                    tracing::warn!(%error, "could not renew credentials before their expiry");
                    return Ok(issued);
                }
                let mut history = self.history();
                history.failures += 1;
                history.error = Some(error.clone());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;

    struct Counting {
        issued: Arc<AtomicUsize>,
        /// Seconds from now to the expiry.
        life: i64,
        fails: bool,
    }

    #[async_trait]
    impl CredentialSource for Counting {
        async fn issue(&self) -> Result<Credentials, IssueError> {
            self.issued.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.fails {
                return Err(IssueError::new("no"));
            }
            let (now, life) = (SystemTime::now(), Duration::from_secs(self.life.unsigned_abs()));
            let expiry = if self.life < 0 { now - life } else { now + life };
            // The key is always the same: only the time of issue matters.
            Ok(Credentials::new("key", "secret", None, Some(expiry), "test"))
        }
    }

    fn session(life: i64, fails: bool) -> (AccountSession, Arc<AtomicUsize>) {
        let issued = Arc::new(AtomicUsize::new(0));
        let source = Counting { issued: issued.clone(), life, fails };
        (AccountSession::new(AwsClock::default(), source), issued)
    }

    #[tokio::test]
    async fn many_rejections_of_one_session_renew_it_once() {
        let (session, issued) = session(3600, false);
        let used = session.get().await.unwrap();
        let refused = (0..10).map(|_| async {
            session.expire(&used);
            session.get().await.unwrap()
        });
        let renewed = futures::future::join_all(refused).await;
        assert!(renewed.iter().all(|lease| !Arc::ptr_eq(lease, &used)));
        assert_eq!(issued.load(Ordering::SeqCst), 2);
        // A late rejection of the old credentials says nothing about the new ones.
        session.expire(&used);
        session.get().await.unwrap();
        assert_eq!(issued.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failed_renewal_is_shared_by_all_waiting_callers() {
        let (session, issued) = session(3600, true);
        let all = futures::future::join_all((0..10).map(|_| session.get())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(issued.load(Ordering::SeqCst), 1);
        assert!(session.get().await.is_err(), "whoever comes later tries again");
        assert_eq!(issued.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn credentials_are_invalidated_once_a_minute() {
        let (session, issued) = session(3600, false);
        for _ in 0..5 {
            let used = session.get().await.unwrap();
            session.invalidate(&used);
        }
        session.get().await.unwrap();
        assert_eq!(issued.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn credentials_that_look_expired_on_arrival_are_used() {
        let (session, issued) = session(-3600, false);
        let first = session.get().await.unwrap();
        assert!(Arc::ptr_eq(&first, &session.get().await.unwrap()));
        assert_eq!(issued.load(Ordering::SeqCst), 1);
        session.expire(&first);
        assert!(!Arc::ptr_eq(&first, &session.get().await.unwrap()), "until AWS refuses them");
    }

    #[tokio::test]
    async fn expiry_is_judged_by_the_clock_of_aws() {
        let (session, issued) = session(-3600, false);
        // This machine's clock is two hours ahead, so one hour is left.
        let date = aws_smithy_types::DateTime::from(SystemTime::now() - Duration::from_hours(2));
        let date = date.fmt(aws_smithy_types::date_time::Format::HttpDate).unwrap();
        assert!(session.clock.correct_by(&session.clock.stamp(), Some(&date)));
        let lease = session.get().await.unwrap();
        assert!(lease.is_fresh(session.clock.time()) && lease.life > Some(Duration::from_mins(50)));
        session.get().await.unwrap();
        assert_eq!(issued.load(Ordering::SeqCst), 1);
    }
}
