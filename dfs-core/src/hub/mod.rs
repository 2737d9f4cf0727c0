//! placeholder until the machine lands: the shared vocabulary.

use crate::id::Ino;
use crate::name::Name;

/// What a mutation touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntentKey {
    /// A directory as a whole: shared by changes of names in it, exclusive to its removal.
    Dir(Ino),
    /// One name.
    Name(Ino, Name),
    /// Attributes of an inode: shared by changes that are merged at commit, else exclusive.
    Attr(Ino),
}

/// How it touches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Beside others that share.
    Shared,
    /// Alone.
    Exclusive,
}

/// Something clients must forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Attributes, xattrs or link target.
    Attr {
        /// The inode.
        ino: Ino,
    },
    /// Names of a directory.
    DirNames {
        /// The directory.
        dir: Ino,
        /// The names.
        names: Vec<Name>,
    },
    /// Everything about a directory.
    DirAll {
        /// The directory.
        dir: Ino,
    },
    /// Content and attributes.
    Data {
        /// The inode.
        ino: Ino,
        /// Version before.
        old_ver: u64,
        /// Bytes below are the same in both versions.
        unchanged_below: Option<u64>,
    },
    /// The last name goes away.
    Nlink0 {
        /// The inode.
        ino: Ino,
    },
}
