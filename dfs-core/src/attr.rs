//! Attributes of an inode.

use crate::id::Ino;
use crate::time::Timestamp;

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// Permission bits with suid, sgid and sticky.
pub const MODE_MASK: u32 = 0o7777;
/// Those that mkdir(2) heeds on Linux: permissions and sticky.
pub const MKDIR_MODE: u32 = 0o1777;
/// Set-user-id.
pub const S_ISUID: u32 = 0o4000;
/// Set-group-id.
pub const S_ISGID: u32 = 0o2000;
/// Restricted deletion ("sticky").
pub const S_ISVTX: u32 = 0o1000;
/// Group-execute: with it, set-group-id means a program; without, it once meant mandatory locks.
pub const S_IXGRP: u32 = 0o010;

/// Permissions asked for something new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewMode {
    /// Permission bits with suid, sgid and sticky (07777).
    pub mode: u32,
    /// Bits that go, unless the directory has a default access control list (umask(2)).
    pub umask: u32,
}

impl NewMode {
    /// The bits that stay where the umask counts.
    pub fn masked(self) -> u32 {
        self.mode & !(self.umask & 0o777)
    }
}

impl From<u32> for NewMode {
    /// Permission bits without umask.
    fn from(mode: u32) -> NewMode {
        NewMode { mode, umask: 0 }
    }
}

/// Attributes of an inode at one moment, as clients see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names; 0: unlinked but still open somewhere.
    pub nlink: u32,
    /// Device number of a device inode, as in Linux `st_rdev`.
    pub rdev: u32,
    /// Size in bytes; directories: number of entries.
    pub size: u64,
    /// Space used, in 512-byte units.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// Grows by one on every visible change.
    pub attr_ver: u64,
    /// Version of the committed content, 0 if there never was any.
    pub content_ver: u64,
    /// Whether there are extended attributes.
    pub has_xattrs: bool,
    /// Target of a symbolic link, else empty.
    pub link_target: Vec<u8>,
    /// Directories: grows by one with every change of a name in it.
    pub dir_ver: u64,
    /// Directories: the parent; the root's is itself.
    pub parent: Ino,
}

/// A time to set (utimensat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The server's present time.
    Now,
    /// This time.
    To(Timestamp),
}

/// A set of attribute changes; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// New permission bits (07777).
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New size.
    pub size: Option<u64>,
    /// New access time.
    pub atime: Option<SetTime>,
    /// New modification time.
    pub mtime: Option<SetTime>,
    /// Drop set-user-id and set-group-id as a write by an unprivileged process does.
    pub drop_suid: bool,
}

impl SetAttr {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == SetAttr::default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Plain attributes of a kind, for tests to change.
    pub(crate) fn attr(kind: Kind) -> Attr {
        let blank = crate::birth::blank(Ino(2), kind, Timestamp::default());
        Attr { mode: 0o644, nlink: 1, ..blank }
    }
}
