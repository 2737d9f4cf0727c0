//! What goes into the hub and what comes out.

use crate::hub::key::{Hold, IntentKey, Key};
use crate::{Ino, Seq, SessionId, limits, name::Name};
use std::fmt;
use std::time::Duration;

/// Number of one mutation, chosen by the shell and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MutationId(pub u64);

impl fmt::Display for MutationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bounds and times of a hub; the default is that of `limits.rs` (PROTOCOL 0.2).
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Promises of one session.
    pub promises_per_session: usize,
    /// Promises of all sessions.
    pub promises_total: usize,
    /// Unacknowledged push items of one session; more collapse to `DropAll`.
    pub push_queue: usize,
    /// Open holds of one session; more are not recorded.
    pub open_holds_per_session: usize,
    /// Pins of one session; more are not recorded.
    pub pins_per_session: usize,
    /// A push older than this is overdue; a `Trim` older than this is enforced.
    pub inval_deadline: Duration,
    /// An inode without links lives at least so long.
    pub orphan_grace: Duration,
    /// Life of the weak holds of a voided session.
    pub weak_hold_max: Duration,
    /// A key with more holders than this can become hot.
    pub hot_holders: usize,
    /// It does with more changes a second than this.
    pub hot_changes_per_second: u32,
    /// How long a hot key gets no promises.
    pub hot_pause: Duration,
    /// Pushes have numbers above this, so that none has that of a push of an earlier start, whose ack
    /// may come late.
    pub pushes_above: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            promises_per_session: limits::PROMISES_PER_SESSION,
            promises_total: limits::PROMISES_TOTAL,
            push_queue: limits::PUSH_QUEUE,
            open_holds_per_session: limits::OPEN_HOLDS_PER_SESSION,
            pins_per_session: limits::PINS_PER_SESSION,
            inval_deadline: limits::INVAL_DEADLINE,
            orphan_grace: limits::ORPHAN_GRACE,
            weak_hold_max: limits::WEAK_HOLD_MAX,
            hot_holders: limits::HOT_KEY_HOLDERS,
            hot_changes_per_second: limits::HOT_KEY_CHANGES_PER_SECOND,
            hot_pause: limits::HOT_KEY_PAUSE,
            pushes_above: 0,
        }
    }
}

/// One thing a client must forget (PROTOCOL 3.1, wire `InvalItem`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Attributes, extended attributes or link target; uses up the promise.
    Attr {
        /// The inode.
        ino: Ino,
    },
    /// Some names of a directory; its promise stays.
    DirNames {
        /// The directory.
        dir: Ino,
        /// Names added, removed or replaced.
        names: Vec<Name>,
    },
    /// Everything about a directory; uses up its promise.
    DirAll {
        /// The directory.
        dir: Ino,
    },
    /// Content and attributes of an inode; uses up the attribute promise.
    Data {
        /// The inode.
        ino: Ino,
        /// Content version before the change, which an ack may keep.
        old_ver: u64,
        /// Set: bytes below this offset are the same in both versions.
        unchanged_below: Option<u64>,
    },
    /// The last link of an inode goes away; uses up the attribute promise.
    Nlink0 {
        /// The inode.
        ino: Ino,
    },
    /// Somebody else looks at a directory that was delegated: what was made in it and not told yet
    /// must be told before the ack. The promise stays, the delegation ends.
    Undelegate {
        /// The directory.
        dir: Ino,
    },
}

impl Item {
    /// The promise it concerns.
    pub fn key(&self) -> Key {
        match self {
            Item::Attr { ino } | Item::Data { ino, .. } | Item::Nlink0 { ino } => Key::Attr(*ino),
            Item::DirNames { dir, .. } | Item::DirAll { dir } | Item::Undelegate { dir } => {
                Key::Dir(*dir)
            }
        }
    }

    /// Whether the promise ends with the ack of it.
    pub fn uses_up(&self) -> bool {
        !matches!(self, Item::DirNames { .. } | Item::Undelegate { .. })
    }

    /// What it counts in the bound of a push queue.
    pub fn weight(&self) -> usize {
        match self {
            Item::DirNames { names, .. } => names.len().max(1),
            _ => 1,
        }
    }
}

/// A numbered message to one session, sent again after each `Attach` until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Forget these.
    Inval {
        /// Number on this session, from 1 without gaps.
        number: u64,
        /// What the mutation took when it was pushed (PROTOCOL 3.3).
        seq: Seq,
        /// What to forget, in the order of the mutation.
        items: Vec<Item>,
    },
    /// Forget everything; its ack answers all earlier pushes and names every open inode.
    DropAll {
        /// Number on this session.
        number: u64,
        /// Everything promised up to here is void.
        seq: Seq,
    },
    /// Too many promises.
    Trim {
        /// Number on this session.
        number: u64,
        /// How many to give up with `Forget`, before the ack.
        count: usize,
    },
}

impl Push {
    /// Its number on its session.
    pub fn number(&self) -> u64 {
        match self {
            Push::Inval { number, .. } | Push::DropAll { number, .. } => *number,
            Push::Trim { number, .. } => *number,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A mutation wants its intents. Doubled keys are merged; any order.
    Begin {
        /// The mutation.
        m: MutationId,
        /// The session that asked for it; not pushed to.
        origin: SessionId,
        /// What it touches.
        intents: Vec<(IntentKey, Hold)>,
    },
    /// The preconditions hold: tell the holders. Each item must be covered by an intent of `m`:
    /// `Name` exclusive for each of `DirNames`, `Dir` exclusive for `DirAll`, none for `Undelegate`,
    /// else `Attr`.
    Push {
        /// The mutation, after its `Granted`.
        m: MutationId,
        /// What changes.
        items: Vec<Item>,
        /// Inodes that the origin itself has open; only those of `Nlink0` items matter.
        origin_open: Vec<Ino>,
    },
    /// The mutation is durable and applied.
    Committed {
        /// The mutation, after its `Ready`.
        m: MutationId,
        /// What the origin shall have promises on; answered by `Kept`.
        keep: Vec<Key>,
        /// Whether it can use directories of its own (`docs/design/0025`).
        delegate: bool,
    },
    /// The mutation does not happen; allowed at any time before `Committed`, also when unknown.
    Abort {
        /// The mutation.
        m: MutationId,
    },
    /// A client has forgotten what a push said. Unknown numbers clear nothing.
    Ack {
        /// The client.
        session: SessionId,
        /// The push.
        number: u64,
        /// Inodes of the push that it has open (of all promises, after `DropAll`).
        open: Vec<Ino>,
        /// Old versions it still reads.
        keep: Vec<(Ino, u64)>,
    },
    /// A client gives promises up.
    Forget {
        /// The client.
        session: SessionId,
        /// What it gives up.
        keys: Vec<Key>,
    },
    /// The session is live and may hold promises.
    Activate {
        /// The session.
        session: SessionId,
    },
    /// The session has a new control stream.
    Attach {
        /// The session.
        session: SessionId,
    },
    /// The session lapsed: nobody waits for it any more.
    Void {
        /// The session.
        session: SessionId,
    },
    /// The session is closed or expired: nothing of it stays.
    Gone {
        /// The session.
        session: SessionId,
    },
    /// A client has inodes open and no promise on them.
    OpenHold {
        /// The client.
        session: SessionId,
        /// The inodes; whether they still exist is the shell's to check.
        inos: Vec<Ino>,
    },
    /// A client closed its last handle of inodes it had an open hold on.
    OrphanDone {
        /// The client.
        session: SessionId,
        /// The inodes.
        inos: Vec<Ino>,
    },
    /// A client reads old versions no longer.
    Unpin {
        /// The client.
        session: SessionId,
        /// Inode and version.
        versions: Vec<(Ino, u64)>,
    },
    /// `OpenHold` of a session that is not active yet (PROTOCOL 2.5).
    ReclaimOpen {
        /// The client.
        session: SessionId,
        /// All its open inodes.
        inos: Vec<Ino>,
    },
    /// Pins of a session that is not active yet (PROTOCOL 2.5).
    ReclaimPin {
        /// The client.
        session: SessionId,
        /// Inode and version.
        versions: Vec<(Ino, u64)>,
    },
    /// At the start: a session had directories to itself when the server ended. Comes before anything
    /// else of that session.
    WasDelegated {
        /// The session.
        session: SessionId,
        /// The directories.
        dirs: Vec<Ino>,
    },
    /// An inode without links was found at the start, or was made without one.
    Orphaned {
        /// The inode.
        ino: Ino,
    },
    /// Time passed.
    Tick,
}

/// What the shell must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// All intents are held: check the preconditions.
    Granted {
        /// The mutation.
        m: MutationId,
    },
    /// Nobody serves the old state any more: commit.
    Ready {
        /// The mutation.
        m: MutationId,
        /// Who will hold each inode of a `Nlink0` item open, to be journaled as orphan holds.
        open: Vec<(SessionId, Ino)>,
        /// Who pinned the old version of each `Data` item.
        kept: Vec<(SessionId, Ino, u64)>,
    },
    /// Answers `Committed`: the promises the origin has. Its reply is built after this step:
    /// `as_of` is the sequencer's last number now, and the state is read after that.
    Kept {
        /// The mutation.
        m: MutationId,
        /// A part of `Committed.keep`, in its order.
        keys: Vec<Key>,
        /// Directories among them that are the origin's alone from now on, or were.
        delegated: Vec<Ino>,
    },
    /// Send it if the session has a control stream; else nothing, `Attach` repeats it.
    Send {
        /// The client.
        session: SessionId,
        /// The message.
        push: Push,
    },
    /// No link and no open handle is left: remove the inode.
    OrphanFree {
        /// The inode.
        ino: Ino,
    },
    /// The last pin of a version went.
    Unpinned {
        /// The inode.
        ino: Ino,
        /// The version.
        ver: u64,
    },
}
