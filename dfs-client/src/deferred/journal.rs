//! Files that the server has not heard of, on disk: a daemon that is killed leaves them to the next one.
//!
//! ```text
//! record  generation:u32 length:u32 crc32c(generation, payload):u32 payload
//! ```
//!
//! Numbers are little-endian; the payload is the commit that tells the server. Records of the
//! generation of the first one follow each other, a later one of a file in place of an earlier one;
//! whenever the server has heard of all, a new generation begins at the start. Nothing is flushed: what
//! a power loss of this machine takes is what it takes of unsaved bytes.

use super::Deferred;
use dfs_proto::v1::CommitReq;
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

const HEAD: usize = 12;
/// No more is written: then what is still untold is written anew, and if that is too much files are made
/// by asking until the server has heard of all.
const LEN_MAX: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    generation: u32,
    end: u64,
}

impl Journal {
    /// Opens the file, makes it if it is missing; with what an earlier daemon left in it.
    pub(super) fn open(path: &Path) -> io::Result<(Journal, Vec<CommitReq>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&file, LEN_MAX), &mut bytes)?;
        let (generation, left) = read(&bytes);
        Ok((Journal { file, generation, end: 0 }, left))
    }

    /// Adds a file; `first`: the server has heard of all before it.
    pub(super) fn add(&mut self, file: &Deferred, first: bool) -> io::Result<()> {
        if first {
            (self.generation, self.end) = (self.generation.wrapping_add(1), 0);
        }
        let mut records = Vec::new();
        record(self.generation, file, &mut records);
        self.write(&records)
    }

    /// Has these files and no others, in one write.
    pub(super) fn set<'a>(
        &mut self,
        files: impl Iterator<Item = &'a Arc<Deferred>>,
    ) -> io::Result<()> {
        (self.generation, self.end) = (self.generation.wrapping_add(1), 0);
        let mut records = Vec::new();
        files.for_each(|file| record(self.generation, file, &mut records));
        if records.is_empty() {
            return self.file.write_all_at(&[0; HEAD], 0);
        }
        self.write(&records)
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if self.end + records.len() as u64 > LEN_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(records, self.end)?;
        self.end += records.len() as u64;
        Ok(())
    }
}

/// Appends what tells of a file.
fn record(generation: u32, file: &Deferred, records: &mut Vec<u8>) {
    let request = file.telling();
    let len = request.encoded_len();
    records.reserve(HEAD + len);
    records.extend(generation.to_le_bytes());
    records.extend((len as u32).to_le_bytes());
    let head = records.len();
    records.extend([0; 4]);
    request.encode(records).expect("a vector grows");
    let sum = checksum(generation, &records[head + 4..]);
    records[head..head + 4].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(generation: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), payload)
}

/// The generation and the whole records of it.
fn read(mut bytes: &[u8]) -> (u32, Vec<CommitReq>) {
    let (mut first, mut found) = (None, Vec::new());
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| head[at + n]));
        let (generation, len, sum) = (number(0), number(4) as usize, number(8));
        if *first.get_or_insert(generation) != generation || len > rest.len() {
            break;
        }
        let (payload, behind) = rest.split_at(len);
        match CommitReq::decode(payload) {
            Ok(request) if checksum(generation, payload) == sum => {
                found.retain(|earlier: &CommitReq| earlier.ino != request.ino);
                found.push(request);
            }
            _ => break,
        }
        bytes = behind;
    }
    (first.unwrap_or(0), found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn left(path: &Path) -> Vec<u64> {
        Journal::open(path).unwrap().1.into_iter().map(|request| request.ino).collect()
    }

    #[test]
    fn deferral_journal_has_those_since_all_were_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deferred");
        let (mut journal, none) = Journal::open(&path).unwrap();
        assert!(none.is_empty());
        journal.add(&file(1, 10), true).unwrap();
        journal.add(&file(2, 10), false).unwrap();
        journal.add(&file(3, 10), false).unwrap();
        assert_eq!(left(&path), [1, 2, 3]);
        journal.add(&file(2, 20), false).unwrap();
        assert_eq!(left(&path), [1, 3, 2], "the later record of a file counts");
        assert_eq!(Journal::open(&path).unwrap().1[2].create.as_ref().unwrap().dir, 20);
        journal.add(&file(4, 10), true).unwrap();
        assert_eq!(left(&path), [4], "records of before lie behind it");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.add(&file(5, 10), true).unwrap();
        assert_eq!(left(&path), [5]);
        journal.set([].iter()).unwrap();
        assert!(left(&path).is_empty());
    }

    #[test]
    fn deferral_journal_torn_at_every_byte_keeps_what_came_before() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deferred");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.add(&file(1, 10), true).unwrap();
        let one = journal.end;
        journal.add(&file(2, 10), false).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = usize::from(cut as u64 >= one) + usize::from(cut == bytes.len());
            assert_eq!(left(&path).len(), whole, "cut at {cut}");
            if cut < bytes.len() {
                let mut wrong = bytes.clone();
                wrong[cut] ^= 1;
                std::fs::write(&path, &wrong).unwrap();
                assert!(left(&path).len() < 2, "wrong at {cut}");
            }
        }
    }
}
