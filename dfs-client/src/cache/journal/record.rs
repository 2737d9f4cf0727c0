//! One step of unsaved work, as the journal has it.

use super::Input;
use crate::cache::map::FileMap;
use dfs_core::range::Range;

/// Kind, two numbers, checksum of the data, checksum of the record.
pub(super) const LEN: usize = 1 + 8 + 8 + 4 + 4;

/// One step of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// These bytes are about to be written; the CRC-32C of the new bytes.
    Write(Range, u32),
    /// These bytes are unsaved.
    Unsaved(Range),
    /// The size is about to be set.
    Resize(u64),
    /// These bytes are about to become zero.
    Zero(Range),
    /// The record before this one happened.
    Done,
    /// Clean bytes that the next change leaves beside it without a checksum of the index; theirs.
    Kept(Range, u32),
    /// The working file with this inode number (on the cache's file system) is about to be replaced
    /// by an empty one; the work is given up or moved.
    Abandon(u64),
    /// The working file is in memory only. The first record of such work.
    InMemory,
    /// These bytes are written and stand behind the record; their CRC-32C.
    Bytes(Range, u32),
    /// What stands behind records so far is in the working file, which is on disk from now on.
    Stored,
}

impl Record {
    /// What the record does to the state of the file, when nobody can verify the bytes around it.
    pub(super) fn apply(self, map: &mut FileMap) {
        match self {
            Record::Write(range, _) | Record::Unsaved(range) | Record::Bytes(range, _) => {
                map.forget_cut(range);
                map.wrote(range);
            }
            Record::Zero(range) => {
                map.forget_cut(range);
                map.zeroed(range);
            }
            Record::Resize(size) => {
                map.forget_cut(Range::new(size, u64::MAX));
                map.resized(size);
            }
            // Whether bytes are still the kept ones shows in the end.
            Record::Done
            | Record::Kept(..)
            | Record::Abandon(_)
            | Record::InMemory
            | Record::Stored => {}
        }
    }

    /// The shortest list of records that leads from the base to `map`.
    pub fn restate(map: &FileMap) -> Vec<Record> {
        let mut records = Vec::new();
        if map.min_size < map.base_size {
            records.push(Record::Resize(map.min_size));
        }
        if map.size != map.min_size {
            records.push(Record::Resize(map.size));
        }
        records.extend(map.dirty.iter().map(Record::Unsaved));
        records.extend(map.dirty_holes().into_iter().map(Record::Zero));
        records
    }

    /// As it stands in a journal, without the bytes behind it.
    pub(super) fn encode(self, salt: u32) -> [u8; LEN] {
        let (kind, a, b, crc) = match self {
            Record::Write(r, crc) => (1, r.start, r.end, crc),
            Record::Unsaved(r) => (2, r.start, r.end, 0),
            Record::Resize(size) => (3, size, 0, 0),
            Record::Zero(r) => (4, r.start, r.end, 0),
            Record::Done => (5, 0, 0, 0),
            Record::Abandon(number) => (6, number, 0, 0),
            Record::Kept(r, crc) => (7, r.start, r.end, crc),
            Record::InMemory => (8, 0, 0, 0),
            Record::Bytes(r, crc) => (9, r.start, r.end, crc),
            Record::Stored => (10, 0, 0, 0),
        };
        let mut bytes = [0; LEN];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&u64::to_le_bytes(a));
        bytes[9..17].copy_from_slice(&u64::to_le_bytes(b));
        bytes[17..21].copy_from_slice(&u32::to_le_bytes(crc));
        let sum = crc32c::crc32c_append(salt, &bytes[..21]);
        bytes[21..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The record at the front of `all` and the bytes behind it, if both are whole.
    pub(super) fn read(all: &[u8], salt: u32) -> Option<(Record, &[u8])> {
        let (bytes, rest) = all.split_first_chunk::<LEN>()?;
        let record = Record::decode(bytes, salt)?;
        let Record::Bytes(range, crc) = record else { return Some((record, &[])) };
        let behind = rest.get(..usize::try_from(range.len()).ok()?)?;
        (crc32c::crc32c(behind) == crc).then_some((record, behind))
    }

    fn decode(bytes: &[u8; LEN], salt: u32) -> Option<Record> {
        let mut input = Input(bytes);
        let (kind, a, b, crc) = (input.take::<1>()?[0], input.u64()?, input.u64()?, input.u32()?);
        if input.u32()? != crc32c::crc32c_append(salt, &bytes[..21]) {
            return None;
        }
        let range = Range::new(a, b);
        match kind {
            1 => Some(Record::Write(range, crc)),
            2 => Some(Record::Unsaved(range)),
            3 => Some(Record::Resize(a)),
            4 => Some(Record::Zero(range)),
            5 => Some(Record::Done),
            6 => Some(Record::Abandon(a)),
            7 => Some(Record::Kept(range, crc)),
            8 => Some(Record::InMemory),
            9 => Some(Record::Bytes(range, crc)),
            10 => Some(Record::Stored),
            _ => None,
        }
    }
}
