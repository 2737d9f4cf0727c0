//! Clean bytes that stay beside a change: they are verified before the checksum that covers them is
//! given up, and get one of their own.

use super::State;
use crate::cache::journal::Record;
use crate::cache::sums::Known;
use dfs_core::Result;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::Range;

/// Bytes that one checksum of what a change has left over covers.
const LEFT_PART: u64 = 4096;

impl State {
    /// Whether the bytes of a piece are what they were; if not, the piece is forgotten.
    pub(super) fn verify(&mut self, piece: Range) -> Result<Option<Vec<u8>>> {
        let bytes = self.bytes_of(piece)?;
        if self.map.sums.broken(piece.start, &bytes).is_empty() {
            self.lent.seen(piece);
            return Ok(Some(bytes));
        }
        self.forget_broken(piece);
        Ok(None)
    }

    pub(super) fn forget_broken(&mut self, piece: Range) {
        tracing::warn!(path = %self.path.display(), ?piece,
            "cached bytes do not match their checksum: fetching them again");
        self.map.forget(piece);
        self.row_changed = true;
    }

    /// Verifies the clean bytes that a change of `range` cuts, before their checksum is given up, and
    /// sums up what is left of them: in parts so small that the next change cuts few of them.
    pub(super) fn verify_cut(&mut self, range: Range) -> Result<Vec<Known>> {
        let mut left = Vec::new();
        let whole = self.map.sums.partly(range);
        let parts = self.map.left_in(range);
        for piece in whole {
            if let Some(bytes) = self.verify(piece)? {
                left.extend(left_of(piece, &bytes, range));
            }
        }
        for known in parts.into_iter().filter(|known| !range.covers(known.range)) {
            let bytes = self.bytes_of(known.range)?;
            match crc32c::crc32c(&bytes) == known.crc {
                true => left.extend(left_of(known.range, &bytes, range)),
                false => self.forget_broken(known.range),
            }
        }
        Ok(left)
    }

    pub(super) fn bytes_of(&self, range: Range) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.read(range, &mut bytes).map_err(|e| self.err("read", &e))?;
        Ok(bytes)
    }

    /// The record that bytes are here and clean.
    pub(super) fn kept(&self, range: Range) -> Result<Record> {
        Ok(Record::Kept(range, crc32c::crc32c(&self.bytes_of(range)?)))
    }

    /// The records of all clean bytes without a checksum of the index, block by block.
    pub(super) fn all_kept(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for loose in self.map.loose.iter() {
            let mut at = loose.start;
            while at < loose.end {
                let block = Range::of_len(at, 1).align_out(CHECKSUM_BLOCK).intersect(loose);
                records.push(self.kept(Range::new(at, block.end))?);
                at = block.end;
            }
        }
        Ok(records)
    }
}

/// The checksums of what a change of `range` leaves of `piece`.
pub(super) fn left_of(piece: Range, bytes: &[u8], range: Range) -> Vec<Known> {
    let before = piece.intersect(Range::new(0, range.start));
    let behind = piece.intersect(Range::new(range.end, u64::MAX));
    let place =
        |part: Range| (part.start - piece.start) as usize..(part.end - piece.start) as usize;
    let sums = |part: Range| Known::of(part.start, &bytes[place(part)], LEFT_PART);
    [before, behind].into_iter().filter(|part| !part.is_empty()).flat_map(sums).collect()
}

/// The records that bytes are here and clean.
pub(super) fn kept_records(left: &[Known]) -> Vec<Record> {
    left.iter().map(|known| Record::Kept(known.range, known.crc)).collect()
}
