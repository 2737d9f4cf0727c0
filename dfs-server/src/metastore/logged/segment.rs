//! The log: two files, written by turns. A file holds the commits of one generation; it is begun anew
//! when all that it held is durable in the store.
//!
//! ```text
//! file    header record*
//! header  "dfs log\1" generation:u64 crc32c(the 16 bytes before):u32
//! record  length:u32 crc32c(generation, payload):u32 payload
//! ```
//!
//! Numbers are little-endian; no payload is empty. Files are not cut when they are begun anew: what an
//! earlier generation left behind the last record does not fit the checksum, which covers the
//! generation.
//!
//! Whole blocks are written, zeros behind the last record. A record that is to be durable at once goes
//! past the page cache, which is one step instead of two (`docs/design/0036`).

use crate::disk::{self, Aligned, BLOCK};
use dfs_core::{Code, FsError, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"dfs log\x01";
const HEADER: usize = 20;
const RECORD: usize = 8;
/// Memory for a record that is kept for the next one.
const TAIL_MAX: usize = 1 << 20;

/// Both files.
pub(super) struct Log {
    paths: [PathBuf; 2],
    files: [File; 2],
    /// The same files past the page cache, what is written is durable; none where that cannot be done.
    direct: [Option<File>; 2],
    /// How long they are: a direct write does not make them longer.
    rooms: [u64; 2],
    /// Which of them is written, and from where on.
    present: usize,
    end: u64,
    generation: u64,
    /// Begins with the block that the end is in.
    tail: Aligned,
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
        let make = |n: usize| {
            let failed = |e| disk::failed(format_args!("make {}", paths[n].display()), &e);
            make_room(&files[n], room).map_err(failed)
        };
        let rooms = [make(0)?, make(1)?];
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
        let direct = [0, 1].map(|n: usize| disk::open_durable(&paths[n]).ok());
        let tail = Aligned::new(BLOCK);
        let (end, unsynced) = (0, false);
        let log = Log { paths, files, direct, rooms, present, end, generation, tail, unsynced };
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
        let mut begin = Aligned::new(BLOCK);
        begin[..8].copy_from_slice(&MAGIC);
        begin[8..16].copy_from_slice(&generation.to_le_bytes());
        let sum = crc32c::crc32c(&begin[..16]);
        begin[16..HEADER].copy_from_slice(&sum.to_le_bytes());
        let other = 1 - self.present;
        let begun = self.files[other].write_all_at(&begin, 0);
        begun.map_err(|e| self.failed("begin", other, &e))?;
        (self.present, self.end, self.tail) = (other, HEADER as u64, begin);
        (self.generation, self.unsynced) = (generation, true);
        Ok(())
    }

    /// Appends a record. After a failure it is not there. `durable`: it will be [synced](Log::sync) at
    /// once, which then may have nothing left to do.
    pub(super) fn append(&mut self, payload: &[u8], durable: bool) -> Result<()> {
        let too_long = |_| FsError::new(Code::Invalid, "a commit of more than 4 GiB");
        let len = u32::try_from(payload.len()).map_err(too_long)?;
        let sum = checksum(self.generation, payload);
        let old = (self.end % BLOCK as u64) as usize;
        let new = old + RECORD + payload.len();
        let whole = new.next_multiple_of(BLOCK);
        if whole > self.tail.len() {
            self.tail = Aligned::beginning_with(&self.tail[..old], whole);
        }
        let record = &mut self.tail[old..whole];
        record[..4].copy_from_slice(&len.to_le_bytes());
        record[4..RECORD].copy_from_slice(&sum.to_le_bytes());
        record[RECORD..new - old].copy_from_slice(payload);
        record[new - old..].fill(0);
        // A part of it that is whole by its checksum cannot be: its length says so.
        self.write(whole, durable)?;
        let last = new - new % BLOCK;
        self.tail.copy_within(last..new, 0);
        if self.tail.len() > TAIL_MAX {
            self.tail = Aligned::beginning_with(&self.tail[..BLOCK], BLOCK);
        }
        self.end += (new - old) as u64;
        Ok(())
    }

    /// Writes so much of `tail` in its place, past the page cache if that makes it durable.
    fn write(&mut self, len: usize, durable: bool) -> Result<()> {
        let (file, start) = (self.present, self.end - self.end % BLOCK as u64);
        let blocks = &self.tail[..len];
        // What the page cache has comes first.
        if durable
            && !self.unsynced
            && start + len as u64 <= self.rooms[file]
            && let Some(direct) = &self.direct[file]
        {
            match direct.write_all_at(blocks, start) {
                Ok(()) => return Ok(()),
                // It cannot be done here after all, or the other way has the same error.
                Err(error) => {
                    let path = self.paths[file].display();
                    tracing::warn!(%path, %error, "written through the page cache from now on");
                    self.direct[file] = None;
                }
            }
        }
        let written = self.files[file].write_all_at(blocks, start);
        written.map_err(|e| self.failed("write", file, &e))?;
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
/// again. A disk that is nearly full is left alone. Answers how long the file is.
fn make_room(file: &File, room: u64) -> io::Result<u64> {
    let (start, zeros) = (file.metadata()?.len(), [0; PIECE]);
    let mut at = start;
    while at < room {
        let piece = &zeros[..(room - at).min(zeros.len() as u64) as usize];
        match file.write_all_at(piece, at) {
            Err(e) if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                return file.set_len(start).map(|()| start);
            }
            other => other?,
        }
        at += piece.len() as u64;
    }
    if at > start {
        file.sync_all()?;
    }
    Ok(at)
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
        if len == 0 || at + len > end {
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
        log.append(b"one", false).unwrap();
        log.append(b"two", false).unwrap();
        log.turn().unwrap();
        assert_eq!(reopened(temp.path()), [b"one", b"two"], "an empty generation");
        log.append(b"three", false).unwrap();
        assert_eq!(reopened(temp.path()), [&b"one"[..], b"two", b"three"]);
        log.turn().unwrap();
        assert_eq!(reopened(temp.path()), [b"three"], "the first file is begun anew");
        log.append(b"4", false).unwrap();
        assert_eq!(reopened(temp.path()), [&b"three"[..], b"4"], "behind it lies `one`");
        log.restart().unwrap();
        assert!(reopened(temp.path()).is_empty());
    }

    #[test]
    fn log_past_the_page_cache_is_the_same() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &Path| Log::open(&dir.join("m"), 1 << 18).unwrap().0;
        let (mut log, mut through) = (open(one.path()), open(two.path()));
        through.direct = [None, None];
        let can = |log: &Log| log.direct.iter().flatten().count();
        let could = can(&log);
        let mut expected = Found::new();
        for log in [&mut log, &mut through] {
            log.restart().unwrap();
        }
        // From records of some bytes to some that are longer than what is kept for them, and than the room.
        for n in 0..200u32 {
            let len = [30, 700, 4096 - RECORD, 13_000, TAIL_MAX + 5][(n % 41).min(4) as usize]
                + n as usize;
            let payload: Vec<u8> = (0..len).map(|at| (at as u32 * 31 + n) as u8).collect();
            for log in [&mut log, &mut through] {
                log.append(&payload, n % 3 != 0).unwrap();
                if n % 7 != 0 {
                    log.sync().unwrap();
                }
            }
            expected.push(payload);
        }
        assert!(reopened(one.path()) == expected && reopened(two.path()) == expected);
        let content = |log: &Log| std::fs::read(&log.paths[log.present]).unwrap();
        assert!(content(&log) == content(&through));
        assert_eq!(can(&log), could, "no such write failed");
    }

    #[test]
    fn log_that_cannot_go_past_the_page_cache_goes_through_it() {
        let temp = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(&temp.path().join("m"), 1 << 18).unwrap();
        log.restart().unwrap();
        // Refuses every write.
        log.direct = [0, 1].map(|n: usize| Some(File::open(&log.paths[n]).unwrap()));
        log.append(b"one", true).unwrap();
        assert!(log.unsynced && log.direct[log.present].is_none());
        log.sync().unwrap();
        log.append(b"two", true).unwrap();
        assert_eq!(reopened(temp.path()), [b"one", b"two"]);
    }

    #[test]
    fn log_torn_at_every_byte_keeps_what_came_before() {
        let temp = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(&temp.path().join("m"), 100).unwrap();
        log.restart().unwrap();
        let mut ends = vec![log.len()];
        for n in 0..5u8 {
            log.append(&vec![n + 1; 1 + usize::from(n) * 3], n % 2 == 0).unwrap();
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
