//! Ending a wait because the calling process got a signal (PROTOCOL 5.4).
//!
//! A driver runs each request inside [`scope`]. Code that waits for something that may never come
//! (a lease, a lock, a lost server) waits through [`wait`]; nothing else is ever cut short, so a
//! change that was sent is always followed to its end.

use dfs_core::{Code, FsError, Result};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Tells one request that its caller wants it to end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    waiters: Notify,
}

tokio::task_local! {
    static CURRENT: Interrupt;
}

impl Interrupt {
    /// Ends the request's waits, now and later.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::Release);
        self.0.waiters.notify_waiters();
    }

    async fn raised(&self) {
        let notified = self.0.waiters.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.0.raised.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// Runs a request so that `interrupt` can end its waits.
pub async fn scope<F: Future>(interrupt: Interrupt, request: F) -> F::Output {
    CURRENT.scope(interrupt, request).await
}

/// Waits for `event`; fails with `Interrupted` when the request is interrupted first. Dropping
/// `event` must be harmless. Outside of [`scope`] it just waits.
pub async fn wait<F: Future>(event: F) -> Result<F::Output> {
    let Ok(interrupt) = CURRENT.try_with(Interrupt::clone) else {
        return Ok(event.await);
    };
    tokio::select! {
        biased;
        output = event => Ok(output),
        () = interrupt.raised() => Err(FsError::from(Code::Interrupted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(f: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
    }

    #[test]
    fn wait_ends_when_interrupted_before_or_during() {
        run(async {
            let interrupt = Interrupt::default();
            interrupt.raise();
            let early = scope(interrupt, wait(std::future::pending::<()>())).await;
            assert_eq!(early.unwrap_err().code, Code::Interrupted);

            let interrupt = Interrupt::default();
            let late = scope(interrupt.clone(), wait(std::future::pending::<()>()));
            let (late, ()) = tokio::join!(late, async { interrupt.raise() });
            assert_eq!(late.unwrap_err().code, Code::Interrupted);
        });
    }

    #[test]
    fn wait_outside_of_a_request_just_waits() {
        assert_eq!(run(wait(async { 7 })).unwrap(), 7);
    }
}
