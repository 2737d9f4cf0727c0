//! Who asks the server, and waits for it: the thread that was asked, or a task of the client's runtime
//! (`docs/design/0034`).
//!
//! A thread that has nothing else to do says so with [`allowed`]. What is polled inside then waits
//! for short calls right there, so that no other thread has to be woken for them; everything else it
//! leaves to the runtime, as outside. A thread that has more to do may still send what is answered
//! later (`docs/design/0038`).

use crate::interrupt::{self, Interrupt};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

/// What a thread may do for the server by itself; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leave {
    /// Nothing: it is a runtime's.
    Nothing,
    /// Send what is answered later.
    Send,
    /// The same, and it is about to: what is begun begins here.
    Sending,
    /// Wait for an answer.
    Wait,
}

thread_local! {
    static LEAVE: Cell<Leave> = const { Cell::new(Leave::Nothing) };
}

/// Runs `work`, which may do so much on this thread. It must not be a thread that a runtime runs on.
pub fn allowed<T>(leave: Leave, work: impl FnOnce() -> T) -> T {
    struct Reset(Leave);
    impl Drop for Reset {
        fn drop(&mut self) {
            LEAVE.set(self.0);
        }
    }
    let _reset = Reset(LEAVE.replace(leave));
    work()
}

/// Whether this thread may do so much.
pub(crate) fn may(leave: Leave) -> bool {
    LEAVE.get() >= leave
}

/// A task that was begun; ends as its [`JoinHandle`] does.
pub(crate) enum Begun<T> {
    /// With this output, until that was taken.
    Ended(Option<T>),
    /// In a runtime.
    Running(JoinHandle<T>),
}

impl<T> Unpin for Begun<T> {}

impl<T> Future for Begun<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Begun::Ended(output) => Poll::Ready(Ok(output.take().expect("not polled again"))),
            Begun::Running(task) => Pin::new(task).poll(cx),
        }
    }
}

/// As [`begin`], also on a thread that may only send.
pub(crate) fn begin_sending<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Begun<T> {
    match LEAVE.get() {
        Leave::Send => allowed(Leave::Sending, || begin(runtime, work)),
        _ => begin(runtime, work),
    }
}

/// Begins a task that nobody can interrupt: on this thread as far as it gets if that one may wait, the
/// rest in `runtime`.
pub(crate) fn begin<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Begun<T> {
    if !may(Leave::Sending) {
        return Begun::Running(runtime.spawn(work));
    }
    let mut work: Pin<Box<dyn Future<Output = T> + Send>> =
        Box::pin(interrupt::scope(Interrupt::default(), work));
    // Nobody is woken by this poll; the runtime polls again as soon as it has the task.
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Begun::Ended(Some(output)),
        Poll::Pending => Begun::Running(runtime.spawn(work)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::{Code, FsError};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread::{self, ThreadId};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn thread_may_wait_inside_and_only_there() {
        assert!(!may(Leave::Send));
        allowed(Leave::Wait, || {
            allowed(Leave::Send, || assert!(may(Leave::Send) && !may(Leave::Wait)));
            assert!(may(Leave::Wait) && may(Leave::Send));
        });
        let panics =
            catch_unwind(AssertUnwindSafe(|| allowed(Leave::Wait, || panic!("as a request may"))));
        assert!(panics.is_err() && !may(Leave::Send));
    }

    /// The end of a task, whose runtime is driven by a thread of its own.
    fn on_another_thread<T: Send>(runtime: &tokio::runtime::Runtime, task: Begun<T>) -> T {
        thread::scope(|scope| scope.spawn(|| runtime.block_on(task).unwrap()).join().unwrap())
    }

    #[test]
    fn task_begins_on_a_thread_that_may_wait_and_goes_on_in_the_runtime() {
        async fn which() -> ThreadId {
            thread::current().id()
        }
        async fn which_two() -> (ThreadId, ThreadId) {
            let first = which().await;
            tokio::task::yield_now().await;
            (first, which().await)
        }
        let (runtime, me) = (runtime(), thread::current().id());
        assert_ne!(on_another_thread(&runtime, begin(runtime.handle(), which())), me);
        assert_eq!(
            on_another_thread(&runtime, allowed(Leave::Wait, || begin(runtime.handle(), which()))),
            me
        );
        let sends = allowed(Leave::Send, || begin_sending(runtime.handle(), which()));
        assert_eq!(on_another_thread(&runtime, sends), me);
        let waits = allowed(Leave::Send, || begin(runtime.handle(), which()));
        assert_ne!(on_another_thread(&runtime, waits), me);
        let both = allowed(Leave::Wait, || begin(runtime.handle(), which_two()));
        let (first, second) = on_another_thread(&runtime, both);
        assert!(first == me && second != me);
    }

    #[test]
    fn task_that_began_is_not_interrupted_with_its_caller() {
        let runtime = runtime();
        let interrupt = Interrupt::default();
        let (tell, told) = tokio::sync::oneshot::channel::<u32>();
        let (go, handle) = (interrupt.clone(), runtime.handle().clone());
        let request = interrupt::scope(interrupt, async move {
            let work = async move { interrupt::wait(told).await.unwrap().unwrap() };
            let task = begin(&handle, work);
            go.raise();
            let waited = interrupt::wait(std::future::pending::<()>()).await;
            assert_eq!(waited, Err(FsError::from(Code::Interrupted)));
            tell.send(5).unwrap();
            task.await.unwrap()
        });
        let mut request = Box::pin(request);
        let polled = allowed(Leave::Wait, || {
            request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        });
        assert!(!polled, "its task is in the runtime");
        assert_eq!(runtime.block_on(request), 5);
    }
}
