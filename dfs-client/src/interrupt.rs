//! Ending a wait because the calling process got a signal (PROTOCOL 5.4).
//!
//! A driver runs each request inside [`scope`]. Code that waits for something that may never come
//! (a lease, a lock, a lost server) waits through [`wait`]; nothing else is ever cut short, so a
//! change that was sent is always followed to its end.

use dfs_core::{Code, FsError, Result};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
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

    async fn raised(self) {
        let notified = self.0.waiters.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.0.raised.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// Runs a request so that `interrupt` can end its waits.
///
/// This is no `async fn`, and neither is [`wait`]: what such a function is given and then awaits lies in
/// its future twice, in that of its caller four times, and a request is some KiB.
pub fn scope<F: Future>(interrupt: Interrupt, request: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(interrupt, request)
}

/// Waits for `event`; fails with `Interrupted` when the request is interrupted first. Dropping
/// `event` must be harmless. Outside of [`scope`] it just waits.
pub fn wait<F: Future>(event: F) -> impl Future<Output = Result<F::Output>> {
    Wait { event, raised: None }
}

pin_project! {
    struct Wait<F> {
        #[pin]
        event: F,
        // Once the event let itself be waited for, inside of a request.
        raised: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    }
}

impl<F: Future> Future for Wait<F> {
    type Output = Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.event.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if this.raised.is_none()
            && let Ok(interrupt) = CURRENT.try_with(Interrupt::clone)
        {
            *this.raised = Some(Box::pin(interrupt.raised()));
        }
        let Some(raised) = this.raised else { return Poll::Pending };
        raised.as_mut().poll(cx).map(|()| Err(FsError::from(Code::Interrupted)))
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

    /// See `docs/design/0043`: an `async fn` would make each of them twice as large.
    #[test]
    fn request_is_in_memory_once() {
        let request = async {
            let bytes = [1_u8; 4096];
            std::future::pending::<()>().await;
            bytes
        };
        let size = size_of_val(&request);
        let around = wait(scope(Interrupt::default(), wait(request)));
        assert!(size >= 4096 && size_of_val(&around) < size + 256, "{size}");
    }

    #[test]
    fn wait_outside_of_a_request_just_waits() {
        assert_eq!(run(wait(async { 7 })).unwrap(), 7);
    }
}
