//! Calls that the calling thread waits for itself (`docs/design/0034`).
//!
//! Such a call goes over a connection of its own, which only the thread that waits drives: it writes
//! the request and reads the answer, and no other thread of the client is woken. One at a time; who
//! finds the line taken goes the usual way.
//!
//! Between calls nobody drives it. A server that pings in vain, or stops, closes it: the next call finds
//! that out at once and goes the usual way, the one after it opens the line anew.

use super::channel::{Purpose, call_stream, connect};
use super::stream::CallStream;
use crate::config::Address;
use crate::waiting;
use dfs_core::{Code, FsError, Result};
use dfs_proto::status;
use dfs_proto::v1::{one_answer, one_call};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tonic::Status;

/// A call that took longer says that waiting is not worth a thread.
const SLOW: Duration = Duration::from_millis(20);
/// For so long no thread waits then.
const AVOID: Duration = Duration::from_secs(5);

/// The line of one client, opened when first used.
#[derive(Debug)]
pub(super) struct Direct {
    server: Address,
    line: OnceLock<Option<Line>>,
}

impl Direct {
    /// To `server`.
    pub(super) fn new(server: &Address) -> Direct {
        Direct { server: server.clone(), line: OnceLock::new() }
    }

    /// Makes a call on this thread, if it may wait and the line is free, and waits for the answer at most
    /// `limit`. None: the call was not made. Errors: those of the server for this call; else nobody
    /// knows whether it was carried out.
    pub(super) fn call(
        &self,
        request: impl FnOnce() -> Option<one_call::Request>,
        limit: Duration,
    ) -> Option<Result<one_answer::Reply, Status>> {
        if !waiting::is_allowed() {
            return None;
        }
        self.line()?.call(request, limit)
    }

    /// Whether a thread that may wait would do so now.
    pub(super) fn is_free(&self) -> bool {
        self.line().is_some_and(|line| line.0.try_lock().is_ok_and(|state| state.is_worth_it()))
    }

    fn line(&self) -> Option<&Line> {
        let line = self.line.get_or_init(|| {
            let line = Line::open(&self.server);
            line.inspect_err(|error| tracing::warn!(%error, "no direct line")).ok()
        });
        line.as_ref()
    }
}

#[derive(Debug)]
struct Line(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Drives the connection; there until the end.
    runtime: Option<Runtime>,
    calls: CallStream,
    /// Nobody waits before.
    slow_until: Option<Instant>,
}

impl State {
    fn is_worth_it(&self) -> bool {
        self.slow_until.is_none_or(|until| Instant::now() >= until) && !self.calls.is_absent()
    }
}

impl Line {
    fn open(server: &Address) -> Result<Line> {
        let failed = |e| FsError::new(Code::Io, format!("no runtime for the direct line: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let channel = {
            let _inside = runtime.enter();
            connect(server, Purpose::Direct)?
        };
        let calls = call_stream(channel, runtime.handle().clone());
        Ok(Line(Mutex::new(State { runtime: Some(runtime), calls, slow_until: None })))
    }

    fn call(
        &self,
        request: impl FnOnce() -> Option<one_call::Request>,
        limit: Duration,
    ) -> Option<Result<one_answer::Reply, Status>> {
        let mut state = self.0.try_lock().ok()?;
        if !state.is_worth_it() {
            return None;
        }
        let (runtime, request, begun) = (state.runtime.as_ref()?, request()?, Instant::now());
        let answer = runtime.block_on(tokio::time::timeout(limit, state.calls.call(request)));
        if begun.elapsed() > SLOW {
            state.slow_until = Some(Instant::now() + AVOID);
        }
        match answer {
            Ok(answer) => answer.transpose(),
            Err(_) => Some(Err(status::ended("no answer on the direct line in time"))),
        }
    }
}

impl Drop for Line {
    /// Wherever that is, a runtime's thread too.
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = state.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
