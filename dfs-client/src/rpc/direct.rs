//! Calls that the thread that was asked makes itself, over a connection of its own: no other thread of
//! the client is woken.
//!
//! It waits for the answer (`docs/design/0034`), one thread at a time; who finds the line taken goes
//! the usual way. Or it only sends the call, whose answer comes later (0038).

mod line;

use super::stream::{Answering, Place};
use crate::config::Address;
use crate::waiting::{self, Leave};
use dfs_core::limits::AHEAD_CALLS;
use dfs_proto::status;
use dfs_proto::v1::{one_answer, one_call};
use line::Line;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::Status;

/// Says that a call is written to the connection, and which one it is there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<Sending>);

#[derive(Debug, Default)]
struct Sending {
    written: AtomicBool,
    place: OnceLock<Place>,
}

impl Sent {
    /// The call has its place, and is `written` or not.
    fn begun(&self, place: Place, written: bool) {
        // A call is sent ahead once; a further attempt goes the usual way.
        let _ = self.0.place.set(place);
        self.0.written.store(written, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.written.load(Ordering::Acquire)
    }
}

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
        if !waiting::may(Leave::Wait) {
            return None;
        }
        let mut turn = self.line()?.enter()?;
        if !turn.is_worth_it() {
            return None;
        }
        turn.call(request()?, limit)
    }

    /// Makes a call on this thread, if it may, and says so in `sent` if it is written to a line that the
    /// server has opened. It is carried out when that of `after` is answered. None: the call was not made.
    pub(super) fn send(
        &self,
        request: impl FnOnce() -> Option<one_call::Request>,
        sent: &Sent,
        after: Option<&Sent>,
    ) -> Option<Result<Answering, Status>> {
        if !waiting::may(Leave::Send) {
            return None;
        }
        let after = match after {
            None => None,
            Some(sent) => Some(sent.0.place.get()?),
        };
        let mut turn = self.line()?.enter()?;
        if turn.is_absent() || turn.under_way() >= AHEAD_CALLS {
            return None;
        }
        let open = turn.is_open();
        match turn.send(request()?, after) {
            Ok(None) => None,
            Ok(Some((answering, written))) => {
                sent.begun(answering.place(), written && open);
                Some(Ok(answering))
            }
            Err(status) => Some(Err(status)),
        }
    }

    /// Somebody is about to wait for answers of calls that were only sent: they come as soon as the server
    /// gives them. A thread that may wait does so here, for a while.
    pub(super) fn hurry(&self) {
        let Some(Some(line)) = self.line.get() else { return };
        if !line.is_waited_for() {
            return;
        }
        match waiting::may(Leave::Wait).then(|| line.enter()).flatten() {
            Some(mut turn) => turn.settle(),
            None => line.hurry(),
        }
    }

    /// Whether a thread that may wait would do so now.
    pub(super) fn is_free(&self) -> bool {
        self.line().is_some_and(Line::is_free)
    }

    fn line(&self) -> Option<&Line> {
        let line = self.line.get_or_init(|| {
            let line = Line::open(&self.server);
            line.inspect_err(|error| tracing::warn!(%error, "no direct line")).ok()
        });
        line.as_ref()
    }
}

/// The error of a call without answer.
pub(super) fn no_answer() -> Status {
    status::ended("no answer on the direct line in time")
}

#[cfg(test)]
mod tests;
