//! Waiting with a deadline: for a condition, and for work that might never come back.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks at `condition` until it gives a value; panics with `what` after `limit`.
pub fn until<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Looks at `condition` until it holds; panics with `what` after `limit`.
pub fn until_true(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until(limit, what, || condition().then_some(()));
}

/// Work on a thread of its own, which a hung mount may hold for ever without holding the test.
pub struct Task<T> {
    what: String,
    result: mpsc::Receiver<std::thread::Result<T>>,
    started: Instant,
}

/// Starts `work`; `what` names it in failures.
pub fn start<T: Send + 'static>(
    what: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Task<T> {
    let (send, result) = mpsc::sync_channel(1);
    let what = what.into();
    std::thread::Builder::new()
        .name(what.clone())
        .spawn(move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // The test has given up on it: then nobody wants the result.
            let _ = send.send(done);
        })
        .expect("cannot start a thread");
    Task { what, result, started: Instant::now() }
}

impl<T> Task<T> {
    /// The result, if the work ends within `limit` from now; panics otherwise, and with the work's
    /// own panic if it had one.
    pub fn within(self, limit: Duration) -> T {
        self.timed_within(limit).0
    }

    /// As [`Task::within`], with the time from start to end.
    pub fn timed_within(self, limit: Duration) -> (T, Duration) {
        match self.result.recv_timeout(limit) {
            Ok(Ok(value)) => (value, self.started.elapsed()),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("{}: did not end within {limit:?}", self.what),
        }
    }

    /// The result, if the work ends within `limit` from now; panics with the work's own panic if it
    /// had one.
    pub fn ends_within(&self, limit: Duration) -> Option<T> {
        match self.result.recv_timeout(limit) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => None,
        }
    }

    /// Gives the work `time`, whether it needs it or not.
    pub fn let_run(&self, time: Duration) {
        let end = self.started + time;
        while Instant::now() < end {
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Waits for `time` after the start and panics if the work ended before: it is meant to wait.
    pub fn must_wait(&self, time: Duration)
    where
        T: std::fmt::Debug,
    {
        let end = self.started + time;
        while Instant::now() < end {
            match self.result.try_recv() {
                Err(mpsc::TryRecvError::Empty) => std::thread::park_timeout(LOOK_EVERY),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                early => {
                    let after = self.started.elapsed();
                    panic!("{}: did not wait, {early:?} after {after:.1?}", self.what);
                }
            }
        }
    }
}

/// Does `work` on a thread of its own and panics if it takes longer than `limit`.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    start(what, work).within(limit)
}
