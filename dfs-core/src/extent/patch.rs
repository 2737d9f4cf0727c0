//! What a change of a stripe left as it was, and what it did not.

use super::alike::{prefix, suffix};
use super::map::{keep, merge};
use super::{Extent, Source};
use crate::range::Range;

/// A change of a stripe: what was in `range` gives way to `extents`, in order, which lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Everything that differs is in here.
    pub range: Range,
    /// What is there now; the rest of the range is a hole.
    pub extents: Vec<Extent>,
}

impl Patch {
    /// The smallest change that makes `new` of `old`, both [merged](merge): the bytes of inline extents
    /// are compared, objects by name and place.
    pub fn between(old: &[Extent], new: &[Extent]) -> Patch {
        let same = |(a, b): &(&Extent, &Extent)| a == b;
        let front = old.iter().zip(new).take_while(same).count();
        let (old, new) = (&old[front..], &new[front..]);
        let back = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
        let (old, new) = (&old[..old.len() - back], &new[..new.len() - back]);
        let start = match (old.first(), new.first()) {
            (Some(a), Some(b)) if a.range.start == b.range.start => {
                a.range.start + inline(a, b).map_or(0, |(a, b)| prefix(a, b))
            }
            (a, b) => a.into_iter().chain(b).map(|extent| extent.range.start).min().unwrap_or(0),
        };
        let end = match (old.last(), new.last()) {
            (Some(a), Some(b)) if a.range.end == b.range.end => {
                (a.range.end - inline(a, b).map_or(0, |(a, b)| suffix(a, b))).max(start)
            }
            (a, b) => a.into_iter().chain(b).map(|extent| extent.range.end).max().unwrap_or(start),
        };
        let range = Range::new(start, end);
        Patch { range, extents: new.iter().filter_map(|extent| extent.part(range)).collect() }
    }

    /// `old` with the change.
    pub fn apply(&self, old: &[Extent]) -> Vec<Extent> {
        let mut out = Vec::with_capacity(old.len() + self.extents.len() + 1);
        keep(old, Range::new(0, self.range.start), &mut out);
        out.extend(self.extents.iter().cloned());
        keep(old, Range::new(self.range.end, u64::MAX), &mut out);
        merge(out)
    }
}

/// The bytes of two extents that hold them.
fn inline<'a>(a: &'a Extent, b: &'a Extent) -> Option<(&'a [u8], &'a [u8])> {
    match (&a.source, &b.source) {
        (Source::Inline(a), Source::Inline(b)) => Some((a, b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn inline_at(start: u64, bytes: &[u8]) -> Extent {
        let range = Range::of_len(start, bytes.len() as u64);
        Extent { range, source: Source::Inline(Bytes::copy_from_slice(bytes)) }
    }

    #[test]
    fn patch_of_bytes_added_to_many_is_those_bytes() {
        let bytes: Vec<u8> = (0..2000u32).map(|n| (n / 3) as u8).collect();
        let (old, new) = ([inline_at(100, &bytes[..1900])], [inline_at(100, &bytes)]);
        let patch = Patch::between(&old, &new);
        assert_eq!(patch.range, Range::new(2000, 2100));
        assert_eq!(patch.extents, [inline_at(2000, &bytes[1900..])]);
        assert_eq!(patch.apply(&old), new);
        // Written again over what has it already: as when a log is read twice.
        assert_eq!(patch.apply(&new), new);
    }

    #[test]
    fn patch_of_bytes_amid_many_is_what_differs() {
        let old = [inline_at(0, &[7; 1000])];
        let mut bytes = [7; 1000];
        (bytes[300], bytes[599]) = (1, 2);
        let patch = Patch::between(&old, &[inline_at(0, &bytes)]);
        assert_eq!(patch.range, Range::new(300, 600));
        assert_eq!(Patch::between(&old, &old).range.len(), 0);
    }
}
