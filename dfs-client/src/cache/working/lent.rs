//! A working file that the kernel reads by itself (passthrough, `docs/design/0016`).
//!
//! Nobody stands between its bytes and whoever reads them then: no checksum is looked at, and no byte
//! may be missing. So a file is *lent* only when all of it is here and was seen to be right in this
//! life of the daemon. From then on, until it is dropped from the cache or nobody has it open or mapped
//! when a writer comes, nothing is punched, emptied or replaced under its readers, for a mapping lives
//! longer than the handle it was made with: what a newer version changed stays as it was until the new
//! bytes are written over it.

use super::{State, WorkingFile};
use crate::cache::alone::is_ours_alone;
use crate::cache::disk::{self, DISK_BLOCK, io_error};
use crate::cache::map::FileMap;
use dfs_core::Result;
use dfs_core::range::{Range, RangeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Bytes copied at a time.
const COPY_STEP: u64 = 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Content of an earlier life that nobody has looked at since.
    unread: RangeSet,
    /// The kernel reads the file, or did, and somebody may have it mapped.
    pub(super) out: bool,
    /// Somebody may store into it through a mapping ([`super::stores`]).
    pub(super) mapped: bool,
    /// When the file had changed last before all of it was compared and found as it should be.
    pub(super) compared: Option<SystemTime>,
}

impl Lent {
    /// For a file with what an earlier life knew about it.
    pub(super) fn unread(map: &FileMap) -> Lent {
        Lent { unread: map.sums.iter().chain(map.holes.iter()).collect(), ..Lent::default() }
    }

    /// Whether the file is lent.
    pub(super) fn is_out(&self) -> bool {
        self.out
    }

    /// What is in `range` is right: it was verified, or written just now.
    pub(super) fn seen(&mut self, range: Range) {
        self.unread.remove(range);
    }
}

impl WorkingFile {
    /// Lends the file, if all of it is here and right: whoever opens it reads the current version as
    /// it is here. False: it is not.
    ///
    /// Errors: those of the cache's file system.
    pub fn lend(&self) -> Result<bool> {
        let mut state = self.settled()?;
        let whole = state.map.extent();
        if state.gone || !state.map.present.covers(whole) {
            return Ok(false);
        }
        self.to_disk(&mut state)?;
        if !state.clear_for_others()? {
            return Ok(false);
        }
        state.lent.out = true;
        Ok(true)
    }

    /// Is this daemon's alone again, if nobody has it open or mapped any more.
    pub fn take_back(&self) {
        let mut state = self.look();
        let may = state.lent.out && !state.lent.mapped;
        if may && state.file.on_disk().is_some_and(is_ours_alone) {
            state.lent.out = false;
        }
    }

    /// Whether the file is lent.
    pub fn is_lent(&self) -> bool {
        self.look().lent.out
    }

    /// It was lent before it was closed in between.
    pub(in crate::cache) fn stay_lent(&self) {
        self.lock().lent.out = true;
    }

    /// The file on disk for whoever registers it with the kernel; none if it is not there.
    ///
    /// Errors: `TooManyFiles` and others of the operating system.
    pub fn on_disk(&self) -> Result<Option<File>> {
        let state = self.lock();
        let copy = state.file.on_disk().map(File::try_clone).transpose();
        copy.map_err(|e| state.err("share", &e))
    }

    /// A lent file moves to a version that differs in `changed`: that is missing from now on, but
    /// stays on disk until it is filled. Only what lies behind the new end goes.
    pub(super) fn follow(
        &self,
        state: &mut State,
        ver: u64,
        size: u64,
        changed: &[Range],
    ) -> Result<()> {
        let tail = Range::new(size.min(state.map.size), u64::MAX);
        changed.iter().chain([&tail]).try_for_each(|range| state.forget_exactly(*range))?;
        state.shorten(size)?;
        state.moved_to(ver, size);
        self.account(state)
    }

    /// As [`abandon`](WorkingFile::abandon) for a lent file: its readers keep the old bytes until the
    /// new ones are here. Version 0 is not known yet, nor is its size.
    pub(super) fn abandon_in_place(&self, state: &mut State, ver: u64, size: u64) -> Result<()> {
        if ver > 0 {
            state.shorten(size)?;
        }
        state.start_over(ver, size);
        self.drop_idle_journal(state)?;
        self.account(state)
    }
}

impl State {
    /// `range` was read, and its bytes match their checksums.
    pub(super) fn read_right(&mut self, range: Range) {
        if self.lent.unread.is_empty() {
            return;
        }
        // What is on disk in a hole nobody has looked at.
        self.map.holes.gaps(range).into_iter().for_each(|part| self.lent.seen(part));
    }

    /// Makes the bytes on disk what they are for readers of the map; false if that is not known.
    fn clear_for_others(&mut self) -> Result<bool> {
        let whole = self.map.extent();
        let unread = |hole: &Range| self.lent.unread.overlaps(*hole);
        let holes: Vec<Range> = self.map.holes.iter().filter(unread).collect();
        for hole in holes {
            self.file.punch(hole).map_err(|e| self.err("punch", &e))?;
            self.lent.seen(hole);
        }
        if self.lent.unread.overlaps(whole) {
            return Ok(false);
        }
        let Some(file) = self.file.on_disk() else { return Ok(false) };
        // Behind the end: whether this file system can punch at all.
        let behind = Range::of_len(whole.end.next_multiple_of(DISK_BLOCK), DISK_BLOCK);
        let looked = disk::can_punch(file, behind)
            .and_then(|can| Ok((can, file.metadata()?.len())))
            .map_err(|e| self.err("look at", &e))?;
        let (can_punch, len) = looked;
        if len != whole.end {
            self.file.set_len(whole.end).map_err(|e| self.err("set the size of", &e))?;
        }
        Ok(can_punch)
    }

    /// Cuts a lent file off at `size`, if it is longer.
    fn shorten(&mut self, size: u64) -> Result<()> {
        let Some(file) = self.file.on_disk() else { return Ok(()) };
        let cut =
            file.metadata().and_then(|m| if m.len() > size { file.set_len(size) } else { Ok(()) });
        cut.map_err(|e| self.err("set the size of", &e))
    }

    /// Lets a lent file reach to `end`: it grows with what is filled.
    pub(super) fn reach_to(&mut self, end: u64) -> Result<()> {
        let Some(file) = self.file.on_disk().filter(|_| self.lent.out) else { return Ok(()) };
        let grown =
            file.metadata().and_then(|m| if m.len() < end { file.set_len(end) } else { Ok(()) });
        grown.map_err(|e| self.err("set the size of", &e))
    }

    /// Copies what is local to a new file; zeros wherever nothing is.
    pub(super) fn copy_out(&self, to: &Path) -> Result<()> {
        let err = |e: std::io::Error| io_error("copy to", to, &e);
        let copy =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(err)?;
        copy.set_len(self.map.size).map_err(err)?;
        let mut bytes = Vec::new();
        let stored = self.map.present.iter().flat_map(|part| self.map.holes.gaps(part));
        for part in stored.collect::<Vec<_>>() {
            for at in (part.start..part.end).step_by(COPY_STEP as usize) {
                let step = Range::of_len(at, COPY_STEP).intersect(part);
                self.file.read(step, &mut bytes).map_err(|e| self.err("read", &e))?;
                copy.write_all_at(&bytes, at).map_err(err)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
