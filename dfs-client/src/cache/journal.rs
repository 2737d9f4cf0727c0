//! The journal of unsaved work on one file: which bytes of the working file are not committed yet.
//!
//! A record is appended before the bytes go to the working file, without a flush: it survives the
//! death of the daemon, not that of the machine (the header says which boot it belongs to). Only
//! the last record can describe a write that did not happen. Such a record carries the checksum of
//! its bytes, and is believed only if they are in the working file.
//!
//! A working file that is in memory only has its unsaved bytes here, behind the records of their
//! writes, until it is on disk.
//!
//! The checksum of a record depends on the header, so what an earlier journal in the same file has
//! left behind the end is never taken for a record.

mod record;

pub use record::Record;

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

const MAGIC: &[u8; 8] = b"dfsjrnl2";
/// A journal of before records had a salt and bytes behind them.
const MAGIC_1: &[u8; 8] = b"dfsjrnl1";
/// Magic and length of the header's body.
const PREFIX: usize = 12;
/// Fixed part of the header's body; the path follows.
const BODY_MIN: usize = 8 * 5 + 4 + 4 + 16 * 3;
/// Longest header body that is believed.
const BODY_MAX: usize = 64 * 1024;

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

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Of the header, for the checksums of the records.
    salt: u32,
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
    /// All whole records, each with the bytes behind it.
    records: Vec<(Record, Vec<u8>)>,
    salt: u32,
    /// Where the last of them begins, and where it ends.
    before: u64,
    end: u64,
    path: PathBuf,
}

impl Journal {
    /// Starts a journal in a file without work, with its first records; `bytes` stand behind the last
    /// one. A crash in between leaves no whole header, and so no work.
    pub fn start(
        path: PathBuf,
        file: File,
        header: &Header,
        first: &[Record],
        bytes: &[u8],
    ) -> Result<Journal> {
        let (mut all, salt) = header.encode();
        let before = write_records(&mut all, salt, first, bytes);
        if let Err(e) = file.write_all_at(&all, 0) {
            // What is left has no whole record.
            let _ = disk::remove(&path);
            return Err(io_error("write", &path, &e));
        }
        let unconfirmed = matches!(first.last(), Some(Record::Write(..)));
        let len = all.len() as u64;
        Ok(Journal { file, path, salt, len, before: before as u64, unconfirmed })
    }

    /// Starts a journal, replacing an older one in one step.
    pub fn create(path: &Path, header: &Header, records: &[Record]) -> Result<Journal> {
        let (mut all, salt) = header.encode();
        write_records(&mut all, salt, records, &[]);
        disk::replace(path, &all)?;
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|e| io_error("open", path, &e))?;
        let len = all.len() as u64;
        Ok(Journal { file, path: path.to_owned(), salt, len, before: len, unconfirmed: false })
    }

    /// Bytes it takes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends records; `bytes` stand behind the last one. On failure the journal is as before.
    pub fn append(&mut self, records: &[Record], bytes: &[u8]) -> Result<()> {
        let Some(last) = records.last() else { return Ok(()) };
        let mut all = Vec::with_capacity(records.len() * record::LEN + bytes.len());
        let before = write_records(&mut all, self.salt, records, bytes);
        if let Err(e) = self.file.write_all_at(&all, self.len) {
            // A torn tail is ignored anyway; cutting it only keeps the file tidy.
            let _ = self.file.set_len(self.len);
            return Err(io_error("append to", &self.path, &e));
        }
        self.before = self.len + before as u64;
        self.len += all.len() as u64;
        self.unconfirmed = matches!(last, Record::Write(..));
        Ok(())
    }

    /// Says that the last write happened, because its bytes are about to change again.
    pub fn confirm(&mut self) -> Result<()> {
        if self.unconfirmed { self.append(&[Record::Done], &[]) } else { Ok(()) }
    }

    /// Takes the last record back, which has no bytes behind it: what it announced failed. It is
    /// overwritten and not cut off, because the record before it must not be in doubt again: bytes of
    /// it may have been changed.
    pub fn undo(&mut self) -> Result<()> {
        let done = Record::Done.encode(self.salt);
        self.file
            .write_all_at(&done, self.before)
            .map_err(|e| io_error("take back a record of", &self.path, &e))?;
        self.unconfirmed = false;
        Ok(())
    }

    /// The work is saved or given up: the file, its name and its length.
    pub fn end(self) -> (PathBuf, File, u64) {
        (self.path, self.file, self.len)
    }
}

/// Makes a file hold no work, whatever else is in it.
pub fn void(file: &File) -> io::Result<()> {
    file.write_all_at(&[0; MAGIC.len()], 0)
}

/// Adds records to `all`, with `bytes` behind the last one. Answers where that begins.
fn write_records(all: &mut Vec<u8>, salt: u32, records: &[Record], bytes: &[u8]) -> usize {
    let mut last = all.len();
    all.reserve(records.len() * record::LEN + bytes.len());
    for record in records {
        last = all.len();
        all.extend(record.encode(salt));
    }
    all.extend(bytes);
    last
}

impl Found {
    /// Reads a journal; none if there is no whole header, and so no work.
    pub fn read(path: &Path) -> Result<Option<Found>> {
        let all = match std::fs::read(path) {
            Ok(all) => all,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("read", path, &e)),
        };
        let Some((header, salt, start)) = Header::decode(&all) else { return Ok(None) };
        let (mut records, mut before, mut end) = (Vec::new(), start, start);
        while let Some((record, bytes)) = Record::read(&all[end..], salt) {
            before = end;
            end += record::LEN + bytes.len();
            records.push((record, bytes.to_vec()));
        }
        let (before, end) = (before as u64, end as u64);
        Ok(Some(Found { header, records, salt, before, end, path: path.to_owned() }))
    }

    /// Whether the work was given up: the working file is another one than it was done on.
    pub fn is_void(&self, working: &Metadata) -> bool {
        let last = self.records.last();
        matches!(last, Some((Record::Abandon(number), _)) if *number != working.ino())
    }

    /// Whether the working file was in memory only, so that all unsaved bytes are here.
    pub fn has_its_bytes(&self) -> bool {
        let is = |wanted: Record| self.records.iter().any(|(record, _)| *record == wanted);
        is(Record::InMemory) && !is(Record::Stored)
    }

    /// Applies the work to the clean content in `map`, puts the bytes that are here into the working
    /// file, checks the last record against that, and opens the journal to go on behind the last
    /// record that holds.
    pub fn resume(&self, map: &mut FileMap, working: &File) -> Result<Journal> {
        let err = |e: io::Error| io_error("open", &self.path, &e);
        let file = OpenOptions::new().write(true).open(&self.path).map_err(err)?;
        file.set_len(self.end).map_err(err)?;
        let mut journal = Journal {
            file,
            path: self.path.clone(),
            salt: self.salt,
            len: self.end,
            before: self.before,
            unconfirmed: true,
        };
        if self.has_its_bytes() {
            self.store(working)?;
        }
        let Some(((last, _), certain)) = self.records.split_last() else { return Ok(journal) };
        certain.iter().for_each(|(record, _)| record.apply(map));
        match *last {
            Record::Write(range, crc) if !self.happened(range, crc, working)? => {
                map.forget(range);
                journal.undo()?;
            }
            last => last.apply(map),
        }
        for (record, _) in &self.records {
            if let Record::Kept(range, crc) = *record
                && map.may_keep(range)
                && self.happened(range, crc, working)?
            {
                map.kept(Known { range, crc });
            }
        }
        if self.has_its_bytes() {
            journal.append(&[Record::Stored], &[])?;
        }
        Ok(journal)
    }

    fn store(&self, working: &File) -> Result<()> {
        for (record, bytes) in &self.records {
            if let Record::Bytes(range, _) = record {
                let written = working.write_all_at(bytes, range.start);
                written.map_err(|e| io_error("put back the work of", &self.path, &e))?;
            }
        }
        Ok(())
    }

    fn happened(&self, range: Range, crc: u32, working: &File) -> Result<bool> {
        let mut bytes = Vec::new();
        read_zero_filled(working, range, &mut bytes)
            .map_err(|e| io_error("check the work of", &self.path, &e))?;
        Ok(crc32c::crc32c(&bytes) == crc)
    }
}

impl Header {
    /// With the salt of the records' checksums.
    fn encode(&self) -> (Vec<u8>, u32) {
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
        let sum = crc32c::crc32c(&bytes);
        bytes.extend(sum.to_le_bytes());
        (bytes, sum)
    }

    /// The header, the salt of the records' checksums, and where it ends.
    fn decode(bytes: &[u8]) -> Option<(Header, u32, usize)> {
        let mut prefix = Input(bytes);
        let magic = prefix.take::<8>()?;
        if magic != MAGIC && magic != MAGIC_1 {
            return None;
        }
        let body_len = prefix.u32()? as usize;
        let end = PREFIX + body_len;
        if !(BODY_MIN..=BODY_MAX).contains(&body_len) || bytes.len() < end + 4 {
            return None;
        }
        let sum = crc32c::crc32c(&bytes[..end]);
        if Input(&bytes[end..]).u32()? != sum {
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
        let salt = if magic == MAGIC { sum } else { 0 };
        Some((header, salt, end + 4))
    }
}

/// Bytes that are read from the front.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(|b| u32::from_le_bytes(*b))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
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
