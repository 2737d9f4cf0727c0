//! What is known about the bytes of one working file: which are here, which are unsaved.
//!
//! Pure bookkeeping, used alike by the live file and by the replay of its journal. Invariants:
//! `present` is the disjoint union of unsaved bytes that are not holes, holes, loose bytes and
//! checksummed pieces; nothing lies behind `size`; every byte from `min_size` to `size` is present,
//! because the base has nothing to say about it.

use super::sums::{Known, Sums};
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::{Range, RangeSet};
use std::collections::BTreeMap;

/// The state of the bytes of one file.
#[derive(Clone, Debug, Default)]
pub struct FileMap {
    /// Committed version the content builds on.
    pub base_ver: u64,
    /// Size of that version.
    pub base_size: u64,
    /// Smallest size since then: the base's content behind it is gone.
    pub min_size: u64,
    /// Size now.
    pub size: u64,
    /// Bytes that need no fetch.
    pub present: RangeSet,
    /// Bytes that differ from the base, a part of `present`.
    pub dirty: RangeSet,
    /// Bytes known to be zero; they are never read from disk.
    pub holes: RangeSet,
    /// Clean bytes beside unsaved ones, without checksum until the next commit.
    pub loose: RangeSet,
    /// What some of them are, as they were when a write left them over, by their first byte. Never
    /// joined: the next write cuts few.
    pub left: BTreeMap<u64, Known>,
    /// Checksums of the other clean bytes.
    pub sums: Sums,
    /// Checksums of unsaved bytes, as far as they were not cut since: theirs once they are clean.
    pub fresh: Sums,
    /// Number of bytes in `dirty`.
    pub dirty_bytes: u64,
}

impl FileMap {
    /// A file of which nothing is here.
    pub fn new(ver: u64, size: u64) -> FileMap {
        FileMap { base_ver: ver, base_size: size, min_size: size, size, ..FileMap::default() }
    }

    /// The clean content that was stored, as far as it fits the version's size.
    pub fn with_content(ver: u64, size: u64, holes: RangeSet, sums: Sums) -> FileMap {
        let mut map = FileMap { holes, sums, ..FileMap::new(ver, size) };
        map.holes.remove(Range::new(size, u64::MAX));
        map.sums.remove(Range::new(size, u64::MAX));
        map.present = map.holes.iter().collect();
        for piece in map.sums.iter() {
            map.present.insert(piece);
            map.holes.remove(piece);
        }
        map
    }

    /// Whether anything differs from the base.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || self.size != self.base_size || self.min_size < self.base_size
    }

    /// The bytes of the file.
    pub fn extent(&self) -> Range {
        Range::new(0, self.size)
    }

    /// What must be fetched before `range` can be read, in whole blocks where possible.
    pub fn missing(&self, range: Range) -> Vec<Range> {
        let range = range.intersect(self.extent());
        let gaps = self.present.gaps(range).into_iter();
        let grown: RangeSet = gaps.map(|gap| gap.align_out(CHECKSUM_BLOCK)).collect();
        grown.iter().flat_map(|r| self.present.gaps(r.intersect(self.extent()))).collect()
    }

    /// `range` was written. Pieces it cuts must have been verified: their rest becomes loose.
    pub fn wrote(&mut self, range: Range) {
        if range.end > self.size {
            self.resized(self.size.max(range.start));
            self.size = self.size.max(range.end);
        }
        self.unsum(range);
        self.fresh.remove(range);
        self.holes.remove(range);
        self.present.insert(range);
        self.add_dirty(range);
    }

    /// As [`wrote`](FileMap::wrote), with the checksums of the bytes and of what they leave over.
    pub fn wrote_known(&mut self, range: Range, bytes: &[Known], left: Vec<Known>) {
        self.wrote(range);
        self.fresh.add_known(bytes);
        self.left_over(left);
    }

    /// Checksums of loose bytes that a change has left over.
    pub fn left_over(&mut self, left: Vec<Known>) {
        self.left.extend(left.into_iter().map(|known| (known.range.start, known)));
    }

    /// `range` was set to zero; it lies inside the file. Cut pieces as for `wrote`.
    pub fn zeroed(&mut self, range: Range) {
        self.wrote(range);
        self.holes.insert(range);
    }

    /// The size was set. Pieces it cuts must have been verified: their rest becomes loose.
    pub fn resized(&mut self, size: u64) {
        if size < self.size {
            let gone = Range::new(size, u64::MAX);
            self.unsum(gone);
            self.fresh.remove(gone);
            for set in [&mut self.present, &mut self.dirty, &mut self.holes, &mut self.loose] {
                set.remove(gone);
            }
            self.dirty_bytes = self.dirty.bytes();
            self.min_size = self.min_size.min(size);
        } else {
            self.holes.insert(Range::new(self.size, size));
            self.present.insert(Range::new(self.size, size));
        }
        self.size = size;
    }

    /// Clean `bytes` of the base arrived for a gap at `start`.
    pub fn filled(&mut self, start: u64, bytes: &[u8]) {
        self.present.insert(Range::of_len(start, bytes.len() as u64));
        self.sums.add(start, bytes);
    }

    /// A gap is known to be a hole of the base.
    pub fn filled_hole(&mut self, gap: Range) {
        self.present.insert(gap);
        self.holes.insert(gap);
    }

    /// Loose bytes at `start` were read and get their checksum.
    pub fn summed(&mut self, start: u64, bytes: &[u8]) {
        self.forget_loose(Range::of_len(start, bytes.len() as u64));
        self.sums.add(start, bytes);
    }

    /// Loose bytes get the checksum they are known to have.
    pub fn sum_left_over(&mut self) {
        for known in std::mem::take(&mut self.left).into_values() {
            self.loose.remove(known.range);
            self.sums.add_known(&[known]);
        }
    }

    /// Clean bytes of `range`, and the rest of the pieces they are in, are not here any more.
    /// Unsaved bytes, and holes that come after `min_size`, stay.
    pub fn forget(&mut self, range: Range) {
        let base = range.intersect(Range::new(0, self.min_size));
        for part in self.dirty.gaps(base) {
            for piece in self.sums.overlapping(part) {
                self.present.remove(piece);
            }
            self.sums.remove(part);
            self.forget_loose(part);
            for set in [&mut self.present, &mut self.holes] {
                set.remove(part);
            }
        }
    }

    /// Clean bytes that are not here any more, but are still what is known of them, are here again.
    pub fn keep(&mut self, parts: &[Known]) {
        parts.iter().for_each(|known| self.present.insert(known.range));
        self.sums.add_known(parts);
    }

    /// Forgets the pieces that `range` cuts: nobody can verify them before it is written.
    pub fn forget_cut(&mut self, range: Range) {
        for piece in self.sums.partly(range) {
            self.forget(piece);
        }
    }

    /// `cleaned` became part of version `ver` of `base_size` bytes; `min_size` is the smallest size
    /// since its snapshot was taken.
    pub fn committed(&mut self, cleaned: &RangeSet, ver: u64, base_size: u64, min_size: u64) {
        for range in cleaned.iter() {
            self.dirty.remove(range);
            for part in self.holes.gaps(range) {
                self.loose.insert(part);
                for known in self.fresh.take(part) {
                    self.loose.remove(known.range);
                    self.sums.add_known(&[known]);
                }
            }
        }
        self.dirty_bytes = self.dirty.bytes();
        self.base_ver = ver;
        self.base_size = base_size;
        self.min_size = min_size;
    }

    /// Whether bytes of the base can be taken over beside unsaved ones: nothing is known of them.
    pub fn may_keep(&self, range: Range) -> bool {
        self.has_work() && range.end <= self.min_size && !self.present.overlaps(range)
    }

    /// Bytes of the base that [`may_keep`](FileMap::may_keep) allows are here.
    pub fn kept(&mut self, known: Known) {
        self.present.insert(known.range);
        self.loose.insert(known.range);
        self.left_over(vec![known]);
    }

    /// Clean ranges that take room and can be given up, in order.
    pub fn clean(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for piece in self.sums.iter() {
            match ranges.last_mut() {
                Some(last) if last.end == piece.start => last.end = piece.end,
                _ => ranges.push(piece),
            }
        }
        ranges
    }

    /// Bytes of zero that belong to the base, as they may be stored.
    pub fn base_holes(&self) -> RangeSet {
        let inside = Range::new(0, self.min_size);
        let holes = self.holes.within(inside);
        holes.flat_map(|hole| self.dirty.gaps(hole)).collect()
    }

    /// Unsaved bytes that are known to be zero.
    pub fn dirty_holes(&self) -> Vec<Range> {
        self.dirty.iter().flat_map(|r| self.holes.within(r)).collect()
    }

    fn add_dirty(&mut self, range: Range) {
        self.dirty_bytes += self.dirty.gaps(range).into_iter().map(Range::len).sum::<u64>();
        self.dirty.insert(range);
    }

    /// Takes the pieces under `range` away; what they cover outside of it becomes loose.
    fn unsum(&mut self, range: Range) {
        for piece in self.sums.partly(range) {
            self.loose.insert(piece);
        }
        self.forget_loose(range);
        self.sums.remove(range);
    }

    /// `range` is not loose any more.
    fn forget_loose(&mut self, range: Range) {
        self.loose.remove(range);
        for known in self.left_in(range) {
            self.left.remove(&known.range.start);
        }
    }

    /// The checksums of loose bytes with a byte in `range`.
    pub fn left_in(&self, range: Range) -> Vec<Known> {
        let mut all = Vec::new();
        for known in self.left.range(..range.end).rev().map(|(_, known)| known) {
            if known.range.end <= range.start {
                break;
            }
            all.push(*known);
        }
        all
    }

    /// Panics if an invariant of the module does not hold.
    #[cfg(test)]
    pub fn check(&self) {
        let mut all = RangeSet::new();
        let unsaved = self.dirty.iter().flat_map(|r| self.holes.gaps(r));
        let parts = unsaved.chain(self.holes.iter()).chain(self.loose.iter());
        for part in parts.chain(self.sums.iter()) {
            assert!(!all.overlaps(part), "{part:?} is two things at once: {self:?}");
            all.insert(part);
        }
        assert_eq!(all, self.present, "{self:?}");
        assert_eq!(self.dirty.bytes(), self.dirty_bytes);
        assert!(self.present.covers(Range::new(self.min_size, self.size)), "{self:?}");
        assert!(!self.present.overlaps(Range::new(self.size, u64::MAX)), "{self:?}");
        assert!(self.min_size <= self.base_size && self.min_size <= self.size, "{self:?}");
        assert!(self.sums.iter().all(|piece| piece.end <= self.min_size), "{self:?}");
        let unsaved = |piece: Range| self.dirty.covers(piece) && !self.holes.overlaps(piece);
        assert!(self.fresh.iter().all(unsaved), "{self:?}");
        assert!(self.left.values().all(|known| self.loose.covers(known.range)), "{self:?}");
        assert!(self.has_work() || self.loose.is_empty(), "{self:?}");
    }
}
