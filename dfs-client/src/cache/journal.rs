//! The journal of unsaved work on one file: which bytes of the working file are not committed yet.
//!
//! A record is appended before the bytes go to the working file, without a flush: it survives the
//! death of the daemon, not that of the machine (the header says which boot it belongs to). Only
//! the last record can describe a write that did not happen. Such a record carries the checksum of
//! its bytes, and is believed only if they are in the working file.

use super::disk::{self, io_error, read_zero_filled};
use super::map::FileMap;
use super::sums::Known;
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::{Fence, FsError, Ino, Result};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"dfsjrnl1";
/// Magic and length of the header's body.
const PREFIX: usize = 12;
/// Fixed part of the header's body; the path follows.
const BODY_MIN: usize = 8 * 5 + 4 + 4 + 16 * 3;
/// Longest header body that is believed.
const BODY_MAX: usize = 64 * 1024;
/// Kind, two numbers, checksum of the data, checksum of the record.
const RECORD: usize = 1 + 8 + 8 + 4 + 4;

/// Who works on a file: set when a write lease is obtained, kept for `Rescue` after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Fence of the write lease.
    pub fence: Fence,
    /// Path of the file when the lease was given, as far as it was known, as bytes.
    pub path: Vec<u8>,
    /// User who opened it.
    pub uid: u32,
}

/// What a journal says before its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file.
    pub ino: Ino,
    /// Version the work builds on.
    pub base_ver: u64,
    /// Size of that version.
    pub base_size: u64,
    /// Who works.
    pub owner: Owner,
    /// When the work began.
    pub time: Timestamp,
    /// The mount (`EstablishReq.uuid`).
    pub uuid: [u8; 16],
    /// The daemon (`EstablishReq.verifier`).
    pub verifier: [u8; 16],
    /// The machine's boot; after another one unflushed bytes may be gone.
    pub boot: [u8; 16],
}

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
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    len: u64,
    /// Length before the last record.
    before: u64,
    /// The last record is a write that nothing after it confirms.
    unconfirmed: bool,
}

/// A journal as it was found.
#[derive(Debug)]
pub struct Found {
    /// Its header.
    pub header: Header,
    /// All whole records.
    records: Vec<Record>,
    /// Where the records begin.
    start: u64,
    path: PathBuf,
}

impl Journal {
    /// Starts a journal in an empty file with its first records. A crash in between leaves no whole
    /// header, and so no work.
    pub fn start(path: PathBuf, file: File, header: &Header, first: &[Record]) -> Result<Journal> {
        let mut bytes = header.encode();
        first.iter().for_each(|record| bytes.extend(record.encode()));
        let before = (bytes.len() - RECORD.min(first.len() * RECORD)) as u64;
        if let Err(e) = file.write_all_at(&bytes, 0) {
            // What is left has no whole record.
            let _ = disk::remove(&path);
            return Err(io_error("write", &path, &e));
        }
        let unconfirmed = matches!(first.last(), Some(Record::Write(..)));
        Ok(Journal { file, path, len: bytes.len() as u64, before, unconfirmed })
    }

    /// Starts a journal, replacing an older one in one step.
    pub fn create(path: &Path, header: &Header, records: &[Record]) -> Result<Journal> {
        let mut bytes = header.encode();
        records.iter().for_each(|record| bytes.extend(record.encode()));
        disk::replace(path, &bytes)?;
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|e| io_error("open", path, &e))?;
        let len = bytes.len() as u64;
        Ok(Journal { file, path: path.to_owned(), len, before: len, unconfirmed: false })
    }

    /// Appends records; on failure the journal is as before.
    pub fn append(&mut self, records: &[Record]) -> Result<()> {
        let Some(last) = records.last() else { return Ok(()) };
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.encode()).collect();
        if let Err(e) = self.file.write_all_at(&bytes, self.len) {
            // A torn tail is ignored anyway; cutting it only keeps the file tidy.
            let _ = self.file.set_len(self.len);
            return Err(io_error("append to", &self.path, &e));
        }
        self.len += bytes.len() as u64;
        self.before = self.len - RECORD as u64;
        self.unconfirmed = matches!(last, Record::Write(..));
        Ok(())
    }

    /// Says that the last write happened, because its bytes are about to change again.
    pub fn confirm(&mut self) -> Result<()> {
        if self.unconfirmed { self.append(&[Record::Done]) } else { Ok(()) }
    }

    /// Takes the last record back: what it announced failed. It is overwritten and not cut off,
    /// because the record before it must not be in doubt again: bytes of it may have been changed.
    pub fn undo(&mut self) -> Result<()> {
        let done = Record::Done.encode();
        self.file
            .write_all_at(&done, self.before)
            .map_err(|e| io_error("take back a record of", &self.path, &e))?;
        self.unconfirmed = false;
        Ok(())
    }

    /// The work is saved or given up: the file and its name.
    pub fn end(self) -> (PathBuf, File) {
        (self.path, self.file)
    }
}

impl Found {
    /// Reads a journal; none if there is no whole header, and so no work.
    pub fn read(path: &Path) -> Result<Option<Found>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("read", path, &e)),
        };
        let Some((header, start)) = Header::decode(&bytes) else { return Ok(None) };
        let stored = bytes[start..].chunks_exact(RECORD);
        let records = stored.map_while(Record::decode).collect();
        Ok(Some(Found { header, records, start: start as u64, path: path.to_owned() }))
    }

    /// Whether the work was given up: the working file is another one than it was done on.
    pub fn is_void(&self, working: &Metadata) -> bool {
        let last = self.records.last();
        matches!(last, Some(Record::Abandon(number)) if *number != working.ino())
    }

    /// Applies the work to the clean content in `map`, checks the last record against the working
    /// file, and opens the journal to go on behind the last record that holds.
    pub fn resume(&self, map: &mut FileMap, working: &File) -> Result<Journal> {
        let err = |e: io::Error| io_error("open", &self.path, &e);
        let file = OpenOptions::new().write(true).open(&self.path).map_err(err)?;
        let len = self.start + (self.records.len() * RECORD) as u64;
        let before = len.saturating_sub(RECORD as u64).max(self.start);
        file.set_len(len).map_err(err)?;
        let mut journal = Journal { file, path: self.path.clone(), len, before, unconfirmed: true };
        let Some((&last, certain)) = self.records.split_last() else { return Ok(journal) };
        certain.iter().for_each(|record| record.apply(map));
        match last {
            Record::Write(range, crc) if !self.happened(range, crc, working)? => {
                map.forget(range);
                journal.undo()?;
            }
            _ => last.apply(map),
        }
        for record in &self.records {
            if let Record::Kept(range, crc) = *record
                && map.may_keep(range)
                && self.happened(range, crc, working)?
            {
                map.kept(Known { range, crc });
            }
        }
        Ok(journal)
    }

    fn happened(&self, range: Range, crc: u32, working: &File) -> Result<bool> {
        let mut bytes = Vec::new();
        read_zero_filled(working, range, &mut bytes)
            .map_err(|e| io_error("check the work of", &self.path, &e))?;
        Ok(crc32c::crc32c(&bytes) == crc)
    }
}

impl Record {
    /// What the record does to the state of the file, when nobody can verify the bytes around it.
    fn apply(self, map: &mut FileMap) {
        match self {
            Record::Write(range, _) | Record::Unsaved(range) => {
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
            Record::Done | Record::Kept(..) | Record::Abandon(_) => {}
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

    fn encode(self) -> [u8; RECORD] {
        let (kind, a, b, crc) = match self {
            Record::Write(r, crc) => (1, r.start, r.end, crc),
            Record::Unsaved(r) => (2, r.start, r.end, 0),
            Record::Resize(size) => (3, size, 0, 0),
            Record::Zero(r) => (4, r.start, r.end, 0),
            Record::Done => (5, 0, 0, 0),
            Record::Abandon(number) => (6, number, 0, 0),
            Record::Kept(r, crc) => (7, r.start, r.end, crc),
        };
        let mut bytes = [0; RECORD];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&u64::to_le_bytes(a));
        bytes[9..17].copy_from_slice(&u64::to_le_bytes(b));
        bytes[17..21].copy_from_slice(&u32::to_le_bytes(crc));
        let sum = crc32c::crc32c(&bytes[..21]);
        bytes[21..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Record> {
        let mut input = Input(bytes);
        let (kind, a, b, crc) = (input.take::<1>()?[0], input.u64()?, input.u64()?, input.u32()?);
        let range = Range::new(a, b);
        if input.u32()? != crc32c::crc32c(&bytes[..21]) {
            return None;
        }
        match kind {
            1 => Some(Record::Write(range, crc)),
            2 => Some(Record::Unsaved(range)),
            3 => Some(Record::Resize(a)),
            4 => Some(Record::Zero(range)),
            5 => Some(Record::Done),
            6 => Some(Record::Abandon(a)),
            7 => Some(Record::Kept(range, crc)),
            _ => None,
        }
    }
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let path = &self.owner.path[..self.owner.path.len().min(BODY_MAX - BODY_MIN)];
        let mut bytes = Vec::with_capacity(PREFIX + BODY_MIN + path.len() + 4);
        bytes.extend(MAGIC);
        bytes.extend(((BODY_MIN + path.len()) as u32).to_le_bytes());
        for number in [self.ino.0, self.base_ver, self.base_size, self.owner.fence.0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.time.seconds.to_le_bytes());
        bytes.extend(self.time.nanos.to_le_bytes());
        bytes.extend(self.owner.uid.to_le_bytes());
        for id in [&self.uuid, &self.verifier, &self.boot] {
            bytes.extend(id);
        }
        bytes.extend(path);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The header and where it ends.
    fn decode(bytes: &[u8]) -> Option<(Header, usize)> {
        let mut prefix = Input(bytes);
        if prefix.take::<8>()? != MAGIC {
            return None;
        }
        let body_len = prefix.u32()? as usize;
        let end = PREFIX + body_len;
        if !(BODY_MIN..=BODY_MAX).contains(&body_len) || bytes.len() < end + 4 {
            return None;
        }
        if Input(&bytes[end..]).u32()? != crc32c::crc32c(&bytes[..end]) {
            return None;
        }
        let mut body = Input(&bytes[PREFIX..end]);
        let (ino, base_ver, base_size) = (Ino(body.u64()?), body.u64()?, body.u64()?);
        let fence = Fence(body.u64()?);
        let time = Timestamp { seconds: body.u64()? as i64, nanos: body.u32()? };
        let uid = body.u32()?;
        let (uuid, verifier, boot) = (*body.take()?, *body.take()?, *body.take()?);
        let owner = Owner { fence, path: body.0.to_vec(), uid };
        let header = Header { ino, base_ver, base_size, owner, time, uuid, verifier, boot };
        Some((header, end + 4))
    }
}

/// Bytes that are read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(|b| u32::from_le_bytes(*b))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(|b| u64::from_le_bytes(*b))
    }
}

/// Work that was found when the cache was opened, for `Rescue` or the recovery area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsaved {
    /// What the journal says about its origin.
    pub header: Header,
    /// Size of the file with the work.
    pub size: u64,
    /// The base's content behind this is gone.
    pub min_size: u64,
    /// Unsaved bytes.
    pub ranges: Vec<Range>,
    /// Whether the machine was not restarted since. If it was, bytes that were never flushed may be
    /// zero in the working file: fit for the recovery area, not for a commit that nobody looks at.
    pub same_boot: bool,
}

impl Unsaved {
    /// The work in `map`.
    pub fn of(header: Header, map: &FileMap, boot: [u8; 16]) -> Unsaved {
        let ranges = map.dirty.iter().collect();
        let same_boot = header.boot == boot;
        Unsaved { header, size: map.size, min_size: map.min_size, ranges, same_boot }
    }
}

/// Failure of work on a file that is gone from the cache.
pub fn gone(ino: Ino) -> FsError {
    FsError::new(dfs_core::Code::Stale, format!("inode {ino} was removed from the cache"))
}
