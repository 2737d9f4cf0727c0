//! Extent maps: which stored bytes make up a file (PROTOCOL 1 "Manifest", 4.2).

use crate::id::Ino;
use crate::range::Range;

/// Name of an immutable stored piece of content: `ino.born.n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Inode it was written for.
    pub ino: Ino,
    /// Version number at creation, so that two contents never share a name.
    pub born: u64,
    /// Number within that version.
    pub n: u32,
}

/// Where the bytes of an extent are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In an object, starting at this offset of it.
    Object(ObjectName, u64),
    /// In the record itself.
    Inline(Vec<u8>),
    /// Nowhere: zeros. Only in requests; a stored map leaves holes out.
    Hole,
}

/// `range` of the file is made of the bytes at `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the file; never empty, never across a stripe boundary.
    pub range: Range,
    /// Where they are.
    pub source: Source,
}
