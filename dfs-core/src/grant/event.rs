//! What the grant table is told and what it answers.

use std::time::Duration;

use super::record::{Grant, Mode};
use crate::range::Range;
use crate::{BootTime, Fence, FsError, GrantId, Ino, RequestId, SessionId};

/// A request for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number, never used before.
    pub req: RequestId,
    /// Who asks: an active session.
    pub session: SessionId,
    /// The file.
    pub ino: Ino,
    /// What it must allow.
    pub mode: Mode,
    /// The bytes it must cover; not empty.
    pub required: Range,
    /// The bytes it may cover if they are free; covers `required`.
    pub desired: Range,
    /// Refuse instead of waiting, and recall nothing.
    pub nonblock: bool,
    /// When waiting ends in `Busy` (server clock).
    pub deadline: BootTime,
    /// Guaranteed time of possession, counted from the grant.
    pub min_hold: Duration,
}

/// A request to get a lost write grant back, after the shell has found the file's content unchanged
/// since. It never waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// Its number, never used before.
    pub req: RequestId,
    /// Who asks: an active session.
    pub session: SessionId,
    /// The file.
    pub ino: Ino,
    /// The bytes; not empty.
    pub range: Range,
    /// Fence of the lost grant.
    pub old_fence: Fence,
    /// Guaranteed time of possession, counted from the grant.
    pub min_hold: Duration,
}

/// A grant that a session held before the server restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaim {
    /// The holder.
    pub session: SessionId,
    /// The file.
    pub ino: Ino,
    /// The grant's number.
    pub id: GrantId,
    /// Its fence; the shell has found no loss of it in the journal.
    pub fence: Fence,
    /// What it allows.
    pub mode: Mode,
    /// On which bytes; not empty.
    pub range: Range,
    /// Guaranteed time of possession from now on: of a grant that is new, though its number is not
    /// (`docs/design/0025`).
    pub min_hold: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session asks for a grant (K1 to K4, K15).
    Request(Request),
    /// The caller of a waiting request went away or was interrupted (K14).
    Cancel {
        /// The request.
        req: RequestId,
    },
    /// The holder gives a grant back (K8, K9).
    Release {
        /// The holder.
        session: SessionId,
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
        /// Its fence as the holder knows it.
        fence: Fence,
    },
    /// A recalled holder reports what it has flushed (K7).
    Progress {
        /// The holder.
        session: SessionId,
        /// The grant.
        id: GrantId,
        /// Bytes flushed so far under this recall.
        bytes: u64,
    },
    /// The loss ordered by `JournalLost` is durable (K11).
    LostDurable {
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
    },
    /// A session's lease ran out (K12).
    Lapsed {
        /// The session.
        session: SessionId,
    },
    /// A session that lapsed is active again.
    Back {
        /// The session.
        session: SessionId,
    },
    /// A session is over, and the journal shows it closed or will before `LostDurable` (K13).
    Gone {
        /// The session.
        session: SessionId,
    },
    /// A session restates a grant during grace (K17).
    Reclaim(Reclaim),
    /// A session asks for a grant it lost (K18).
    Rescue(Rescue),
    /// Time has passed (K10, K14).
    Tick,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a request with a grant.
    Granted {
        /// The request.
        req: RequestId,
        /// The grant.
        grant: Grant,
        /// Whether it is new; else the session already held it.
        fresh: bool,
    },
    /// Answer a request with a failure: `WouldBlock`, `Busy`, `Interrupted`, `Deadlock`, `Fenced`,
    /// or `SessionExpired` if its session lapsed or ended while it waited.
    Denied {
        /// The request.
        req: RequestId,
        /// Why.
        error: FsError,
    },
    /// Answer a reclaim: the grant is in force again.
    Reclaimed {
        /// The grant.
        grant: Grant,
    },
    /// Answer a release or reclaim: there is no such grant any more. Nothing was changed. A refused
    /// reclaim is also a loss of the session (S12).
    Fenced {
        /// The session.
        session: SessionId,
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
        /// The fence the session named.
        fence: Fence,
    },
    /// Push to the holder: give the grant back. An idle one goes back at once; one with work in
    /// progress when its last writer closes, at the latest after `hold`.
    Recall {
        /// The holder.
        session: SessionId,
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
        /// Its fence.
        fence: Fence,
        /// Guaranteed time that is left.
        hold: Duration,
    },
    /// Record the loss with the session (`session::Event::Conflict`); when the outcome is durable,
    /// answer with `LostDurable`. Until then nobody gets these bytes.
    JournalLost {
        /// The holder.
        session: SessionId,
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
        /// Its fence.
        fence: Fence,
    },
    /// Push to the holder: the grant was taken by force. It has ended.
    Revoked {
        /// The holder.
        session: SessionId,
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
        /// Its fence.
        fence: Fence,
    },
    /// The grant has ended without force: released, replaced by a stronger one of its session, or a
    /// read grant of a session that is over. Also the positive answer to a release.
    Dropped {
        /// The holder.
        session: SessionId,
        /// The file.
        ino: Ino,
        /// The grant.
        id: GrantId,
        /// Its fence.
        fence: Fence,
    },
}
