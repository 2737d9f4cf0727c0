//! Serving one request without blocking the thread that read it (DESIGN D10).

use super::Driver;
use crate::attr::{self, Numbers};
use crate::callers;
use crate::lookout::Turn;
use crate::waitlist::Waiting;
use dfs_client::interrupt::{self, Interrupt};
use dfs_client::vfs::Vfs;
use dfs_client::waiting::{self, Leave};
use dfs_core::access::{Credentials, Privilege};
use dfs_core::{FsError, Ino};
use fuser::Errno;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// One request: who asks for what.
pub struct Call<'a> {
    pub driver: &'a Driver,
    pub op: &'static str,
    pub request: &'a fuser::Request,
    /// The thread that waits for the answer; 0: none.
    pub tid: u32,
    /// The inode or directory it is about.
    pub ino: Ino,
    /// Ends with the request, or when that goes on elsewhere.
    pub turn: Turn<'a>,
}

impl<'a> Call<'a> {
    /// The client.
    pub fn vfs(&self) -> Arc<Vfs> {
        self.driver.vfs.clone()
    }

    /// The numbers of inodes on this mount.
    pub fn numbers(&self) -> Numbers {
        self.driver.numbers
    }

    /// The calling process.
    pub fn who(&self) -> Credentials {
        let request = self.request;
        let who = callers::credentials(request.pid(), request.uid(), request.gid());
        self.driver.vfs.as_the_server_sees(who)
    }

    /// The calling process as far as the kernel tells, which costs nothing to ask: for those that only
    /// read what the kernel let them open.
    pub fn who_in_short(&self) -> Credentials {
        let request = self.request;
        let who = Credentials::new(request.uid(), request.gid(), Vec::new());
        self.driver.vfs.as_the_server_sees(who)
    }

    /// The calling process, for what the kernel does not check ([`callers::exactly`]).
    pub fn exactly_who(&self, decisive: &[Privilege]) -> Credentials {
        let request = self.request;
        let who = callers::exactly(request.pid(), request.uid(), request.gid(), decisive);
        self.driver.vfs.as_the_server_sees(who)
    }

    /// Nobody waits for the answer, so no signal may end the request. The thread named in it may be
    /// long gone.
    pub fn unattended(self) -> Self {
        Call { tid: 0, ..self }
    }

    /// Replies with the result of `work` if it has one at once, else gives the reply back.
    pub fn serve_now<R: Fail, T>(
        &self,
        reply: R,
        work: impl FnOnce() -> Option<dfs_core::Result<T>>,
        answer: impl FnOnce(R, T),
    ) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(None) => return Some(reply),
            Ok(Some(Ok(value))) => answer(reply, value),
            Ok(Some(Err(error))) => fail(self.op, self.ino, reply, &error),
            Err(panic) => report(self.op, &*panic),
        }
        None
    }

    /// Runs the operation `work` and gives its result to `answer`, which replies. What is ready at
    /// once, or after a short call to the server, is answered on this thread; the rest goes on in the
    /// client's runtime and stands on the wait list meanwhile.
    pub fn serve<R, T>(
        self,
        reply: R,
        work: impl Future<Output = dfs_core::Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        R: Fail + Send + 'static,
        T: Send + 'static,
    {
        let here = self.can_wait_here();
        self.prepared(reply, work, answer).begin(here);
    }

    /// As [`serve`](Call::serve), for what always asks the server: nothing of it is done on this thread
    /// if that cannot wait for the answer, for the runtime would be woken twice.
    pub fn serve_asking<R, T>(
        self,
        reply: R,
        work: impl Future<Output = dfs_core::Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        R: Fail + Send + 'static,
        T: Send + 'static,
    {
        let here = self.can_wait_here();
        let prepared = self.prepared(reply, work, answer);
        if here { prepared.begin(true) } else { prepared.run() }
    }

    /// Whether this thread may wait for the server: it would, and no other request needs it.
    fn can_wait_here(&self) -> bool {
        !self.driver.waits.is_busy() && self.driver.vfs.can_wait_here()
    }

    fn prepared<R, T>(
        self,
        reply: R,
        work: impl Future<Output = dfs_core::Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) -> Prepared<'a>
    where
        R: Fail + Send + 'static,
        T: Send + 'static,
    {
        let Call { driver, op, tid, ino, turn, .. } = self;
        let interrupt = Interrupt::default();
        let work = Box::pin(interrupt::scope(interrupt.clone(), work));
        let answer = move |result| match result {
            Ok(value) => answer(reply, value),
            Err(error) => fail(op, ino, reply, &error),
        };
        let task = Box::pin(guarded(op, work, answer));
        Prepared { driver, task, waiting: Waiting::new(op, ino, tid, interrupt), turn }
    }
}

/// A request with all that serves it.
struct Prepared<'a> {
    driver: &'a Driver,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    waiting: Waiting,
    turn: Turn<'a>,
}

impl Prepared<'_> {
    /// Begins it on this thread, which may wait for the server if `here`.
    fn begin(mut self, here: bool) {
        let _runtime = self.driver.runtime.enter();
        // Nobody is woken by this poll; the runtime polls again as soon as it has the task.
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = || self.task.as_mut().poll(&mut cx);
        let leave = if here { Leave::Wait } else { Leave::Send };
        let polled = waiting::allowed(leave, &mut poll);
        if polled.is_pending() {
            self.run();
        }
    }

    /// Runs it in the client's runtime; meanwhile it stands on the wait list.
    fn run(self) {
        let Prepared { driver, task, waiting, turn } = self;
        turn.leave();
        let place = driver.waits.add(waiting);
        driver.runtime.spawn(async move {
            task.await;
            drop(place);
        });
    }
}

/// Runs `work`, and `then` with its result, to the end or to a panic. A panic is our bug: it is logged,
/// and the reply, dropped with `then`, becomes EIO.
///
/// No `async` block: what such a block takes in and then awaits lies in it twice, and some are 4 KiB.
fn guarded<T>(
    op: &'static str,
    mut work: Pin<Box<impl Future<Output = T>>>,
    then: impl FnOnce(T),
) -> impl Future<Output = ()> {
    let mut then = Some(then);
    poll_fn(move |cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let result = ready!(work.as_mut().poll(cx));
            then.take().expect("not polled after its end")(result);
            Poll::Ready(())
        }));
        polled.unwrap_or_else(|panic| {
            report(op, &*panic);
            Poll::Ready(())
        })
    })
}

fn report(op: &'static str, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(op, panic = text.as_deref(), "bug: a request panicked, it gets EIO");
}

/// Replies with the errno of a failure.
pub fn fail<R: Fail>(op: &'static str, ino: Ino, reply: R, error: &FsError) {
    let errno = attr::errno(error);
    if errno == Errno::EIO {
        tracing::warn!(op, inode = %ino, %error, "request failed");
    } else {
        tracing::debug!(op, inode = %ino, %error, "request failed");
    }
    reply.fail(errno);
}

/// A reply that can be an errno.
pub trait Fail {
    /// Replies with it.
    fn fail(self, errno: Errno);
}

macro_rules! fail_by_error {
    ($($reply:ident)*) => {
        $(impl Fail for fuser::$reply {
            fn fail(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

fail_by_error!(
    ReplyAttr ReplyCreate ReplyData ReplyDirectory ReplyDirectoryPlus ReplyEmpty ReplyEntry
    ReplyLock ReplyLseek ReplyOpen ReplyStatfs ReplyWrite ReplyXattr
);
