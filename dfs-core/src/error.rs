//! The one error type of dfs, and what a client does about each code.

use std::fmt;
use std::time::Duration;

/// Shorthand for results that fail with [`FsError`].
pub type Result<T, E = FsError> = std::result::Result<T, E>;

/// What went wrong. Callers act on the code; people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // `errno.rs` states each meaning by its errno.
pub enum Code {
    // Results of the file system.
    NotPermitted,
    NotFound,
    Interrupted,
    Io,
    NoDevice,
    ArgumentsTooLong,
    BadHandle,
    WouldBlock,
    NoMemory,
    AccessDenied,
    Busy,
    Exists,
    CrossDevice,
    NotDirectory,
    IsDirectory,
    Invalid,
    TooManyOpen,
    TextBusy,
    FileTooBig,
    NoSpace,
    ReadOnly,
    TooManyLinks,
    OutOfRange,
    Deadlock,
    NameTooLong,
    NoLocks,
    NotEmpty,
    Loop,
    NoData,
    Overflow,
    NotSupported,
    Stale,
    QuotaExceeded,
    NotConnected,
    TimedOut,
    /// An errno this program has no name for, kept as the peer sent it.
    Other(i32),
    // Results of the protocol (PROTOCOL appendix A).
    /// Establish a new session; repeat reads only.
    SessionExpired,
    /// Repeat the same operation number after this time.
    Grace(Duration),
    /// Repeat the same operation number after this time.
    Retry(Duration),
    /// Another server leads, the message names it: give up (docs/design/0011).
    NotLeader,
    /// Step down; only seen by servers.
    StaleLeader,
    /// The grant is gone: unsaved bytes go to the recovery area.
    Fenced,
    /// Take a newer version number and repeat.
    StaleVersion,
    /// A precondition of a transaction does not hold.
    TxnConflict,
    /// Try the next replica.
    BadChecksum,
    /// The peers have no protocol version in common: give up with a clear text.
    TooOld,
    /// The peer did not answer: repeat the same operation number until the gate rules apply.
    Unavailable,
}

/// A failure: a code to act on and a message to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FsError {
    /// What to act on.
    pub code: Code,
    /// Lower case, names the object and the attempt.
    pub message: String,
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return write!(f, "{}", crate::errno::text(self.code));
        }
        write!(f, "{} ({})", self.message, crate::errno::text(self.code))
    }
}

impl FsError {
    /// A failure with a message.
    pub fn new(code: Code, message: impl Into<String>) -> FsError {
        FsError { code, message: message.into() }
    }

    /// The Linux errno a program gets for it.
    pub fn errno(&self) -> i32 {
        crate::errno::of(self.code)
    }
}

impl From<Code> for FsError {
    fn from(code: Code) -> FsError {
        FsError::new(code, "")
    }
}
