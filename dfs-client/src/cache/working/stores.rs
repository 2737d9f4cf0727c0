//! Stores into a lent file that nobody told us of.
//!
//! Whoever may read and write a lent file can map it, and what is stored into a shared mapping goes
//! into the working file past the daemon (`docs/design/0016`). The kernel says nothing of it, but the
//! times of the file move, and its bytes differ from their checksums. So while such a mapping may
//! exist, clean bytes that do not match are unsaved work, and not rot: nothing here forgets them.

use super::left::left_of;
use super::{State, WorkingFile};
use crate::cache::disk::{self, DISK_BLOCK};
use crate::cache::journal::Record;
use crate::cache::sums::Known;
use dfs_core::Result;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::{Range, RangeSet};
use std::time::{Duration, SystemTime};

/// Bytes compared under one lock; a multiple of [`CHECKSUM_BLOCK`].
const STEP: u64 = 16 * CHECKSUM_BLOCK;
/// A file that changed so lately may change again without another time.
const CLOCK_STEP: Duration = Duration::from_secs(1);

impl WorkingFile {
    /// From now on somebody may store into the file, which is lent, through a mapping; until the cache
    /// is closed, for nobody says when the last mapping is gone.
    ///
    /// Errors: those of the cache's file system: if the daemon is killed, the next one does not know.
    pub fn expect_stores(&self) -> Result<()> {
        let mut state = self.lock();
        if state.lent.mapped {
            return Ok(());
        }
        (state.lent.out, state.lent.mapped, state.lent.compared) = (true, true, None);
        let (path, boot) = (self.shared.folder.mapped(self.ino), self.shared.folder.boot());
        std::fs::write(&path, boot).map_err(|e| disk::io_error("write", &path, &e))
    }

    /// What was stored is saved, and the daemon ends: the next one need not look for more.
    ///
    /// Errors: those of the cache's file system.
    pub fn end_stores(&self) -> Result<()> {
        match self.expects_stores() {
            true => disk::remove(&self.shared.folder.mapped(self.ino)),
            false => Ok(()),
        }
    }

    /// Whether somebody may store into the file past the daemon.
    pub fn expects_stores(&self) -> bool {
        self.look().lent.mapped
    }

    /// Clean bytes that are not what they were: what [`take_stores`](WorkingFile::take_stores) makes
    /// unsaved. Nothing if the file did not change since this found nothing. Reads the whole file
    /// otherwise, and waits until it is on disk: what is stored from then on moves its times again.
    ///
    /// Errors: those of the cache's file system.
    pub fn find_stores(&self) -> Result<Vec<Range>> {
        let Some(changed) = self.changed_at()? else { return Ok(Vec::new()) };
        let mut found = RangeSet::new();
        let mut at = 0;
        loop {
            let mut state = self.lock();
            let step = Range::of_len(at, STEP).intersect(state.map.extent());
            if step.is_empty() {
                let certain = changed.elapsed().is_ok_and(|age| age >= CLOCK_STEP);
                state.lent.compared = (found.is_empty() && certain).then_some(changed);
                return Ok(found.iter().collect());
            }
            state.stored_in(step)?.into_iter().for_each(|(range, _)| found.insert(range));
            at = step.end;
        }
    }

    /// When the file was changed last, by anybody; none if it is as it was when it was compared.
    fn changed_at(&self) -> Result<Option<SystemTime>> {
        let (file, path) = {
            let state = self.lock();
            let Some(file) = state.file.on_disk().filter(|_| state.lent.mapped) else {
                return Ok(None);
            };
            (file.try_clone().map_err(|e| state.err("share", &e))?, state.path.clone())
        };
        let err = |e: std::io::Error| disk::io_error("save", &path, &e);
        file.sync_data().map_err(err)?;
        let changed = file.metadata().and_then(|m| m.modified()).map_err(err)?;
        Ok((self.lock().lent.compared != Some(changed)).then_some(changed))
    }

    /// Makes what is stored in `ranges` unsaved work, with a record of it in the journal. To be called
    /// under the lease, like a write.
    ///
    /// Errors: those of the cache's file system.
    pub fn take_stores(&self, ranges: &[Range]) -> Result<()> {
        let mut state = self.lock();
        for range in ranges {
            self.take_stored(&mut state, *range)?;
        }
        self.account(&state)
    }

    fn take_stored(&self, state: &mut State, range: Range) -> Result<()> {
        if !state.lent.mapped {
            return Ok(());
        }
        for at in (range.start..range.end).step_by(STEP as usize) {
            for (part, bytes) in state.stored_in(Range::of_len(at, STEP).intersect(range))? {
                self.record(state, &[Record::Unsaved(part)], &[])?;
                // What is stored from now on differs from this, and is found once it is saved.
                state.map.wrote_known(
                    part,
                    &Known::of(part.start, &bytes, CHECKSUM_BLOCK),
                    Vec::new(),
                );
                state.changed(part);
            }
        }
        Ok(())
    }

    /// Before a change of `range` cuts clean bytes and asks whether they are right: what was stored
    /// into the ones that it leaves over is unsaved work.
    pub(super) fn take_cut(&self, state: &mut State, range: Range) -> Result<()> {
        if !state.lent.mapped || range.is_empty() {
            return Ok(());
        }
        let parts = state.map.left_in(range).into_iter().map(|known| known.range);
        let cut: Vec<Range> = state.map.sums.partly(range).into_iter().chain(parts).collect();
        cut.into_iter().try_for_each(|piece| self.take_stored(state, piece))
    }
}

impl State {
    /// The clean bytes of `range` that are not what they were, with what they are: whole pieces, and
    /// blocks of holes. `range` cuts no piece that it is asked about.
    fn stored_in(&self, range: Range) -> Result<Vec<(Range, Vec<u8>)>> {
        let range = range.intersect(self.map.extent());
        let bytes = self.bytes_of(range)?;
        let place =
            |part: Range| (part.start - range.start) as usize..(part.end - range.start) as usize;
        let mut found = self.map.sums.broken(range.start, &bytes);
        let left = self.map.left_in(range).into_iter().filter(|known| range.covers(known.range));
        let broken = left.filter(|known| crc32c::crc32c(&bytes[place(known.range)]) != known.crc);
        found.extend(broken.map(|known| known.range));
        for hole in self.map.holes.within(range) {
            let mut at = hole.start;
            while at < hole.end {
                let block = Range::of_len(at, 1).align_out(DISK_BLOCK).intersect(hole);
                if bytes[place(block)].iter().any(|byte| *byte != 0) {
                    found.push(block);
                }
                at = block.end;
            }
        }
        Ok(found.into_iter().map(|part| (part, bytes[place(part)].to_vec())).collect())
    }

    /// Unsaved bytes get their checksum before they are read for a commit: what is stored into them
    /// after that differs from it.
    pub(super) fn sum_for_commit(&mut self) -> Result<()> {
        if !self.lent.mapped {
            return Ok(());
        }
        self.ahead.clear();
        let known: RangeSet = self.map.fresh.iter().collect();
        let data = self.map.dirty.iter().flat_map(|part| self.map.holes.gaps(part));
        let unknown: Vec<Range> = data.flat_map(|part| known.gaps(part)).collect();
        for part in unknown {
            for at in (part.start..part.end).step_by(STEP as usize) {
                let step = Range::of_len(at, STEP).intersect(part);
                let bytes = self.bytes_of(step)?;
                self.map.fresh.add(step.start, &bytes);
            }
        }
        Ok(())
    }

    /// Forgets `range`, which a newer version changed. What of a piece lies outside stays, so that
    /// nothing that was stored there is fetched over: with a checksum that it does not have, it
    /// counts as stored.
    pub(super) fn forget_exactly(&mut self, range: Range) -> Result<()> {
        let mut rest = Vec::new();
        if self.lent.mapped {
            for piece in self.map.sums.partly(range) {
                let bytes = self.bytes_of(piece)?;
                let wrong = u32::from(!self.map.sums.broken(piece.start, &bytes).is_empty());
                let parts = left_of(piece, &bytes, range).into_iter();
                rest.extend(parts.map(|known| Known { crc: known.crc ^ wrong, ..known }));
            }
        }
        self.map.forget(range);
        self.map.keep(&rest);
        Ok(())
    }
}
