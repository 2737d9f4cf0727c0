//! Checksums of the clean bytes of one file.
//!
//! A *piece* is a stretch of clean bytes inside one block of [`CHECKSUM_BLOCK`] with its CRC-32C;
//! whole blocks are the rule, shorter pieces appear at the end of a file and around unsaved bytes.
//! Neighbours inside a block are joined without reading them again.

use dfs_core::checksum;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::Range;
use std::collections::{BTreeMap, BTreeSet};

/// Checksums are stored in rows that cover this many bytes each, so that a change in a large file
/// writes little.
pub const CHUNK: u64 = 1024 * CHECKSUM_BLOCK;
/// Offset in the chunk, length, checksum; four bytes each, little endian.
const STORED_PIECE: usize = 12;

/// The CRC-32C of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which bytes.
    pub range: Range,
    /// Their checksum.
    pub crc: u32,
}

impl Known {
    /// Those of `bytes`, which begin at `start`, cut at multiples of `unit`.
    pub fn of(start: u64, bytes: &[u8], unit: u64) -> Vec<Known> {
        let mut at = start;
        let mut rest = bytes;
        let mut all = Vec::with_capacity(bytes.len() / unit as usize + 2);
        while !rest.is_empty() {
            let room = (unit - at % unit) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            let range = Range::of_len(at, now.len() as u64);
            all.push(Known { range, crc: crc32c::crc32c(now) });
            at = range.end;
            rest = later;
        }
        all
    }

    /// The checksum of neighbours, in order, as a whole.
    pub fn of_all(parts: &[Known]) -> u32 {
        parts.iter().fold(0, |crc, part| checksum::joined(crc, part.crc, part.range.len()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    len: u32,
    crc: u32,
}

/// The pieces of one file, none overlapping another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pieces: BTreeMap<u64, Piece>,
    /// Chunks that differ from what is stored.
    changed: BTreeSet<u64>,
}

impl Sums {
    /// Adds the checksums of bytes that have none yet, from offset `start`.
    pub fn add(&mut self, start: u64, bytes: &[u8]) {
        self.add_known(&Known::of(start, bytes, CHECKSUM_BLOCK));
    }

    /// Adds checksums of bytes that have none yet; none reaches over a border of blocks.
    pub fn add_known(&mut self, sums: &[Known]) {
        for known in sums {
            let piece = Piece { len: known.range.len() as u32, crc: known.crc };
            self.add_piece(known.range.start, piece);
        }
    }

    /// Takes out every piece with a byte in `range`; those wholly inside are the answer.
    pub fn take(&mut self, range: Range) -> Vec<Known> {
        let inside = self.overlapping(range).into_iter().filter(|piece| range.covers(*piece));
        let known = inside
            .map(|piece| Known { range: piece, crc: self.pieces[&piece.start].crc })
            .collect();
        self.remove(range);
        known
    }

    fn add_piece(&mut self, start: u64, piece: Piece) {
        let block_end = (start / CHECKSUM_BLOCK + 1) * CHECKSUM_BLOCK;
        let (mut start, mut piece) = (start, piece);
        if let Some((&before, &left)) = self.pieces.range(..start).next_back()
            && before + u64::from(left.len) == start
            && start % CHECKSUM_BLOCK != 0
        {
            self.pieces.remove(&before);
            (start, piece) = (before, joined(left, piece));
        }
        let end = start + u64::from(piece.len);
        if end < block_end
            && let Some(right) = self.pieces.remove(&end)
        {
            piece = joined(piece, right);
        }
        self.pieces.insert(start, piece);
        self.changed.insert(start / CHUNK);
    }

    /// Takes out every piece that has a byte in `range`.
    pub fn remove(&mut self, range: Range) {
        for piece in self.overlapping(range) {
            self.pieces.remove(&piece.start);
            self.changed.insert(piece.start / CHUNK);
        }
    }

    /// The pieces that have a byte in `range`, in order.
    pub fn overlapping(&self, range: Range) -> Vec<Range> {
        let from = range.start / CHECKSUM_BLOCK * CHECKSUM_BLOCK;
        self.pieces
            .range(from..range.end.max(from))
            .map(|(&start, piece)| Range::of_len(start, u64::from(piece.len)))
            .filter(|piece| piece.overlaps(range))
            .collect()
    }

    /// The pieces of which a part is in `range` and a part is not.
    pub fn partly(&self, range: Range) -> Vec<Range> {
        let ends = [Range::of_len(range.start, 1), Range::of_len(range.end.saturating_sub(1), 1)];
        let mut pieces: Vec<Range> = ends.iter().flat_map(|end| self.overlapping(*end)).collect();
        pieces.dedup();
        pieces.retain(|piece| !range.is_empty() && !range.covers(*piece));
        pieces
    }

    /// `range` grown so that it cuts no piece.
    pub fn uncut(&self, range: Range) -> Range {
        let cut = self.partly(range);
        Range {
            start: cut.iter().map(|r| r.start).fold(range.start, u64::min),
            end: cut.iter().map(|r| r.end).fold(range.end, u64::max),
        }
    }

    /// The pieces wholly inside `bytes` (read from `start`) whose bytes are not what they were.
    pub fn broken(&self, start: u64, bytes: &[u8]) -> Vec<Range> {
        let whole = Range::of_len(start, bytes.len() as u64);
        let is_broken = |piece: &Range| {
            let at = (piece.start - start) as usize;
            let now = crc32c::crc32c(&bytes[at..at + piece.len() as usize]);
            self.pieces[&piece.start].crc != now
        };
        let pieces = self.overlapping(whole).into_iter();
        pieces.filter(|piece| whole.covers(*piece)).filter(is_broken).collect()
    }

    /// All pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.pieces.iter().map(|(&start, piece)| Range::of_len(start, u64::from(piece.len)))
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.remove(Range::ALL);
    }

    /// The chunks changed since this was asked last, each with its row.
    pub fn take_changed(&mut self) -> Vec<(u64, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|chunk| (chunk, self.encode(chunk))).collect()
    }

    /// Marks everything as changed, because what is stored is not known.
    pub fn mark_changed(&mut self) {
        self.changed.extend(self.pieces.keys().map(|start| start / CHUNK));
    }

    fn encode(&self, chunk: u64) -> Vec<u8> {
        let from = chunk * CHUNK;
        let mut row = Vec::new();
        for (start, piece) in self.pieces.range(from..from.saturating_add(CHUNK)) {
            row.extend(((start - from) as u32).to_le_bytes());
            row.extend(piece.len.to_le_bytes());
            row.extend(piece.crc.to_le_bytes());
        }
        row
    }

    /// Puts a stored row back. Entries that make no sense are left out: their bytes are fetched.
    pub fn decode(&mut self, chunk: u64, row: &[u8]) {
        let Some(from) = chunk.checked_mul(CHUNK) else { return };
        for stored in row.chunks_exact(STORED_PIECE) {
            let word = |n: usize| {
                u32::from_le_bytes([stored[n], stored[n + 1], stored[n + 2], stored[n + 3]])
            };
            let start = from.saturating_add(u64::from(word(0)));
            let range = Range::of_len(start, u64::from(word(4)));
            let block = Range::of_len(start, 1).align_out(CHECKSUM_BLOCK);
            if !range.is_empty() && block.covers(range) && self.overlapping(range).is_empty() {
                self.pieces.insert(start, Piece { len: word(4), crc: word(8) });
            }
        }
    }
}

fn joined(left: Piece, right: Piece) -> Piece {
    let crc = checksum::joined(left.crc, right.crc, right.len.into());
    Piece { len: left.len + right.len, crc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_neighbours_join_into_the_sum_of_both() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let mut whole = Sums::default();
        whole.add(10, &bytes);
        let mut parts = Sums::default();
        for (start, end) in [(50_000, 120_000), (0, 50_000), (190_000, 200_000), (120_000, 190_000)]
        {
            parts.add(10 + start as u64, &bytes[start..end]);
        }
        assert_eq!(whole.pieces, parts.pieces);
        assert_eq!(whole.pieces.len(), 4);
        assert!(parts.broken(10, &bytes).is_empty());
        let mut flipped = bytes.clone();
        flipped[70_000] ^= 1;
        let hit = Range::new(CHECKSUM_BLOCK, 2 * CHECKSUM_BLOCK);
        assert_eq!(parts.broken(10, &flipped), [hit]);
    }

    #[test]
    fn sums_survive_storing() {
        let mut sums = Sums::default();
        sums.add(100, &[1; 70_000]);
        sums.add(CHUNK + 5, &[2; 10]);
        let rows = sums.take_changed();
        assert_eq!(rows.iter().map(|r| r.0).collect::<Vec<_>>(), [0, 1]);
        let mut back = Sums::default();
        rows.iter().for_each(|(chunk, row)| back.decode(*chunk, row));
        assert_eq!(back.pieces, sums.pieces);
        sums.remove(Range::new(CHUNK, CHUNK + 6));
        assert_eq!(sums.take_changed(), [(1, Vec::new())]);
    }

    #[test]
    fn sums_decode_takes_any_bytes() {
        for seed in 0..200u8 {
            let row: Vec<u8> = (0..60u8).map(|i| i.wrapping_mul(seed).wrapping_add(seed)).collect();
            let mut sums = Sums::default();
            sums.decode(0, &row);
            let ranges: Vec<Range> = sums.iter().collect();
            assert!(ranges.windows(2).all(|w| w[0].end <= w[1].start));
        }
    }

    #[test]
    fn sums_uncut_grows_to_piece_borders() {
        let mut sums = Sums::default();
        sums.add(100, &[0; 100]);
        sums.add(300, &[0; 100]);
        assert_eq!(sums.uncut(Range::new(150, 350)), Range::new(100, 400));
        assert_eq!(sums.uncut(Range::new(200, 300)), Range::new(200, 300));
        assert_eq!(sums.partly(Range::new(50, 350)), [Range::new(300, 400)]);
        assert_eq!(sums.partly(Range::new(120, 130)), [Range::new(100, 200)]);
    }
}
