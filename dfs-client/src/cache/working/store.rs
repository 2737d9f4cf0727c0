//! Where the bytes of a working file are: in a file of the cache, or, for a small file, in memory.
//!
//! To make a file takes a file system longer than to fetch what shall go into it, or to write it. What
//! is clean goes into the index instead, once a second; until then a crash loses what can be fetched
//! again. What is unsaved stands in the journal, whole. A file is made as soon as there is too much
//! for either.

use super::{Shared, State, WorkingFile, open_or_make};
use crate::cache::disk::{self, DISK_BLOCK, WRITE_STEP, io_error};
use crate::cache::journal::Record;
use crate::cache::map::FileMap;
use crate::cache::persist::HELD_MANY;
use dfs_core::Result;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::Range;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

/// Files up to this size are in memory.
pub const SMALL_MAX: u64 = CHECKSUM_BLOCK;
/// Bytes of all files together that may be in memory.
pub const HELD_MAX: u64 = 32 * 1024 * 1024;
/// A journal with the bytes of its writes does not grow from this length on.
const JOURNAL_MAX: u64 = 256 * 1024;

/// From so many bytes on it pays to read into memory that was not cleared.
const LARGE: u64 = CHECKSUM_BLOCK;

/// See the module.
#[derive(Debug)]
pub enum Store {
    /// A file of the cache.
    Disk(File),
    /// There is no file. Bytes behind the end are zero.
    Memory(Vec<u8>),
}

impl Store {
    /// The file on disk, if there is one.
    pub fn on_disk(&self) -> Option<&File> {
        match self {
            Store::Disk(file) => Some(file),
            Store::Memory(_) => None,
        }
    }

    /// Reads `range` into `buf`, replacing what was there; bytes behind the end are zero.
    pub fn read(&self, range: Range, buf: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Store::Disk(file) if range.len() < LARGE => disk::read_zero_filled(file, range, buf),
            Store::Disk(file) => {
                buf.clear();
                disk::append_zero_filled(file, range, buf)
            }
            Store::Memory(_) => {
                buf.clear();
                self.append(range, buf)
            }
        }
    }

    /// Appends the bytes of `range` to `buf`; those behind the end are zero.
    pub fn append(&self, range: Range, buf: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Store::Disk(file) => disk::append_zero_filled(file, range, buf),
            Store::Memory(bytes) => {
                let (end, behind) = (bytes.len() as u64, buf.len() + range.len() as usize);
                let part = range.start.min(end) as usize..range.end.min(end) as usize;
                buf.reserve(range.len() as usize);
                buf.extend_from_slice(&bytes[part]);
                buf.resize(behind, 0);
                Ok(())
            }
        }
    }

    /// Writes all of `data` of a program at `off`.
    pub fn write_all_at(&mut self, data: &[u8], off: u64) -> io::Result<()> {
        self.write_pieces(&[data], off, WRITE_STEP)
    }

    /// Writes all of `pieces` that were fetched, one behind the other, from `off` on, up to each
    /// multiple of `step` at once.
    pub fn fill_all_at(&mut self, pieces: &[&[u8]], off: u64, step: u64) -> io::Result<()> {
        self.write_pieces(pieces, off, step)
    }

    fn write_pieces(&mut self, pieces: &[&[u8]], off: u64, step: u64) -> io::Result<()> {
        match self {
            Store::Disk(file) => disk::write_in_steps(file, off, pieces, step),
            Store::Memory(bytes) => {
                let mut start = off as usize;
                bytes.resize(bytes.len().max(start), 0);
                for data in pieces {
                    let (over, behind) = data.split_at(data.len().min(bytes.len() - start));
                    bytes[start..start + over.len()].copy_from_slice(over);
                    bytes.extend_from_slice(behind);
                    start += data.len();
                }
                Ok(())
            }
        }
    }

    /// Sets the length; bytes behind the old end are zero.
    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        match self {
            Store::Disk(file) => file.set_len(len),
            Store::Memory(bytes) => {
                bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                Ok(())
            }
        }
    }

    /// Gives the room of `range` back, in which nobody is interested any more.
    pub fn punch(&mut self, range: Range) -> io::Result<()> {
        match self {
            Store::Disk(file) => disk::punch(file, range),
            Store::Memory(bytes) => {
                let len = bytes.len() as u64;
                if range.end >= len {
                    bytes.truncate(range.start.min(len) as usize);
                } else {
                    bytes[range.start as usize..range.end as usize].fill(0);
                }
                Ok(())
            }
        }
    }

    /// Bytes it takes on disk, or will take.
    pub fn allocated(&self) -> io::Result<u64> {
        match self {
            Store::Disk(file) => disk::allocated(file),
            Store::Memory(bytes) => Ok((bytes.len() as u64).next_multiple_of(DISK_BLOCK)),
        }
    }
}

impl Shared {
    /// Bytes of all files that are in memory.
    pub(in crate::cache) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more may wait in memory for their file.
    pub(super) fn may_hold(&self, bytes: u64) -> bool {
        self.held().saturating_add(bytes) <= HELD_MAX
    }
}

impl WorkingFile {
    /// So many bytes are in memory only.
    pub(super) fn hold(&self, now: u64) {
        let before = self.held_bytes.swap(now, Ordering::Relaxed);
        let more = now.wrapping_sub(before);
        let all = self.shared.held.fetch_add(more, Ordering::Relaxed);
        if all < HELD_MANY && now > before && all + more >= HELD_MANY {
            self.shared.full.notify_one();
        }
    }

    /// Forgets the bytes in memory, if the index has them: whoever wants them brings them back.
    pub(in crate::cache) fn leave_to_index(&self) {
        let mut state = self.look();
        let in_use = state.file.on_disk().is_some() || state.map.has_work();
        let known = !state.row_changed && !state.gone && !state.is_blank();
        if in_use || state.in_index || !known {
            return;
        }
        state.map = FileMap::new(state.map.base_ver, state.map.base_size);
        state.file = Store::Memory(Vec::new());
        state.in_index = true;
        self.hold(0);
    }

    /// Writes what is in memory only into the file on disk, which is made for it.
    ///
    /// Errors: those of the cache's file system; the bytes stay in memory.
    pub fn store(&self) -> Result<()> {
        self.to_disk(&mut self.lock())
    }

    pub(super) fn to_disk(&self, state: &mut State) -> Result<()> {
        let Store::Memory(bytes) = &state.file else { return Ok(()) };
        // One that is gone keeps no name: it may be another's by now.
        let path = match state.gone {
            true => {
                self.shared.folder.nameless(self.shared.nameless.fetch_add(1, Ordering::Relaxed))
            }
            false => state.path.clone(),
        };
        let file = open_or_make(&self.shared, self.ino, &path, true)?;
        let filled = fill(&file, bytes, state.map.size).map_err(|e| io_error("fill", &path, &e));
        let journal = state.journal.as_mut();
        let stored = filled.and_then(|()| {
            journal.map_or(Ok(()), |journal| journal.append(&[Record::Stored], &[]))
        });
        if state.gone || stored.is_err() {
            disk::remove(&path)?;
        }
        stored?;
        self.put(state, file);
        state.row_changed = true;
        self.account(state)
    }

    /// Whether the content is in no file.
    pub(in crate::cache) fn is_kept(&self) -> bool {
        self.look().file.on_disk().is_none()
    }

    /// The bytes are in `file` from now on.
    pub(super) fn put(&self, state: &mut State, file: File) {
        if state.file.on_disk().is_none() {
            self.shared.open.fetch_add(1, Ordering::Relaxed);
        }
        state.file = Store::Disk(file);
    }

    /// What is in memory only goes to disk if it is to be larger than that may be.
    pub(super) fn fit(&self, state: &mut State, size: u64) -> Result<()> {
        if size > SMALL_MAX { self.to_disk(state) } else { Ok(()) }
    }

    /// Whether `range` can be written in memory; if not, the file is on disk now.
    pub(super) fn takes_in_memory(&self, state: &mut State, range: Range) -> Result<bool> {
        let journal = state.journal.as_ref().map_or(0, |journal| journal.len());
        let fits = range.end <= SMALL_MAX && journal < JOURNAL_MAX;
        // Clean bytes beside the new ones are in the index, if not yet in a journal's work.
        let known = journal > 0 || !state.row_changed || state.map.present.is_empty();
        if !fits || !known || !self.shared.may_hold(range.len()) {
            self.to_disk(state)?;
        }
        Ok(state.file.on_disk().is_none())
    }

    /// Whether there is nothing to know of it: no content is here, and nothing is on disk.
    pub(in crate::cache) fn is_blank(&self) -> bool {
        self.look().is_blank()
    }
}

fn fill(file: &File, bytes: &[u8], size: u64) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    if size != bytes.len() as u64 { file.set_len(size) } else { Ok(()) }
}

impl Drop for WorkingFile {
    fn drop(&mut self) {
        self.hold(0);
        if self.look().file.on_disk().is_some() {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl State {
    pub(super) fn is_blank(&self) -> bool {
        let nothing = self.map.present.is_empty() && !self.map.has_work();
        nothing && self.file.on_disk().is_none() && !self.in_index
    }
}
