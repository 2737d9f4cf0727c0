//! Record locks of all inodes (PROTOCOL 4.6, rows "flock, fcntl"; POSIX.1-2017 fcntl).
//!
//! Locks of one owner never conflict: a new one replaces, splits and merges what the owner had.
//! Requests in whose way somebody holds a lock wait in one line per inode, and are served first come,
//! first served. Only held locks are in the way, as on a local disk: a reader that passes a writer who
//! waits may be one whom the writer waits for. A cycle of owners that hold what the next one wants is
//! refused with `Deadlock`.
//!
//! Locks of a lapsed session stay until somebody else wants them; then their loss is journaled
//! first (I3) and the waiter gets them after that.
//!
//! `flock` and `fcntl` locks do not see each other, as on a local disk. A client that cannot tell which
//! it has in its hands says so, and that lock counts as both. Only a process is told of a
//! deadlock: whoever holds an open file may have a thread that gives the lock back (fcntl(2)).
//! A `flock` lock whose mode cannot be changed at once is lost, as flock(2) says.

mod graph;
mod ranges;
mod table;
mod weight;

#[cfg(test)]
mod tests;

pub use table::LockTable;

use crate::range::Range;
use crate::{BootTime, Code, FsError, Ino, RequestId, Result, SessionId};

/// Who holds a lock: a session and what its kernel calls the lock owner (a process or an open file).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The session.
    pub session: SessionId,
    /// Unique in the session.
    pub owner: u64,
}

/// By which call a lock is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Unknown: in the way of every other kind.
    #[default]
    Any,
    /// fcntl(2) for the process.
    Process,
    /// fcntl(2) for the open file (`F_OFD_SETLK`).
    OpenFile,
    /// flock(2).
    Flock,
}

impl Kind {
    /// Whether locks of these kinds know of each other.
    pub fn meets(self, other: Kind) -> bool {
        let any = self == Kind::Any || other == Kind::Any;
        any || (self == Kind::Flock) == (other == Kind::Flock)
    }

    /// Whether a cycle of waits through such a lock is refused.
    pub fn deadlocks(self) -> bool {
        matches!(self, Kind::Any | Kind::Process)
    }

    /// As administrators see it, in the words of `/proc/locks`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Any => "ANY",
            Kind::Process => "POSIX",
            Kind::OpenFile => "OFDLCK",
            Kind::Flock => "FLOCK",
        }
    }
}

/// A lock somebody holds or wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLock {
    /// Whose it is.
    pub owner: Owner,
    /// By which call.
    pub kind: Kind,
    /// Process id on the owner's host, for `F_GETLK` only.
    pub pid: u32,
    /// A write lock; else a read lock.
    pub exclusive: bool,
    /// A read lock that only owners of one session may share.
    pub one_client: bool,
    /// What it covers; never empty.
    pub range: Range,
}

impl RecordLock {
    /// Whether both cannot be held at once.
    pub fn conflicts(&self, other: &RecordLock) -> bool {
        let abroad = self.owner.session != other.owner.session;
        self.owner != other.owner
            && self.kind.meets(other.kind)
            && (self.exclusive
                || other.exclusive
                || abroad && (self.one_client || other.one_client))
            && self.range.overlaps(other.range)
    }

    /// Whether it admits others that `other` would not.
    fn weaker(&self, other: &RecordLock) -> bool {
        other.exclusive && !self.exclusive || other.one_client && !self.one_client
    }
}

/// The range of a lock from its first and last byte as `fcntl` and the wire have them. A last byte
/// at or beyond the largest file offset means "to infinity". `Invalid` if there is no byte in it.
pub fn range_of(first: u64, last: u64) -> Result<Range> {
    let range = Range::new(first, if last >= i64::MAX as u64 { u64::MAX } else { last + 1 });
    if last < first || range.is_empty() {
        return Err(FsError::new(Code::Invalid, format!("lock range {first} to {last}")));
    }
    Ok(range)
}

/// The inverse: the last byte, the largest file offset for infinity.
pub fn last_byte(range: Range) -> u64 {
    if range.end == u64::MAX { i64::MAX as u64 } else { range.end.saturating_sub(1) }
}

/// Bounds of the table; the default is that of `limits.rs`.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Locks of one inode; a waiting request counts twice, for the most it can add.
    pub per_inode: usize,
    /// The same of one session.
    pub per_session: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            per_inode: crate::limits::LOCKS_PER_INODE,
            per_session: crate::limits::LOCKS_PER_SESSION,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lock is wanted (F_SETLK, F_SETLKW). Answered by `Granted` or `Denied`, perhaps later.
    Lock {
        /// The request, never used before.
        req: RequestId,
        /// The inode.
        ino: Ino,
        /// The lock.
        lock: RecordLock,
        /// Wait for it. Without, an answer may still have to wait for `LostDurable`.
        wait: bool,
    },
    /// A range is given back (F_UNLCK). Answered at once: `Denied` with `NoLocks` if it would split
    /// a lock and the table is full.
    Unlock {
        /// The request, never used before.
        req: RequestId,
        /// The inode.
        ino: Ino,
        /// Whose lock.
        owner: Owner,
        /// Of which kind; `Any`: of every kind.
        kind: Kind,
        /// Which bytes.
        range: Range,
    },
    /// The requester waits no longer (a signal); nothing if it was answered already.
    Cancel {
        /// The request.
        req: RequestId,
    },
    /// The owner closed the inode: all its locks on it go.
    ReleaseOwner {
        /// The inode.
        ino: Ino,
        /// The owner.
        owner: Owner,
    },
    /// The session is closed or expired: all its locks and requests go.
    Gone {
        /// The session.
        session: SessionId,
    },
    /// The session's term ran out: its requests go, its locks stay until somebody wants them.
    Lapsed {
        /// The session.
        session: SessionId,
    },
    /// The session is back; what was not taken is its own again.
    Back {
        /// The session.
        session: SessionId,
    },
    /// A lock held before a restart (PROTOCOL 2.5). Answered at once.
    Reclaim {
        /// The request, never used before.
        req: RequestId,
        /// The inode.
        ino: Ino,
        /// The lock.
        lock: RecordLock,
    },
    /// The loss that `JournalLost` named is durable.
    LostDurable {
        /// The session that lost.
        session: SessionId,
        /// The inode whose locks it lost.
        ino: Ino,
    },
}

/// Why there is no lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It conflicts and the requester does not wait.
    WouldBlock,
    /// Waiting would close a cycle of owners that hold what the next one wants.
    Deadlock,
    /// It was cancelled.
    Interrupted,
    /// The table is full.
    NoLocks,
    /// The requester's session lapsed or is gone.
    SessionLost,
}

impl Denial {
    /// The error of the request.
    pub fn code(self) -> Code {
        match self {
            Denial::WouldBlock => Code::WouldBlock,
            Denial::Deadlock => Code::Deadlock,
            Denial::Interrupted => Code::Interrupted,
            Denial::NoLocks => Code::NoLocks,
            Denial::SessionLost => Code::SessionExpired,
        }
    }
}

/// What the shell must do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The request is done.
    Granted {
        /// The request.
        req: RequestId,
    },
    /// The request failed.
    Denied {
        /// The request.
        req: RequestId,
        /// Why.
        denial: Denial,
    },
    /// Make durable that a lapsed session lost its locks on an inode; then send `LostDurable`.
    JournalLost {
        /// The session.
        session: SessionId,
        /// The inode.
        ino: Ino,
    },
}

/// A request that waits, as shown to administrators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The request.
    pub req: RequestId,
    /// What it wants.
    pub lock: RecordLock,
    /// It waits for a conflicting lock, not only for a journal.
    pub wait: bool,
    /// Since when.
    pub since: BootTime,
}
