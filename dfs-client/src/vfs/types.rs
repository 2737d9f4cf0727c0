//! What goes into and comes out of [`Vfs`](super::Vfs).

use dfs_core::Ino;
use dfs_core::attr::{Attr, Kind};
use dfs_core::lock;
use std::time::Duration;

/// Attributes and how long the kernel may keep them, and the name they were found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The attributes.
    pub attr: Attr,
    /// How long; zero: not at all.
    pub ttl: Duration,
}

/// Result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The name exists.
    Entry(Entry),
    /// It does not.
    Absent {
        /// How long the kernel may believe that.
        ttl: Duration,
    },
}

/// How a file is opened (open(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    /// For reading (also for execution).
    pub read: bool,
    /// For execution, which needs no permission to read.
    pub execute: bool,
    /// For writing.
    pub write: bool,
    /// O_APPEND.
    pub append: bool,
    /// O_TRUNC.
    pub truncate: bool,
    /// O_EXCL of a create.
    pub exclusive: bool,
    /// O_DIRECT; also of who writes a file anew (`docs/design/0032`).
    pub direct: bool,
    /// O_NONBLOCK: a lease that is not free fails with EWOULDBLOCK.
    pub nonblock: bool,
    /// O_SYNC or O_DSYNC: every write is committed before it returns.
    pub sync: bool,
}

/// An open file.
#[derive(Debug)]
pub struct Opened {
    /// Number of the handle.
    pub fh: u64,
    /// The kernel may keep pages it has of this inode.
    pub keep_cache: bool,
    /// The kernel must not use its page cache for this handle.
    pub direct_io: bool,
    /// The client must hear of each descriptor of the handle that is closed ([`Vfs::flush`]), not only
    /// of the end of the handle.
    ///
    /// [`Vfs::flush`]: super::Vfs::flush
    pub flush: bool,
    /// The handle is backed by this file: the kernel reads and maps it by itself, but for what
    /// `direct_io` lets through. All handles of an inode that are open at a time are, or none.
    pub backing: Option<std::fs::File>,
}

/// An entry of a listing. `.` and `..` come first with cookies 1 and 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name.
    pub name: Vec<u8>,
    /// Inode.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// The listing goes on after the entry with this cookie; below 2^63.
    pub cookie: u64,
    /// Attributes, if asked and at hand; never for `.` and `..`.
    pub entry: Option<Entry>,
}

/// Flags of renameat2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameFlags {
    /// RENAME_NOREPLACE.
    pub noreplace: bool,
    /// RENAME_EXCHANGE.
    pub exchange: bool,
    /// RENAME_WHITEOUT.
    pub whiteout: bool,
}

/// When to set an extended attribute (setxattr(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Any,
    /// XATTR_CREATE.
    Create,
    /// XATTR_REPLACE.
    Replace,
    /// Both, of which one always fails.
    Never,
}

/// What fallocate(2) shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallocate {
    /// FALLOC_FL_KEEP_SIZE.
    pub keep_size: bool,
    /// FALLOC_FL_PUNCH_HOLE.
    pub punch_hole: bool,
    /// FALLOC_FL_ZERO_RANGE.
    pub zero_range: bool,
}

/// SEEK_DATA or SEEK_HOLE (lseek(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next byte that is in a hole; the end of the file is one.
    Hole,
}

/// A record lock as fcntl(2) states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLock {
    /// Owner number the kernel gave.
    pub owner: u64,
    /// By which call.
    pub kind: lock::Kind,
    /// Process id of the caller, or of the holder in an answer (0: on another machine).
    pub pid: u32,
    /// Exclusive or shared.
    pub exclusive: bool,
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive; `u64::MAX` or `i64::MAX`: to infinity.
    pub end: u64,
}

/// Totals of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes the store's disk holds.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Bytes free for unprivileged users.
    pub available_bytes: u64,
    /// Inodes in use.
    pub inodes: u64,
}
