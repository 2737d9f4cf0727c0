//! Reading through an extent list: what to fetch for a range, where data and holes are.

use super::{Extent, Source};
use crate::range::Range;

/// What `range` is made of: pieces in order that together cover exactly `range`, holes included.
pub fn plan(extents: &[Extent], range: Range) -> Vec<Extent> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    let first = extents.partition_point(|extent| extent.range.end <= range.start);
    for piece in extents[first..].iter().map_while(|extent| extent.part(range)) {
        push_hole(&mut pieces, Range::new(at, piece.range.start));
        at = piece.range.end;
        pieces.push(piece);
    }
    push_hole(&mut pieces, Range::new(at, range.end));
    pieces
}

fn push_hole(pieces: &mut Vec<Extent>, range: Range) {
    if !range.is_empty() {
        pieces.push(Extent { range, source: Source::Hole });
    }
}

/// First byte at or behind `from` that is stored, in a file of `size` bytes (lseek(2) `SEEK_DATA`).
/// `None` (`ENXIO`): `from` is at or behind the end, or only a hole follows.
pub fn seek_data(extents: &[Extent], size: u64, from: u64) -> Option<u64> {
    let next = extents.partition_point(|extent| extent.range.end <= from);
    let found = extents.get(next)?.range.start.max(from);
    (found < size).then_some(found)
}

/// First byte at or behind `from` that no extent covers, in a file of `size` bytes; the end of the
/// file counts as a hole (lseek(2) `SEEK_HOLE`). `None` (`ENXIO`): `from` is at or behind the end.
pub fn seek_hole(extents: &[Extent], size: u64, from: u64) -> Option<u64> {
    if from >= size {
        return None;
    }
    let next = extents.partition_point(|extent| extent.range.end <= from);
    let mut at = from;
    for extent in &extents[next..] {
        if at < extent.range.start {
            break;
        }
        at = extent.range.end;
    }
    Some(at.min(size))
}
