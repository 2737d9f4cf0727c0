//! What the session table is told and what it answers.

use std::time::Duration;

use super::record::{LostItem, OpenSession};
use crate::{FsError, Seq, SessionId};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The open sessions of the journal, at the start of a name server; always the first event,
    /// also when there are none (S11).
    Load {
        /// All sessions the journal shows open, no uuid twice.
        sessions: Vec<OpenSession>,
    },
    /// A client asks for a session (S1, S2, S3).
    Establish {
        /// The mount, the same after a restart of its daemon.
        uuid: [u8; 16],
        /// This start of the daemon: a new one proves that the old daemon is gone.
        verifier: [u8; 16],
        /// Host, mount point and process of the client, for people.
        description: String,
    },
    /// A control stream was opened for a session (S3).
    Attach {
        /// The session.
        sid: SessionId,
        /// Its epoch as the client knows it.
        epoch: Seq,
    },
    /// A client asks for another term (S4, S5).
    Renew {
        /// The session.
        sid: SessionId,
        /// Its epoch as the client knows it.
        epoch: Seq,
        /// A push that is unacknowledged for longer than `D_inval`, as the hub says.
        overdue: Option<u64>,
    },
    /// A session has restated everything it held (S13).
    ReclaimDone {
        /// The session.
        sid: SessionId,
    },
    /// A grant or lock of a session is being taken: because somebody wants it while the session is
    /// away (S7), because a recall was not answered, or because a reclaim was refused (S12).
    Conflict {
        /// The session that loses it.
        sid: SessionId,
        /// What it loses.
        item: LostItem,
    },
    /// The client ends its session (S9).
    Close {
        /// The session.
        sid: SessionId,
    },
    /// The session is ended from outside (S9). Nothing it sends counts any more, but until its own
    /// lease ends its client may still serve what it has cached.
    Expire {
        /// The session.
        sid: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// Time has passed (S6, S8, S14).
    Tick,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it.
    Closed,
    /// A new daemon of the same mount took its place (S2).
    Replaced,
    /// It was away for longer than `courtesy_max` (S8).
    AwayTooLong,
    /// It lost more than `lost_max` objects (S7).
    LostTooMuch,
    /// It was away, and a new one needed its place.
    Crowded,
    /// An administrator ended it.
    Administrator,
}

/// What the shell must do, in this order: what is to be journaled first, answers after it is
/// durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Journal that the session is open.
    JournalOpen {
        /// The record.
        session: OpenSession,
    },
    /// Journal that the session is closed: this fences its epoch and all its grants.
    JournalClose {
        /// The session.
        sid: SessionId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Journal that the session lost this.
    JournalLost {
        /// The session.
        sid: SessionId,
        /// What it lost.
        item: LostItem,
    },
    /// Answer `Establish`.
    Established {
        /// The session.
        sid: SessionId,
        /// Its epoch.
        epoch: Seq,
        /// Length of its lease, which the client counts from when it sent the request; zero while
        /// it must reclaim.
        term: Duration,
        /// Whether this is the session of an earlier `Establish` of the same daemon.
        resumed: bool,
        /// Whether it must reclaim.
        reclaim: bool,
        /// What it lost so far.
        lost: Vec<LostItem>,
    },
    /// Answer `Attach`, then send the pushes again that are not acknowledged.
    Attached {
        /// The session.
        sid: SessionId,
        /// What it lost so far.
        lost: Vec<LostItem>,
        /// Whether it must reclaim.
        reclaim: bool,
    },
    /// Answer `ReclaimDone`. The session is active; the client gets its lease by `Renew`.
    Reclaimed {
        /// The session.
        sid: SessionId,
    },
    /// Answer the event with this failure; nothing was changed.
    Refused(FsError),
    /// Answer `Renew`.
    RenewAck {
        /// The session.
        sid: SessionId,
        /// Length of the lease from when the client sent the renewal; zero: no new lease.
        term: Duration,
        /// The push that must be acknowledged first.
        blocked_on: Option<u64>,
    },
    /// The session is away: the hub voids its promises, the grant table learns `Lapsed`.
    Lapsed {
        /// The session.
        sid: SessionId,
    },
    /// A session that was away is active again: the grant table learns `Back`.
    Back {
        /// The session.
        sid: SessionId,
    },
    /// The session is over: grants, locks, pins, holds, uploads, stored answers and promises go.
    Gone {
        /// The session.
        sid: SessionId,
    },
    /// Grace ended before the session had restated everything. Journal that it is absent and that
    /// its grants up to `floor` are lost; drop what it had left to restate.
    DropUnreclaimed {
        /// The session.
        sid: SessionId,
        /// See `OpenSession::floor`.
        floor: Seq,
    },
    /// Journal that a session that missed a reclaim window is not absent any more.
    JournalReturned {
        /// The session.
        sid: SessionId,
    },
    /// Grace is over; follows each `Load` exactly once.
    GraceEnd,
}
