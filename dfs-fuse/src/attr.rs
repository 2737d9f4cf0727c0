//! Attributes, kinds, times, flags and errors between `dfs-core` and `fuser`.

use dfs_core::attr::{Attr, Kind, MODE_MASK, NewMode, SetTime};
use dfs_core::time::Timestamp;
use dfs_core::{FsError, Ino};
use fuser::{Errno, FileAttr, FileType, Generation as Reuse, INodeNo, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the number of an inode was used before (`generation` in fuse.h): never.
pub const NO_REUSE: Reuse = Reuse(0);
/// `st_blksize`: programs read and write in pieces of this many bytes.
const BLOCK_SIZE: u32 = 64 * 1024;

/// What a program asked for something new; `mode` as mknod(2) has it.
pub fn new_mode(mode: u32, umask: u32) -> NewMode {
    NewMode { mode: mode & MODE_MASK, umask }
}

/// Inode numbers of the server and of the kernel: the same, except that the kernel's root is 1.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    root: Ino,
}

impl Numbers {
    /// For a mount whose root directory is `root`.
    pub fn new(root: Ino) -> Numbers {
        Numbers { root }
    }

    /// The kernel's number. The server's root, seen as parent of a mounted subtree, becomes the
    /// mount's root: nothing above it can be reached.
    pub fn to_kernel(self, ino: Ino) -> INodeNo {
        if ino == self.root || ino == Ino::ROOT { INodeNo::ROOT } else { INodeNo(ino.0) }
    }

    /// The server's number.
    pub fn from_kernel(self, ino: INodeNo) -> Ino {
        if ino == INodeNo::ROOT { self.root } else { Ino(ino.0) }
    }

    /// Attributes as the kernel wants them.
    pub fn file_attr(self, attr: &Attr) -> FileAttr {
        FileAttr {
            ino: self.to_kernel(attr.ino),
            size: attr.size,
            blocks: attr.blocks,
            atime: system_time(attr.atime),
            mtime: system_time(attr.mtime),
            ctime: system_time(attr.ctime),
            crtime: system_time(attr.btime),
            kind: file_type(attr.kind),
            perm: (attr.mode & MODE_MASK) as u16,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            blksize: BLOCK_SIZE,
            flags: 0,
        }
    }

    /// Attributes of which only number and kind count, for `.` and `..` of a listing.
    pub fn bare_attr(self, ino: Ino, kind: Kind) -> FileAttr {
        FileAttr { ino: self.to_kernel(ino), kind: file_type(kind), ..NO_ATTR }
    }
}

/// Attributes of nothing: inode number 0 tells the kernel that a name does not exist.
pub const NO_ATTR: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: BLOCK_SIZE,
    flags: 0,
};

/// What an inode is, in fuser's words.
pub fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind in the file type bits of a mode (mknod(2); no bits: a regular file). `None` for what
/// mknod cannot make.
pub fn kind_of_mode(mode: u32) -> Option<Kind> {
    match mode & 0o170_000 {
        0 | 0o100_000 => Some(Kind::File),
        0o010_000 => Some(Kind::Fifo),
        0o020_000 => Some(Kind::CharDevice),
        0o060_000 => Some(Kind::BlockDevice),
        0o140_000 => Some(Kind::Socket),
        _ => None,
    }
}

/// Wall time for fuser. Times no `SystemTime` can hold become 1970.
pub fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let base = if time.seconds >= 0 {
        UNIX_EPOCH.checked_add(whole)
    } else {
        UNIX_EPOCH.checked_sub(whole)
    };
    base.and_then(|t| t.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// A time the kernel sent. fuser 0.18 turns seconds `-s` and nanoseconds `n` into `-(s + n)`
/// instead of `-s + n`; this takes it apart again.
pub fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp::from_unix(after),
        Err(e) => {
            let before = e.duration();
            let seconds = 0i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            Timestamp { seconds, nanos: before.subsec_nanos() }
        }
    }
}

/// A time to set.
pub fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::To(timestamp(time)),
    }
}

/// The errno of a failure. ENOSYS would make the kernel stop asking for good, so it never leaves
/// here.
pub fn errno(error: &FsError) -> Errno {
    match Errno::from_i32(error.errno()) {
        Errno::ENOSYS => Errno::EOPNOTSUPP,
        errno => errno,
    }
}

#[cfg(test)]
mod tests;
