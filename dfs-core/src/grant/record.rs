//! A grant, what it forbids, and where it stands.

use crate::range::Range;
use crate::{BootTime, Fence, GrantId, Ino, SessionId};

/// What a grant allows its session to do with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Read, together with other readers.
    Read,
    /// Read and write, alone.
    Write,
}

/// A recorded right. A lease is a grant on all bytes, a token one on some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub id: GrantId,
    /// The holder.
    pub session: SessionId,
    /// The file.
    pub ino: Ino,
    /// What it allows.
    pub mode: Mode,
    /// On which bytes; never empty.
    pub range: Range,
    /// Stands in every commit; larger than that of each earlier grant.
    pub fence: Fence,
    /// Before this it is not taken from a live session (server clock).
    pub min_until: BootTime,
}

impl Grant {
    /// Whether the grant keeps `session` from having `mode` on `range`. Grants of one session never
    /// conflict: its own range locks order its threads (PROTOCOL 4.5).
    pub(super) fn forbids(&self, session: SessionId, mode: Mode, range: Range) -> bool {
        self.session != session
            && (self.mode == Mode::Write || mode == Mode::Write)
            && self.range.overlaps(range)
    }

    /// Whether it allows its holder `mode` on all of `range`.
    pub(super) fn allows(&self, mode: Mode, range: Range) -> bool {
        self.mode >= mode && self.range.covers(range)
    }
}

/// Where a grant stands. It excludes others in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody waits for it.
    Held,
    /// Its holder was asked to give it back.
    Recalling {
        /// When it is taken, unless there is progress before; never after `hard`.
        soft: BootTime,
        /// When it is taken in any case.
        hard: BootTime,
        /// Bytes flushed under this recall, as last reported.
        flushed: u64,
    },
    /// It is being taken by force: it ends when its loss is durable.
    Revoking,
}

impl State {
    /// The state in one word, as shown to operators.
    pub fn name(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Recalling { .. } => "recalling",
            State::Revoking => "revoking",
        }
    }
}

/// A grant as shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantInfo {
    /// The grant.
    pub grant: Grant,
    /// Where it stands.
    pub state: State,
    /// Requests waiting for its inode.
    pub waiters: usize,
}
