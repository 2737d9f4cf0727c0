//! Committing the work on a file, taking over newer versions, giving content up.

use super::{State, WorkingFile, busy};
use crate::cache::disk::{self, io_error};
use crate::cache::journal::Record;
use crate::cache::map::FileMap;
use dfs_core::limits::CHUNK;
use dfs_core::range::{Range, RangeSet};
use dfs_core::{Code, FsError, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What one commit uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Version the work builds on.
    pub base_ver: u64,
    /// The base's content behind this is gone; it is a hole unless `ranges` say otherwise.
    pub min_size: u64,
    /// Size of the new version.
    pub size: u64,
    /// Unsaved bytes, in order.
    pub ranges: Vec<Range>,
    /// The parts of `ranges` that are zero and can be committed as holes.
    pub holes: Vec<Range>,
    /// Parts of `ranges` that were read for an upload before and are the same now.
    pub ahead: Vec<Sent>,
    /// Which snapshot of the file this is.
    serial: u64,
}

/// Bytes that were read for an upload ahead of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub range: Range,
    /// Number of the reading, never used again for this file.
    pub id: u64,
}

/// What [`WorkingFile::link_out`] put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PutAside {
    /// Version the work builds on.
    pub base_ver: u64,
    /// Size with the work.
    pub size: u64,
    /// Unsaved bytes.
    pub dirty: Vec<Range>,
    /// All bytes that were local; the others read as zeros.
    pub local: Vec<Range>,
}

impl PutAside {
    fn of(map: &FileMap) -> PutAside {
        PutAside {
            base_ver: map.base_ver,
            size: map.size,
            dirty: map.dirty.iter().collect(),
            local: map.present.iter().collect(),
        }
    }
}

impl WorkingFile {
    /// What is to be committed now. A newer snapshot makes the older ones void.
    ///
    /// Errors: why a write that was answered cannot be carried out.
    pub fn dirty_snapshot(&self) -> Result<Snapshot> {
        let mut state = self.settled()?;
        if let Err(error) = state.sum_for_commit() {
            tracing::warn!(ino = %self.ino, %error, "stores of a mapping may be saved late");
        }
        state.snapshot += 1;
        state.rewritten.clear();
        state.min_since = state.map.size;
        let ahead = std::mem::take(&mut state.ahead);
        let map = &state.map;
        Ok(Snapshot {
            ahead,
            base_ver: map.base_ver,
            min_size: map.min_size,
            size: map.size,
            ranges: map.dirty.iter().collect(),
            holes: map.dirty_holes(),
            serial: state.snapshot,
        })
    }

    /// The snapshot is committed as version `ver`: what was not written again meanwhile is clean.
    ///
    /// Errors: `Invalid` for a void snapshot, nothing changes; those of the cache's file system: the
    /// version is taken over, and a journal that could not be rewritten names too much.
    pub fn committed(&self, snapshot: &Snapshot, ver: u64) -> Result<()> {
        let mut state = self.lock();
        if snapshot.serial != state.snapshot {
            let text = format!("snapshot {} of {} is void", snapshot.serial, state.path.display());
            return Err(FsError::new(Code::Invalid, text));
        }
        let kept = snapshot.ranges.iter().flat_map(|r| state.map.dirty.within(*r));
        let cleaned: RangeSet = kept.flat_map(|r| state.rewritten.gaps(r)).collect();
        let min_since = state.min_since;
        state.map.committed(&cleaned, ver, snapshot.size, min_since);
        state.snapshot += 1;
        state.row_changed = true;
        let summed = state.sum_loose();
        let journal = self.restate(&mut state);
        self.account(&state)?;
        journal.and(summed)
    }

    /// Goes on with version `ver`, before anybody uses the file: nothing of the content of another one
    /// is kept, unless there is unsaved work on it.
    ///
    /// Errors: those of the cache's file system.
    pub fn begin_with(&self, ver: u64, size: u64) -> Result<()> {
        match self.version() == ver || self.has_work() {
            true => Ok(()),
            false => self.reset(ver, size),
        }
    }

    /// Another version is current: nothing of the old content is kept.
    ///
    /// Errors: `Busy` while there is unsaved work.
    pub fn reset(&self, ver: u64, size: u64) -> Result<()> {
        let mut state = self.lock();
        if state.map.has_work() {
            return Err(busy(&state.path));
        }
        if state.lent.is_out() {
            return self.follow(&mut state, ver, size, &[Range::ALL]);
        }
        state.file.set_len(0).map_err(|e| state.err("empty", &e))?;
        state.start_over(ver, size);
        self.fit(&mut state, size)?;
        state.file.set_len(size).map_err(|e| state.err("set the size of", &e))?;
        self.account(&state)
    }

    /// Another version is current, which differs from the one here in `changed` only. Bytes behind
    /// the smaller of both sizes count as changed.
    ///
    /// Errors: `Busy` while there is unsaved work.
    pub fn advance(&self, ver: u64, size: u64, changed: &[Range]) -> Result<()> {
        let mut state = self.lock();
        if state.map.has_work() {
            return Err(busy(&state.path));
        }
        if state.lent.is_out() {
            return self.follow(&mut state, ver, size, changed);
        }
        self.fit(&mut state, size)?;
        let tail = Range::new(size.min(state.map.size), u64::MAX);
        for range in changed.iter().chain([&tail]) {
            state.map.forget(*range);
            let gone = range.intersect(state.map.extent());
            state.file.punch(gone).map_err(|e| state.err("punch", &e))?;
        }
        state.file.set_len(size).map_err(|e| state.err("set the size of", &e))?;
        state.moved_to(ver, size);
        self.account(&state)
    }

    /// Gives all content up, unsaved work included, and goes on with an empty file for version
    /// `ver`. The old file is not touched: it lives on where it was linked or is open.
    pub fn abandon(&self, ver: u64, size: u64) -> Result<()> {
        let mut state = self.lock();
        if state.lent.is_out() {
            return self.abandon_in_place(&mut state, ver, size);
        }
        if state.journal.is_some() {
            // What makes the journal void is another working file.
            self.to_disk(&mut state)?;
        }
        let fresh = self.shared.folder.fresh(self.ino);
        let err = |e: std::io::Error| io_error("make", &fresh, &e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&fresh).map_err(err)?;
        file.set_len(size).map_err(err)?;
        if state.gone {
            disk::remove(&fresh)?;
        } else {
            state.replace_by(&fresh)?;
        }
        self.put(&mut state, file);
        state.start_over(ver, size);
        self.drop_idle_journal(&mut state)?;
        self.account(&state)
    }

    /// Gives the file a second name, ready for the recovery area: zeros wherever nothing is local.
    /// Both names share their bytes until [`abandon`](WorkingFile::abandon). Of a file that is lent it
    /// is a copy.
    pub(crate) fn link_out(&self, to: &Path) -> Result<PutAside> {
        let mut state = self.settled()?;
        if state.gone {
            return Err(crate::cache::journal::gone(self.ino));
        }
        self.to_disk(&mut state)?;
        if state.lent.is_out() {
            state.copy_out(to)?;
            return Ok(PutAside::of(&state.map));
        }
        let state = &mut *state;
        let map = &state.map;
        for zero in map.present.gaps(map.extent()).into_iter().chain(map.holes.iter()) {
            state.file.punch(zero).map_err(|e| state.err("punch", &e))?;
        }
        state.file.set_len(map.size).map_err(|e| state.err("set the size of", &e))?;
        std::fs::hard_link(&state.path, to).map_err(|e| io_error("link to", to, &e))?;
        Ok(PutAside::of(map))
    }

    /// What eviction may take of this file, and where the last read ended.
    pub(in crate::cache) fn clean_parts(&self) -> (Vec<Range>, u64) {
        let state = self.lock();
        if state.lent.is_out() {
            return (Vec::new(), 0);
        }
        (state.map.clean(), state.read_at)
    }

    /// Gives the room of clean bytes in `range` back; the others stay.
    pub(in crate::cache) fn evict(&self, range: Range) -> Result<()> {
        let mut state = self.lock();
        let done = state.evict(range);
        self.account(&state)?;
        done
    }
}

impl State {
    /// Nothing is local, and no snapshot is valid.
    pub(super) fn start_over(&mut self, ver: u64, size: u64) {
        let mut sums = std::mem::take(&mut self.map.sums);
        sums.clear();
        self.map = FileMap { sums, ..FileMap::new(ver, size) };
        self.lent.seen(Range::ALL);
        self.whole_row = true;
        self.void_snapshot();
    }

    /// Puts another file in the place of the working file. If the program dies after that, the
    /// journal is known to be void by its last record.
    pub(super) fn replace_by(&mut self, fresh: &Path) -> Result<()> {
        let old = self.file.on_disk().map(File::metadata).transpose();
        let old = old.map_err(|e| self.err("look at", &e))?;
        if let (Some(journal), Some(old)) = (&mut self.journal, old) {
            journal.append(&[Record::Abandon(old.ino())], &[])?;
        }
        if let Err(e) = std::fs::rename(fresh, &self.path) {
            if let Some(journal) = &mut self.journal {
                journal.undo()?;
            }
            return Err(self.err("replace", &e));
        }
        Ok(())
    }

    /// The map is about version `ver` from now on.
    pub(super) fn moved_to(&mut self, ver: u64, size: u64) {
        let map = &mut self.map;
        (map.base_ver, map.base_size, map.min_size, map.size) = (ver, size, size, size);
        self.void_snapshot();
    }

    fn void_snapshot(&mut self) {
        self.snapshot += 1;
        self.rewritten.clear();
        self.ahead.clear();
        self.min_since = self.map.size;
        self.row_changed = true;
    }

    /// Gives every loose byte its checksum; those that are known need no reading.
    pub(super) fn sum_loose(&mut self) -> Result<()> {
        self.map.sum_left_over();
        let loose: Vec<Range> = self.map.loose.iter().collect();
        let mut bytes = Vec::new();
        for range in loose {
            let mut at = range.start;
            while at < range.end {
                let part = Range::of_len(at, CHUNK as u64).intersect(range);
                self.file.read(part, &mut bytes).map_err(|e| self.err("read", &e))?;
                self.map.summed(part.start, &bytes);
                at = part.end;
            }
        }
        Ok(())
    }
}
