//! The log: two files, written by turns. A file holds the commits of one generation; it is begun anew
//! when all that it held is durable in the store.
//!
//! ```text
//! file    header record*
//! header  "dfs log\1" generation:u64 crc32c(the 16 bytes before):u32
//! record  length:u32 crc32c(generation, payload):u32 payload
//! ```
//!
//! Numbers are little-endian. Files are not cut when they are begun anew: what an earlier generation
//! left behind the last record does not fit the checksum, which covers the generation.

use crate::disk;
use dfs_core::{Code, FsError, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"dfs log\x01";
const HEADER: usize = 20;
const RECORD: usize = 8;

/// Both files.
pub(super) struct Log {
    paths: [PathBuf; 2],
    files: [File; 2],
    /// Which of them is written, and from where on.
    present: usize,
    end: u64,
    generation: u64,
    /// Something was written that may not have reached the disk.
    unsynced: bool,
}

/// What the log held when it was opened, oldest first: payloads.
pub(super) type Found = Vec<Vec<u8>>;

impl Log {
    /// Opens the log beside `base`, makes it if it is missing. Nothing is written before
    /// [`restart`](Log::restart), which must come first. Each file has so much `room` from the start.
    pub(super) fn open(base: &Path, room: u64) -> Result<(Log, Found)> {
        let paths = [".log-a", ".log-b"].map(|suffix| {
            let mut path = base.as_os_str().to_owned();
            path.push(suffix);
            PathBuf::from(path)
        });
        let open = |path: &PathBuf| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options
                .open(path)
                .map_err(|e| disk::failed(format_args!("open {}", path.display()), &e))
        };
        let files = [open(&paths[0])?, open(&paths[1])?];
        for (file, path) in files.iter().zip(&paths) {
            let failed = |e| disk::failed(format_args!("make {}", path.display()), &e);
            make_room(file, room).map_err(failed)?;
        }
        let folder = base.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
        disk::sync_folder(folder)?;
        let read = |file: &File| {
            read(file).map_err(|e| disk::failed("read the log of the metadata store", &e))
        };
        let (a, b) = (read(&files[0])?, read(&files[1])?);
        let present = usize::from(b.0 > a.0);
        let (old, new) = if present == 1 { (a, b) } else { (b, a) };
        let generation = new.0;
        let records = [old.1, new.1].concat();
        let log = Log { paths, files, present, end: 0, generation, unsynced: false };
        Ok((log, records))
    }

    /// Forgets what was found: both files are begun anew, the older one first: what an interrupted
    /// restart leaves may be brought into the store once more.
    pub(super) fn restart(&mut self) -> Result<()> {
        for _ in 0..2 {
            self.turn()?;
            self.sync()?;
        }
        Ok(())
    }

    /// Goes on in the other file, whose commits are durable in the store. The present one is synced.
    pub(super) fn turn(&mut self) -> Result<()> {
        self.sync()?;
        let generation = self.generation + 1;
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&generation.to_le_bytes());
        let sum = crc32c::crc32c(&header[..16]);
        header[16..].copy_from_slice(&sum.to_le_bytes());
        let other = 1 - self.present;
        let begun = self.files[other].write_all_at(&header, 0);
        begun.map_err(|e| self.failed("begin", other, &e))?;
        (self.present, self.end) = (other, HEADER as u64);
        (self.generation, self.unsynced) = (generation, true);
        Ok(())
    }

    /// Appends a record. After a failure it is not there.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<()> {
        let too_long = |_| FsError::new(Code::Invalid, "a commit of more than 4 GiB");
        let len = u32::try_from(payload.len()).map_err(too_long)?;
        let mut record = Vec::with_capacity(RECORD + payload.len());
        record.extend(len.to_le_bytes());
        record.extend(checksum(self.generation, payload).to_le_bytes());
        record.extend(payload);
        let written = self.files[self.present].write_all_at(&record, self.end);
        if let Err(error) = written {
            // A part of it that is whole by its checksum cannot be: its length says so.
            return Err(self.failed("write", self.present, &error));
        }
        self.end += record.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Makes everything appended survive a power loss.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.unsynced {
            let synced = self.files[self.present].sync_data();
            synced.map_err(|e| self.failed("sync", self.present, &e))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Bytes in the present file.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    fn failed(&self, what: &str, file: usize, error: &io::Error) -> FsError {
        disk::failed(format_args!("{what} {}", self.paths[file].display()), error)
    }
}

/// Written at a time: the kernel keeps the pages of such a piece together, and looks at all of them for
/// each record in one.
const PIECE: usize = 16 << 10;

/// Writes what a new file shall hold without growing: a sync of a file that grew takes half as long
/// again. A disk that is nearly full is left alone.
fn make_room(file: &File, room: u64) -> io::Result<()> {
    let (start, zeros) = (file.metadata()?.len(), [0; PIECE]);
    let mut at = start;
    while at < room {
        let piece = &zeros[..(room - at).min(zeros.len() as u64) as usize];
        match file.write_all_at(piece, at) {
            Err(e) if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                return file.set_len(start);
            }
            other => other?,
        }
        at += piece.len() as u64;
    }
    if at > start { file.sync_all() } else { Ok(()) }
}

fn checksum(generation: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), payload)
}

/// The generation of a file (0: it has none) and its records, as far as they are whole.
fn read(file: &File) -> io::Result<(u64, Found)> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok((0, Found::new())),
        other => other?,
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    if header[..8] != MAGIC || number(&header[16..]) != u64::from(crc32c::crc32c(&header[..16])) {
        return Ok((0, Found::new()));
    }
    let generation = number(&header[8..16]);
    let (mut records, mut at, end) = (Found::new(), HEADER as u64, file.metadata()?.len());
    loop {
        let mut head = [0; RECORD];
        if at + RECORD as u64 > end {
            break;
        }
        file.read_exact_at(&mut head, at)?;
        let (len, sum) = (number(&head[..4]), number(&head[4..]));
        at += RECORD as u64;
        if at + len > end {
            break;
        }
        let mut payload = vec![0; len as usize];
        file.read_exact_at(&mut payload, at)?;
        if u64::from(checksum(generation, &payload)) != sum {
            break;
        }
        records.push(payload);
        at += len;
    }
    Ok((generation, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(dir: &Path) -> Found {
        Log::open(&dir.join("m"), 100).unwrap().1
    }

    #[test]
    fn log_files_are_written_by_turns_and_read_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let (mut log, found) = Log::open(&temp.path().join("m"), 100).unwrap();
        assert!(found.is_empty());
        log.restart().unwrap();
        log.append(b"one").unwrap();
        log.append(b"two").unwrap();
        log.turn().unwrap();
        assert_eq!(reopened(temp.path()), [b"one", b"two"], "an empty generation");
        log.append(b"three").unwrap();
        assert_eq!(reopened(temp.path()), [&b"one"[..], b"two", b"three"]);
        log.turn().unwrap();
        assert_eq!(reopened(temp.path()), [b"three"], "the first file is begun anew");
        log.append(b"4").unwrap();
        assert_eq!(reopened(temp.path()), [&b"three"[..], b"4"], "behind it lies `one`");
        log.restart().unwrap();
        assert!(reopened(temp.path()).is_empty());
    }

    #[test]
    fn log_torn_at_every_byte_keeps_what_came_before() {
        let temp = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(&temp.path().join("m"), 100).unwrap();
        log.restart().unwrap();
        let mut ends = vec![log.len()];
        for n in 0..5u8 {
            log.append(&vec![n; usize::from(n) * 3]).unwrap();
            ends.push(log.len());
        }
        let path = log.paths[log.present].clone();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() as u64 >= log.len());
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut as u64).count().saturating_sub(1);
            assert_eq!(reopened(temp.path()).len(), whole, "cut at {cut}");
            if cut < bytes.len() {
                let mut wrong = bytes.clone();
                wrong[cut] ^= 1;
                std::fs::write(&path, &wrong).unwrap();
                let past = cut as u64 >= log.len();
                assert!(past || reopened(temp.path()).len() <= whole, "wrong at {cut}");
            }
        }
    }
}
