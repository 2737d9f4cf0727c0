//! The connection of the direct line, and whose turn it is to drive it.
//!
//! Whoever has its turn drives the connection on its own thread. After calls that were only sent
//! nobody need come again: a thread of the line, which gives way to everybody else, then drives it
//! until all are answered.
//!
//! When nobody drives it, a server that pings in vain, or stops, closes it: the next call finds that out
//! at once and goes the usual way, the one after it opens the line anew.

use super::super::channel::{call_stream, connect_direct};
use super::super::stream::{Answering, CallStream, Place};
use super::super::written::Written;
use super::no_answer;
use crate::config::Address;
use dfs_core::{Code, FsError, Result};
use dfs_proto::v1::{one_answer, one_call};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::Status;

/// A call that took longer says that waiting is not worth a thread.
pub(super) const SLOW: Duration = Duration::from_millis(20);
/// For so long no thread waits then.
const AVOID: Duration = Duration::from_secs(5);
/// What is not written after so long waits for its answer.
const WRITE: Duration = Duration::from_millis(20);
/// Answers wait so long for somebody to come with a call, before the line's thread looks for them.
const PAUSE: Duration = Duration::from_millis(1);
/// Pauses without a call after which the line's thread sleeps until it is woken.
const IDLE_PAUSES: u32 = 20;
/// Heads of a message and of its frame: what a call takes at least on the connection, beside itself.
const HEADS: u64 = 5 + 9;
/// A thread looks so long whether somebody who has the line for a moment has left it.
const ENTER: Duration = Duration::from_millis(1);

/// A line; its thread ends with it.
#[derive(Debug)]
pub(super) struct Line(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    calls: CallStream,
    /// Who has the line leaves it soon.
    brief: AtomicBool,
    /// The line's thread shall leave it.
    wanted: Notify,
    thread: Mutex<Thread>,
    due: Condvar,
}

#[derive(Debug)]
struct State {
    /// Drives the connection; there until the end.
    runtime: Option<Runtime>,
    written: Written,
    /// How much will be written when all calls are that were sent.
    due: u64,
    /// Nobody waits before.
    slow_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Thread {
    /// It looks by itself when the pause is over.
    awake: bool,
    /// It is to look at once.
    hurried: bool,
    /// Calls sent so far.
    sent: u64,
    closed: bool,
}

/// The line, as long as this lives.
pub(super) struct Turn<'a> {
    shared: &'a Arc<Shared>,
    state: MutexGuard<'a, State>,
}

impl Line {
    /// Not connected yet. Errors: no runtime, no thread, an address that is none.
    pub(super) fn open(server: &Address) -> Result<Line> {
        let failed = |e| FsError::new(Code::Io, format!("no runtime for the direct line: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let written = Written::default();
        let channel = {
            let _inside = runtime.enter();
            connect_direct(server, &written)?
        };
        let calls = call_stream(channel, runtime.handle().clone());
        let shared = Arc::new(Shared {
            state: Mutex::new(State { runtime: Some(runtime), written, due: 0, slow_until: None }),
            calls,
            brief: AtomicBool::new(false),
            wanted: Notify::new(),
            thread: Mutex::default(),
            due: Condvar::new(),
        });
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("dfs-line".to_owned());
        thread.spawn(move || its.run()).map_err(failed)?;
        Ok(Line(shared))
    }

    /// The line, if it is free or will be in a moment.
    pub(super) fn enter(&self) -> Option<Turn<'_>> {
        let shared = &self.0;
        let begun = Instant::now();
        loop {
            if let Ok(state) = shared.state.try_lock() {
                return Some(Turn { shared, state });
            }
            if !shared.brief.load(Ordering::Acquire) || begun.elapsed() > ENTER {
                return None;
            }
            shared.wanted.notify_one();
            thread::yield_now();
        }
    }

    /// Whether a thread that may wait would do so now.
    pub(super) fn is_free(&self) -> bool {
        match self.0.state.try_lock() {
            Ok(state) => Turn { shared: &self.0, state }.is_worth_it(),
            Err(_) => self.0.brief.load(Ordering::Acquire),
        }
    }

    /// Whether calls wait for answers.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.calls.under_way() > 0
    }

    /// Has the line's thread look for answers at once.
    pub(super) fn hurry(&self) {
        self.0.thread().hurried = true;
        self.0.due.notify_one();
    }
}

impl Turn<'_> {
    pub(super) fn is_worth_it(&self) -> bool {
        let slow = self.state.slow_until.is_some_and(|until| Instant::now() < until);
        !slow && !self.is_absent()
    }

    /// Whether the server has turned out not to know such lines.
    pub(super) fn is_absent(&self) -> bool {
        self.shared.calls.is_absent()
    }

    /// Whether the server has opened the line.
    pub(super) fn is_open(&self) -> bool {
        self.shared.calls.is_open()
    }

    /// How many calls wait for an answer.
    pub(super) fn under_way(&self) -> usize {
        self.shared.calls.under_way()
    }

    /// Makes a call and waits for its answer. None: the server does not know such calls.
    pub(super) fn call(
        &mut self,
        request: one_call::Request,
        limit: Duration,
    ) -> Option<Result<one_answer::Reply, Status>> {
        let begun = Instant::now();
        let answer = self.drive(async |calls, _| timeout(limit, calls.call(request)).await)?;
        if begun.elapsed() > SLOW {
            self.was_slow();
        }
        match answer {
            Ok(answer) => answer.transpose(),
            Err(_) => Some(Err(no_answer())),
        }
    }

    /// Sends a call, behind that one if it is of the same stream; whether it is written. Takes up answers
    /// that have come. None: `after` is of another stream.
    pub(super) fn send(
        &mut self,
        request: one_call::Request,
        after: Option<&Place>,
    ) -> Result<Option<(Answering, bool)>, Status> {
        let _brief = Brief::new(&self.shared.brief);
        // Nothing of a call that was answered is still to be written.
        let before = if self.under_way() == 0 { 0 } else { self.state.due };
        let due = before.max(self.state.written.count()) + request.encoded_len() as u64 + HEADS;
        self.state.due = due;
        let sent = self.drive(async |calls, written| {
            // The connection reads what has come, its end too.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            let answering = match after {
                None => Some(calls.begin(request)?),
                Some(place) => calls.begin_after(request, place)?,
            };
            let Some(answering) = answering else { return Ok(None) };
            let reached = timeout(WRITE, written.reaches(due)).await;
            Ok(Some((answering, reached.is_ok())))
        });
        self.shared.was_sent();
        sent.unwrap_or_else(|| Err(no_answer()))
    }

    /// Waits for the answers of all calls, as long as that is worth a thread.
    pub(super) fn settle(&mut self) {
        let settled = self.drive(async |calls, _| timeout(SLOW, calls.quiet()).await);
        if matches!(settled, Some(Err(_))) {
            self.was_slow();
        }
    }

    fn was_slow(&mut self) {
        self.state.slow_until = Some(Instant::now() + AVOID);
    }

    /// Runs the line's runtime until `work` ends. None: it is gone.
    fn drive<T>(&mut self, work: impl AsyncFnOnce(&CallStream, &Written) -> T) -> Option<T> {
        let State { runtime, written, .. } = &*self.state;
        Some(runtime.as_ref()?.block_on(work(&self.shared.calls, written)))
    }
}

/// Whoever has the line leaves it soon, as long as this lives.
struct Brief<'a>(&'a AtomicBool);

impl<'a> Brief<'a> {
    fn new(brief: &'a AtomicBool) -> Brief<'a> {
        brief.store(true, Ordering::Release);
        Brief(brief)
    }
}

impl Drop for Brief<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    fn thread(&self) -> MutexGuard<'_, Thread> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call was sent: the thread sees to it that its answer is read.
    fn was_sent(&self) {
        let mut thread = self.thread();
        thread.sent += 1;
        if !std::mem::replace(&mut thread.awake, true) {
            self.due.notify_one();
        }
    }

    /// The line's thread.
    fn run(&self) {
        let (mut seen, mut idle) = (0, 0);
        loop {
            let mut thread = self.thread();
            if !thread.awake && !thread.hurried && !thread.closed {
                thread = self.due.wait(thread).unwrap_or_else(PoisonError::into_inner);
            }
            if !thread.hurried && !thread.closed {
                let waited = self.due.wait_timeout(thread, PAUSE);
                thread = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if thread.closed {
                return;
            }
            let hurried = std::mem::take(&mut thread.hurried);
            let busy = std::mem::replace(&mut seen, thread.sent) != thread.sent;
            idle = if busy || hurried { 0 } else { idle + 1 };
            // Not before all is answered: nobody else need come.
            thread.awake = idle <= IDLE_PAUSES || self.calls.under_way() > 0;
            drop(thread);
            // Whoever sends reads answers, too.
            if hurried || !busy {
                self.read_answers();
            }
        }
    }

    /// Drives the line until all calls are answered or somebody else wants it.
    fn read_answers(&self) {
        if self.calls.under_way() == 0 {
            return;
        }
        // Who has it reads them.
        let Ok(state) = self.state.try_lock() else { return };
        let Some(runtime) = &state.runtime else { return };
        let _brief = Brief::new(&self.brief);
        runtime.block_on(async {
            // Of somebody who has been here since; who still wants the line says so again and again.
            std::pin::pin!(self.wanted.notified()).enable();
            // Of the last one, who says so once.
            if self.thread().closed {
                return;
            }
            tokio::select! {
                () = self.calls.quiet() => {}
                () = self.wanted.notified() => {}
            }
        });
    }
}

impl Drop for Line {
    /// Wherever that is, a runtime's thread too.
    fn drop(&mut self) {
        self.0.thread().closed = true;
        self.0.due.notify_one();
        self.0.wanted.notify_one();
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = state.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
impl Line {
    /// However slow the machine that runs a test was before. Who has the line for a moment is waited
    /// for; under a call it stays as it is.
    pub(super) fn forget_slowness(&self) {
        loop {
            if let Some(mut turn) = self.enter() {
                turn.state.slow_until = None;
                return;
            }
            if !self.0.brief.load(Ordering::Acquire) {
                return;
            }
        }
    }
}
