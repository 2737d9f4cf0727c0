//! Changing the extents of a stripe.

use super::alike::{prefix, suffix};
use super::{Extent, ObjectName, Source, plan};
use crate::limits::{COMPACT_EXTENTS, COMPACT_INLINE};
use crate::range::Range;
use bytes::{Bytes, BytesMut};

/// Unit of `st_blocks` in bytes (POSIX `<sys/stat.h>`, Linux stat(2)).
const BLOCK: u64 = 512;

/// The stripe after `changes`, in order and none over another, were written over it: what they cover
/// is cut away, a hole leaves nothing in its place.
pub fn overlay(stripe: &[Extent], changes: &[Extent]) -> Vec<Extent> {
    let mut out = Vec::with_capacity(stripe.len() + 2 * changes.len());
    let (mut rest, mut at) = (stripe, 0);
    for change in changes {
        rest = keep(rest, Range::new(at, change.range.start), &mut out);
        if change.source != Source::Hole && !change.range.is_empty() {
            out.push(change.clone());
        }
        at = change.range.end;
    }
    keep(rest, Range::new(at, u64::MAX), &mut out);
    merge(out)
}

/// Appends what of `extents` is in `range`; answers those that reach behind its start.
pub(super) fn keep<'a>(extents: &'a [Extent], range: Range, out: &mut Vec<Extent>) -> &'a [Extent] {
    let before = extents.iter().take_while(|extent| extent.range.end <= range.start).count();
    let rest = &extents[before..];
    let inside = rest.iter().take_while(|extent| extent.range.start < range.end);
    out.extend(inside.filter_map(|extent| extent.part(range)));
    rest
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

/// The stripe after the bytes of `read`, a part of an earlier state of it, were copied into `object`,
/// holes between its extents as zeros: what is still the same now lies in the object.
pub fn replace(stripe: &[Extent], read: &[Extent], object: ObjectName) -> Vec<Extent> {
    let (Some(first), Some(last)) = (read.first(), read.last()) else { return stripe.to_vec() };
    let copied = Range::new(first.range.start, last.range.end);
    let mut out: Vec<Extent> =
        stripe.iter().filter_map(|extent| extent.part(Range::new(0, copied.start))).collect();
    for old in plan(read, copied) {
        for now in plan(stripe, old.range) {
            let changed = old.part(now.range).map_or(now.range, |old| difference(&old, &now));
            let same = |range: Range| {
                let source = Source::Object(object, range.start.saturating_sub(copied.start));
                (!range.is_empty()).then_some(Extent { range, source })
            };
            out.extend(same(Range::new(now.range.start, changed.start)));
            out.extend(now.part(changed).filter(|now| now.source != Source::Hole));
            out.extend(same(Range::new(changed.end, now.range.end)));
        }
    }
    let behind = Range::new(copied.end, u64::MAX);
    out.extend(stripe.iter().filter_map(|extent| extent.part(behind)));
    merge(out)
}

/// A range of `now` that holds all bytes in which it differs from `old`, an extent of the same range.
fn difference(old: &Extent, now: &Extent) -> Range {
    let Range { start, end } = now.range;
    match (&old.source, &now.source) {
        (Source::Inline(old), Source::Inline(now)) => {
            let before = prefix(old, now);
            let (old, now) = (&old[before as usize..], &now[before as usize..]);
            Range::new(start + before, end - suffix(old, now))
        }
        (old, now) if old == now => Range::new(end, end),
        _ => Range::new(start, end),
    }
}

/// The part of a stripe to copy into an object when it needs compaction: all of it if it consists of
/// many extents, else only what the record itself holds, with what lies between.
pub fn part_to_compact(stripe: &[Extent]) -> &[Extent] {
    if stripe.len() > COMPACT_EXTENTS {
        return stripe;
    }
    let inline = |extent: &Extent| extent.inline_len() > 0;
    match (stripe.iter().position(inline), stripe.iter().rposition(inline)) {
        (Some(first), Some(last)) => &stripe[first..=last],
        _ => stripe,
    }
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
        (Source::Inline(a), Source::Inline(b)) => *a = joined(std::mem::take(a), b),
        (Source::Hole, Source::Hole) => {}
        _ => return false,
    }
    last.range.end = next.range.end;
    true
}

/// `first` and `next`, in the memory of `first` if nobody else has that.
fn joined(first: Bytes, next: &[u8]) -> Bytes {
    let mut both = first.try_into_mut().unwrap_or_else(|shared| {
        let mut copy = BytesMut::with_capacity(shared.len() + next.len());
        copy.extend_from_slice(&shared);
        copy
    });
    both.extend_from_slice(next);
    both.freeze()
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
