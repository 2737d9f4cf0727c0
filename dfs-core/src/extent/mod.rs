//! Extent maps: which stored bytes make up a file (PROTOCOL 1 "Manifest", 4.2).
//!
//! A file is a list of extents in order, not overlapping, grouped by stripe; what none covers is a
//! hole. Maps are values: every function here returns a new one, nothing stored is changed.

mod alike;
mod map;
mod patch;
mod read;
#[cfg(test)]
mod tests;

pub use map::{
    blocks, cut, merge, needs_compaction, overlay, part_to_compact, replace, split_at_stripes,
};
pub use patch::Patch;
pub use read::{plan, seek_data, seek_hole};

use crate::id::Ino;
use crate::range::Range;
use bytes::Bytes;

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
    /// In the record itself; copies share them.
    Inline(Bytes),
    /// Nowhere: zeros. Only in requests and plans; a stored map leaves holes out.
    Hole,
}

/// `range` of the file is made of the bytes at `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the file; never empty and, unless a hole, never across a stripe boundary.
    pub range: Range,
    /// Where they are.
    pub source: Source,
}

impl Extent {
    /// The part of it inside `range`, `None` if there is none: objects by moving the offset in the
    /// object, inline bytes by slicing.
    pub fn part(&self, range: Range) -> Option<Extent> {
        let range = self.range.intersect(range);
        if range.is_empty() {
            return None;
        }
        let skip = range.start - self.range.start;
        let source = match &self.source {
            Source::Object(name, offset) => Source::Object(*name, offset + skip),
            Source::Inline(bytes) => {
                let from = skip as usize;
                Source::Inline(bytes.slice(from..from + range.len() as usize))
            }
            Source::Hole => Source::Hole,
        };
        Some(Extent { range, source })
    }

    /// The same bytes at another place of a file.
    pub fn moved_to(&self, start: u64) -> Extent {
        Extent { range: Range::of_len(start, self.range.len()), source: self.source.clone() }
    }

    /// Bytes it holds itself.
    pub fn inline_len(&self) -> u64 {
        match &self.source {
            Source::Inline(bytes) => bytes.len() as u64,
            Source::Object(..) | Source::Hole => 0,
        }
    }
}
