//! Changing the extents of a stripe.

use super::{Extent, Source};
use crate::limits::{COMPACT_EXTENTS, COMPACT_INLINE};
use crate::range::Range;

/// Unit of `st_blocks` in bytes (POSIX `<sys/stat.h>`, Linux stat(2)).
const BLOCK: u64 = 512;

/// The stripe after `change` was written over it: what it covers is cut away, a hole leaves nothing
/// in its place.
pub fn overlay(stripe: &[Extent], change: &Extent) -> Vec<Extent> {
    let before = Range::new(0, change.range.start);
    let after = Range::new(change.range.end, u64::MAX);
    let mut out = Vec::with_capacity(stripe.len() + 2);
    out.extend(stripe.iter().filter_map(|extent| extent.part(before)));
    if change.source != Source::Hole && !change.range.is_empty() {
        out.push(change.clone());
    }
    out.extend(stripe.iter().filter_map(|extent| extent.part(after)));
    merge(out)
}

/// The stripe of a file cut to `size` bytes.
pub fn cut(stripe: &[Extent], size: u64) -> Vec<Extent> {
    stripe.iter().filter_map(|extent| extent.part(Range::new(0, size))).collect()
}

/// Joins neighbours whose bytes follow each other where they are stored.
pub fn merge(extents: Vec<Extent>) -> Vec<Extent> {
    let mut out: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        let joined = out.last_mut().is_some_and(|last| join(last, &extent));
        if !joined {
            out.push(extent);
        }
    }
    out
}

/// Appends `next` to `last` if one extent can say both.
fn join(last: &mut Extent, next: &Extent) -> bool {
    if last.range.end != next.range.start {
        return false;
    }
    match (&mut last.source, &next.source) {
        (Source::Object(a, a_off), Source::Object(b, b_off)) => {
            if a != b || *a_off + last.range.len() != *b_off {
                return false;
            }
        }
        (Source::Inline(a), Source::Inline(b)) => a.extend_from_slice(b),
        (Source::Hole, Source::Hole) => {}
        _ => return false,
    }
    last.range.end = next.range.end;
    true
}

/// The pieces of `extent` by index of the stripe they lie in. Lazy, because a hole may reach over
/// more stripes than anyone wants to see.
pub fn split_at_stripes(extent: &Extent, unit: u64) -> impl Iterator<Item = (u64, Extent)> + '_ {
    assert!(unit > 0, "a stripe has bytes");
    let first = extent.range.start / unit;
    (first..)
        .map(move |index| {
            let start = index.saturating_mul(unit);
            (index, extent.part(Range::of_len(start, unit)))
        })
        .map_while(|(index, piece)| piece.map(|piece| (index, piece)))
}

/// Whether reading the stripe has become expensive (PROTOCOL 4.2 "Compaction").
pub fn needs_compaction(stripe: &[Extent]) -> bool {
    let inline: u64 = stripe.iter().map(Extent::inline_len).sum();
    stripe.len() > COMPACT_EXTENTS || inline > COMPACT_INLINE
}

/// Space a stripe uses, in units of 512 bytes, rounded up once per stripe: so the blocks of a file
/// are the sum over its stripes and can be kept up to date stripe by stripe.
pub fn blocks(stripe: &[Extent]) -> u64 {
    let bytes: u64 = stripe.iter().map(|extent| extent.range.len()).sum();
    bytes.div_ceil(BLOCK)
}
