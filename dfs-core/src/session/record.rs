//! What is known about a session, and the settings of the table.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lease;
use crate::limits;
use crate::{BootTime, Fence, Ino, Seq, SessionId};

/// Settings; the defaults are those of PROTOCOL 0.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Session term `T`.
    pub term: Duration,
    /// Reclaim window after a start; never shorter in effect than a session's lapse.
    pub grace: Duration,
    /// Longest wait told to a client that calls during grace.
    pub grace_retry: Duration,
    /// How long a lapsed session is kept.
    pub courtesy_max: Duration,
    /// How many lost objects are remembered per session; one more ends it.
    pub lost_max: usize,
    /// Sessions that are not over.
    pub sessions_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            term: limits::SESSION_TERM,
            grace: limits::GRACE,
            grace_retry: limits::GRACE_RETRY,
            courtesy_max: limits::COURTESY_MAX,
            lost_max: limits::LOST_MAX,
            sessions_max: limits::SESSIONS_MAX,
        }
    }
}

impl Config {
    /// Length of the reclaim window: clients must have had time to notice the restart.
    pub(super) fn grace_window(&self) -> Duration {
        self.grace.max(lease::lapse_after(self.term))
    }
}

/// Something a session held and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LostItem {
    /// A grant.
    Grant {
        /// The file.
        ino: Ino,
        /// The grant's fence.
        fence: Fence,
    },
    /// All record locks of one file.
    Locks {
        /// The file.
        ino: Ino,
    },
}

/// A session as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The session.
    pub sid: SessionId,
    /// Its fencing number.
    pub epoch: Seq,
    /// The mount.
    pub uuid: [u8; 16],
    /// The start of its daemon.
    pub verifier: [u8; 16],
    /// What the client said of itself.
    pub description: String,
    /// What it lost so far; empty in `JournalOpen`.
    pub lost: Vec<LostItem>,
    /// Grants with a fence up to this one are lost as well; zero: none. Set by the journal record
    /// of the last reclaim window it missed.
    pub floor: Seq,
    /// Whether it missed a reclaim window and has not been back since, so it holds nothing.
    pub absent: bool,
}

/// The state of a session that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has a lease until `lapse_at`.
    Active {
        /// When it lapses unless it renews.
        lapse_at: BootTime,
    },
    /// Its lease ran out at `since`; it keeps what nobody else wants.
    Courtesy {
        /// When it lapsed.
        since: BootTime,
    },
    /// It was open when the server started and has not yet restated what it holds.
    Reclaim,
}

impl State {
    /// The state in one word, as shown to operators.
    pub fn name(self) -> &'static str {
        match self {
            State::Active { .. } => "active",
            State::Courtesy { .. } => "courtesy",
            State::Reclaim => "reclaim",
        }
    }
}

/// A session as shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo<'a> {
    /// The session.
    pub sid: SessionId,
    /// Its fencing number.
    pub epoch: Seq,
    /// Its state.
    pub state: State,
    /// The mount.
    pub uuid: [u8; 16],
    /// What the client said of itself.
    pub description: &'a str,
    /// How many objects it lost.
    pub lost: usize,
}

/// A session that is not over.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) epoch: Seq,
    pub(super) uuid: [u8; 16],
    pub(super) verifier: [u8; 16],
    pub(super) description: String,
    pub(super) state: State,
    /// Kept to the end of the session: the answer that carried it may not have arrived, and a
    /// reclaim after another restart is judged by it. Bounded by `Config::lost_max`.
    pub(super) lost: BTreeSet<LostItem>,
    /// See `OpenSession::floor`.
    pub(super) floor: Seq,
    /// See `OpenSession::absent`.
    pub(super) absent: bool,
}

impl Session {
    pub(super) fn from_journal(record: OpenSession, state: State) -> Session {
        Session {
            epoch: record.epoch,
            uuid: record.uuid,
            verifier: record.verifier,
            description: record.description,
            state,
            lost: record.lost.into_iter().collect(),
            floor: record.floor,
            absent: record.absent,
        }
    }
}
