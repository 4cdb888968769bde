//! Sessions: credentials that are kept fresh.

use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use aws_credential_types::Credentials;
use berth_core::{Problem, ProblemCode};
use tokio::sync::Mutex;

use super::source::{CredentialSource, IssueError};
use crate::{clock::Clock, errors::AWS};

/// The time for which credentials are used that look expired when they arrive: with a clock that no answer
/// has corrected, their expiry says nothing. AWS's shortest sessions last fifteen minutes.
const UNCORRECTED_CLOCK_GRACE: Duration = Duration::from_mins(10);

/// The shortest time between two renewals because of an answer that has another meaning, too.
const INVALIDATION_INTERVAL: Duration = Duration::from_mins(1);

/// The time for which a session counts as accepted after AWS last accepted it.
const RECENT: Duration = Duration::from_mins(5);

/// Credentials as they were issued. Two values are the same only if they were issued together.
#[derive(Debug)]
pub(crate) struct Issued {
    credentials: Credentials,
    at: Instant,
    /// Their lifetime when they were issued; `None` where they do not expire. Zero says that a clock is
    /// wrong.
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

    /// The time since they were issued.
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

/// Credentials that are kept fresh: issued once, and again ahead of their expiry or when AWS refuses them,
/// by one caller at a time. All callers that wait get the same result.
pub(crate) struct Session {
    source: Box<dyn CredentialSource>,
    clock: Clock,
    current: RwLock<Option<Arc<Issued>>>,
    renewing: Mutex<()>,
    history: StdMutex<History>,
}

#[derive(Default)]
struct History {
    /// The number of times that the source failed, and its last error.
    failures: u64,
    error: Option<IssueError>,
    /// The time of the last invalidation.
    invalidated: Option<Instant>,
    /// The time when AWS last accepted credentials of this session.
    accepted: Option<Instant>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    pub(super) fn new(clock: Clock, source: impl CredentialSource + 'static) -> Self {
        Self {
            source: Box::new(source),
            clock,
            current: RwLock::new(None),
            renewing: Mutex::new(()),
            history: StdMutex::default(),
        }
    }

    /// Credentials that are good for at least a moment, by AWS's clock.
    ///
    /// # Errors
    /// A [`Problem`] when there are none left and no new ones can be had.
    pub(crate) async fn credentials(&self) -> Result<Arc<Issued>, Problem> {
        self.get().await.map_err(|error| match error.transport {
            Some(silence) => silence.problem(AWS, error.text),
            None => Problem::new(ProblemCode::AwsCredentials, error.text),
        })
    }

    /// Forgets credentials that AWS called expired, unless newer ones are there already.
    pub(crate) fn expire(&self, used: &Arc<Issued>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, used)) {
            *current = None;
        }
    }

    /// Does the same for credentials that AWS refused for a reason that is not clear. Once a minute at most:
    /// where the credentials are not the reason, new ones are of no use.
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
            // Someone else renews them; these do meanwhile.
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
                    tracing::warn!(%error, "credentials could not be renewed ahead of their expiry");
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
            // The same key each time: what counts is when they were issued.
            Ok(Credentials::new("key", "secret", None, Some(expiry), "test"))
        }
    }

    fn session(life: i64, fails: bool) -> (Session, Arc<AtomicUsize>) {
        let issued = Arc::new(AtomicUsize::new(0));
        let source = Counting { issued: issued.clone(), life, fails };
        (Session::new(Clock::default(), source), issued)
    }

    #[tokio::test]
    async fn many_refusals_of_one_lease_renew_it_once() {
        let (session, issued) = session(3600, false);
        let used = session.get().await.unwrap();
        let refused = (0..10).map(|_| async {
            session.expire(&used);
            session.get().await.unwrap()
        });
        let renewed = futures::future::join_all(refused).await;
        assert!(renewed.iter().all(|lease| !Arc::ptr_eq(lease, &used)));
        assert_eq!(issued.load(Ordering::SeqCst), 2);
        // A late refusal of the old ones says nothing about the new ones.
        session.expire(&used);
        session.get().await.unwrap();
        assert_eq!(issued.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failed_renewal_is_shared_by_all_who_wait() {
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
        // This machine is two hours ahead, so that an hour is left.
        let date = aws_smithy_types::DateTime::from(SystemTime::now() - Duration::from_hours(2));
        let date = date.fmt(aws_smithy_types::date_time::Format::HttpDate).unwrap();
        assert!(session.clock.correct_by(&session.clock.stamp(), Some(&date)));
        let lease = session.get().await.unwrap();
        assert!(lease.is_fresh(session.clock.time()) && lease.life > Some(Duration::from_mins(50)));
        session.get().await.unwrap();
        assert_eq!(issued.load(Ordering::SeqCst), 1);
    }
}
