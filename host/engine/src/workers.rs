//! Threads for mapping, separate from those that do I/O: a plugin may keep one busy until its deadline.

use std::{
    io,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use futures::channel::oneshot;

use crate::runtime::THREAD_STACK;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Dropping the pool ends them, each after its current job.
pub(crate) struct Workers {
    jobs: mpsc::Sender<Job>,
}

/// The job panicked before its end.
#[derive(Debug)]
pub(crate) struct JobPanicked;

impl Workers {
    pub(crate) fn start(count: NonZeroUsize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..count.get() {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("berth-map-{index}"))
                .stack_size(THREAD_STACK)
                .spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on the next free thread. A job is not started if its caller no longer waits.
    ///
    /// # Errors
    /// [`JobPanicked`] if the job panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobPanicked> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !done.is_canceled() {
                // The caller may have gone while the job ran; then nobody wants the result.
                let _ = done.send(job());
            }
        });
        // Sending fails only if no thread is left; the result then reports that.
        let _ = self.jobs.send(job);
        result.await.map_err(|_| JobPanicked)
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A job owns all its data, so no partial state outlives it.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("internal error: a mapping job of the host panicked (please report)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_affects_no_other() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        assert!(workers.run(|| panic!("on purpose")).await.is_err() as bool);
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_started() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let (release, held) = mpsc::channel::<()>();
        let begun = Arc::new(Mutex::new(false));
        let blocked = workers.run(move || held.recv().is_ok());
        let flag = Arc::clone(&begun);
        let abandoned = workers.run(move || *flag.lock().unwrap() = true);
        let mut blocked = Box::pin(blocked);
        let mut abandoned = Box::pin(abandoned);
        assert!(futures::poll!(&mut blocked).is_pending());
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        release.send(()).unwrap();
        assert!(blocked.await.unwrap());
        workers.run(|| ()).await.unwrap();
        assert!(!*begun.lock().unwrap());
    }
}
