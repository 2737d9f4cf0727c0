//! Byte ranges and sets of them.

use std::collections::BTreeMap;
use std::fmt;

/// A half-open byte range; `end == u64::MAX` stands for infinity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.end == u64::MAX {
            return write!(f, "[{}, inf)", self.start);
        }
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl Range {
    /// Every byte.
    pub const ALL: Range = Range { start: 0, end: u64::MAX };

    /// From `start` to before `end`; empty if `end <= start`.
    pub fn new(start: u64, end: u64) -> Range {
        Range { start, end: end.max(start) }
    }

    /// `len` bytes from `start`, cut at infinity.
    pub fn of_len(start: u64, len: u64) -> Range {
        Range { start, end: start.saturating_add(len) }
    }

    /// Number of bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes in both.
    pub fn intersect(self, other: Range) -> Range {
        Range::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Whether any byte is in both.
    pub fn overlaps(self, other: Range) -> bool {
        !self.intersect(other).is_empty()
    }

    /// Whether every byte of `other` is in `self`.
    pub fn covers(self, other: Range) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }

    /// Grown outwards to multiples of `unit`.
    pub fn align_out(self, unit: u64) -> Range {
        let start = self.start / unit * unit;
        let end = self.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
        Range::new(start, end)
    }
}

/// A set of bytes, kept as the fewest disjoint, not adjacent ranges.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl RangeSet {
    /// The empty set.
    pub fn new() -> RangeSet {
        RangeSet::default()
    }

    /// Adds the bytes of `r`.
    pub fn insert(&mut self, r: Range) {
        if r.is_empty() {
            return;
        }
        let mut merged = r;
        while let Some((&start, &end)) = self.ranges.range(..=merged.end).next_back() {
            if end < merged.start {
                break;
            }
            self.ranges.remove(&start);
            merged = Range { start: merged.start.min(start), end: merged.end.max(end) };
        }
        self.ranges.insert(merged.start, merged.end);
    }

    /// Takes the bytes of `r` out.
    pub fn remove(&mut self, r: Range) {
        if r.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.ranges.range(..r.end).next_back() {
            if end <= r.start {
                break;
            }
            self.ranges.remove(&start);
            if start < r.start {
                self.ranges.insert(start, r.start);
            }
            if r.end < end {
                self.ranges.insert(r.end, end);
            }
        }
    }

    /// Whether every byte of `r` is in the set.
    pub fn covers(&self, r: Range) -> bool {
        r.is_empty()
            || self.ranges.range(..=r.start).next_back().is_some_and(|(_, &end)| end >= r.end)
    }

    /// Whether any byte of `r` is in the set.
    pub fn overlaps(&self, r: Range) -> bool {
        self.within(r).next().is_some()
    }

    /// The parts of the set inside `r`, in order.
    pub fn within(&self, r: Range) -> impl Iterator<Item = Range> + '_ {
        let first = self.ranges.range(..=r.start).next_back().map_or(r.start, |(&start, _)| start);
        self.ranges
            .range(first..r.end.max(first))
            .map(move |(&start, &end)| Range { start, end }.intersect(r))
            .filter(|part| !part.is_empty())
    }

    /// The parts of `r` that are not in the set, in order.
    pub fn gaps(&self, r: Range) -> Vec<Range> {
        let mut gaps = Vec::new();
        let mut at = r.start;
        for part in self.within(r) {
            gaps.push(Range::new(at, part.start));
            at = part.end;
        }
        gaps.push(Range::new(at, r.end));
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }

    /// All ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().map(|(&start, &end)| Range { start, end })
    }

    /// Number of ranges.
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// Number of bytes.
    pub fn bytes(&self) -> u64 {
        self.iter().map(Range::len).sum()
    }

    /// Whether no byte is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }
}

impl FromIterator<Range> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> RangeSet {
        let mut set = RangeSet::new();
        ranges.into_iter().for_each(|r| set.insert(r));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPACE: u64 = 40;

    fn bits(set: &RangeSet) -> Vec<bool> {
        (0..SPACE).map(|b| set.covers(Range::of_len(b, 1))).collect()
    }

    proptest! {
        #[test]
        fn range_set_equals_a_bit_array(ops in prop::collection::vec((any::<bool>(), 0..SPACE, 0..SPACE), 0..40),
                                        a in 0..SPACE, b in 0..SPACE) {
            let mut set = RangeSet::new();
            let mut naive = vec![false; SPACE as usize];
            for (add, x, y) in ops {
                let r = Range::new(x.min(y), x.max(y));
                if add { set.insert(r) } else { set.remove(r) }
                (r.start..r.end).for_each(|i| naive[i as usize] = add);
            }
            prop_assert_eq!(&bits(&set), &naive);
            let flat: Vec<Range> = set.iter().collect();
            prop_assert!(flat.windows(2).all(|w| w[0].end < w[1].start), "{:?}", flat);
            let q = Range::new(a.min(b), a.max(b));
            let inside: Vec<u64> = set.within(q).flat_map(|r| r.start..r.end).collect();
            let wanted: Vec<u64> = (q.start..q.end).filter(|&i| naive[i as usize]).collect();
            prop_assert_eq!(inside, wanted);
            let gaps: Vec<u64> = set.gaps(q).into_iter().flat_map(|r| r.start..r.end).collect();
            let missing: Vec<u64> = (q.start..q.end).filter(|&i| !naive[i as usize]).collect();
            prop_assert_eq!(gaps, missing);
            prop_assert_eq!(set.overlaps(q), (q.start..q.end).any(|i| naive[i as usize]));
            prop_assert_eq!(set.covers(q), (q.start..q.end).all(|i| naive[i as usize]));
        }
    }

    #[test]
    fn range_infinity_and_alignment() {
        assert!(Range::ALL.covers(Range::new(5, u64::MAX)));
        assert_eq!(Range::of_len(u64::MAX - 1, 10).end, u64::MAX);
        assert_eq!(Range::new(5, 9).align_out(4), Range::new(4, 12));
        assert_eq!(Range::new(5, u64::MAX).align_out(4), Range::new(4, u64::MAX));
        assert_eq!(format!("{:?}", Range::new(1, u64::MAX)), "[1, inf)");
    }
}
