//! Reading, filling and changing the bytes of a working file.

use super::commit::Sent;
use super::huge::Huge;
use super::left::kept_records;
use super::{State, WorkingFile};
use crate::cache::disk::{DISK_BLOCK, FILL_STEP};
use crate::cache::journal::Record;
use crate::cache::sums::Known;
use dfs_core::limits::{CHECKSUM_BLOCK, FILE_SIZE_MAX};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};

/// Bytes read under one lock for an upload ahead of a commit.
const AHEAD_STEP: u64 = 1024 * 1024;

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// This many bytes are in the buffer; fewer than asked for at the end of the file.
    Bytes(usize),
    /// These ranges must be filled first.
    Missing(Vec<Range>),
}

impl WorkingFile {
    /// What must be fetched before `range` can be read: nothing if all of it is local or a hole,
    /// else the gaps, grown to whole blocks. Never reaches behind the end of the file.
    pub fn missing(&self, range: Range) -> Vec<Range> {
        self.lock().map.missing(range)
    }

    /// Takes over fetched bytes of version `ver` from offset `start`, where nothing is local yet.
    /// False: the file has another version by now and nothing was taken over.
    ///
    /// Errors: `NoSpace` and others of the cache's file system; what did not fit stays missing.
    pub fn fill(&self, ver: u64, start: u64, bytes: &[u8]) -> Result<bool> {
        self.fill_pieces(ver, start, &[bytes])
    }

    /// As [`fill`](WorkingFile::fill), with bytes that lie in pieces.
    pub fn fill_pieces(&self, ver: u64, start: u64, pieces: &[&[u8]]) -> Result<bool> {
        self.fill_with(ver, start, pieces, None)
    }

    /// The same for bytes that nobody is about to change: a small write takes longer where much was
    /// written at once.
    pub fn fill_for_readers(&self, ver: u64, start: u64, pieces: &[&[u8]]) -> Result<bool> {
        self.fill_with(ver, start, pieces, Some(&self.shared.huge))
    }

    fn fill_with(
        &self,
        ver: u64,
        start: u64,
        pieces: &[&[u8]],
        huge: Option<&Huge>,
    ) -> Result<bool> {
        let mut state = self.lock();
        if ver != state.map.base_ver {
            return Ok(false);
        }
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let range = Range::of_len(start, len).intersect(state.map.extent());
        if !self.shared.may_hold(range.len()) {
            self.to_disk(&mut state)?;
        }
        let filled = state.fill_gaps(range, start, pieces, huge);
        self.account(&state)?;
        filled.map(|()| true)
    }

    /// Takes over that `range` is a hole of version `ver`, where nothing is local yet. False as for
    /// [`fill`](WorkingFile::fill).
    pub fn fill_hole(&self, ver: u64, range: Range) -> Result<bool> {
        let mut state = self.lock();
        if ver != state.map.base_ver {
            return Ok(false);
        }
        let range = range.intersect(state.map.extent());
        for gap in state.map.present.gaps(range) {
            state.file.punch(gap).map_err(|e| state.err("punch", &e))?;
            state.reach_to(gap.end)?;
            state.map.filled_hole(gap);
            state.lent.seen(gap);
            state.row_changed = true;
        }
        self.account(&state)?;
        Ok(true)
    }

    /// Reads into `buf`, replacing what was there. All bytes are of one moment. Bytes that do not
    /// match their checksum are not served: they become missing.
    ///
    /// Memory: `range` and up to two blocks more.
    pub fn read(&self, range: Range, buf: &mut Vec<u8>) -> Result<ReadOutcome> {
        buf.clear();
        let mut state = self.settled()?;
        let want = range.intersect(state.map.extent());
        if !state.map.present.covers(want) {
            return Ok(ReadOutcome::Missing(state.map.missing(want)));
        }
        if want.is_empty() {
            return Ok(ReadOutcome::Bytes(0));
        }
        let uncut = state.map.sums.uncut(want);
        state.file.read(uncut, buf).map_err(|e| state.err("read", &e))?;
        let broken = state.map.sums.broken(uncut.start, buf);
        // What is stored past us is right as it is.
        if !broken.is_empty() && !state.lent.mapped {
            buf.clear();
            broken.into_iter().for_each(|piece| state.forget_broken(piece));
            return Ok(ReadOutcome::Missing(state.map.missing(want)));
        }
        state.read_right(uncut);
        buf.truncate((want.end - uncut.start) as usize);
        buf.drain(..(want.start - uncut.start) as usize);
        state.clear_holes(want, buf);
        state.read_at = want.end;
        Ok(ReadOutcome::Bytes(buf.len()))
    }

    /// Lays what is not committed over `base`, the bytes of `range` of version `ver`, and cuts or
    /// grows it to what of `range` lies in the file. False: the file has another version by now.
    pub fn overlay(&self, ver: u64, range: Range, base: &mut Vec<u8>) -> Result<bool> {
        let state = self.settled()?;
        if ver != state.map.base_ver {
            return Ok(false);
        }
        let want = range.intersect(state.map.extent());
        base.resize(want.len() as usize, 0);
        let place =
            |part: Range| (part.start - want.start) as usize..(part.end - want.start) as usize;
        let behind = want.intersect(Range::new(state.map.min_size, u64::MAX));
        if !behind.is_empty() {
            base[place(behind)].fill(0);
        }
        let mut bytes = Vec::new();
        for part in state.map.dirty.within(want) {
            state.file.read(part, &mut bytes).map_err(|e| state.err("read", &e))?;
            base[place(part)].copy_from_slice(&bytes);
        }
        if !want.is_empty() {
            state.clear_holes(want, base);
        }
        Ok(true)
    }

    /// Writes `data` at `off`; a gap behind the old end reads as zeros.
    ///
    /// Errors: `FileTooBig`; `NoSpace` and others of the cache's file system: what was unsaved
    /// before stays unsaved, and the size stays.
    pub fn write(&self, off: u64, data: &[u8]) -> Result<()> {
        let range = Range::of_len(off, data.len() as u64);
        if range.is_empty() {
            return Ok(());
        }
        if range.end > FILE_SIZE_MAX {
            return Err(FsError::from(Code::FileTooBig));
        }
        self.write_under(&mut *self.settled()?, off, data)
    }

    /// As [`write`](WorkingFile::write), of some bytes, with the lock held.
    pub(super) fn write_under(&self, state: &mut State, off: u64, data: &[u8]) -> Result<()> {
        let range = Range::of_len(off, data.len() as u64);
        let sums = Known::of(off, data, CHECKSUM_BLOCK);
        self.take_cut(state, range)?;
        let left = state.verify_cut(range)?;
        let known = self.record_write(state, range, data, &sums, &left)?;
        let has_room = state.has_room(range);
        if let Err(e) = state.file.write_all_at(data, off) {
            let e = state.err("write", &e);
            state.write_failed(range, known)?;
            self.account(state)?;
            return Err(e);
        }
        state.map.wrote_known(range, &sums, left);
        state.lent.seen(range);
        state.changed(range);
        if has_room {
            self.count_unsaved(state);
            return Ok(());
        }
        self.account(state)
    }

    /// Journals a write before it happens. True: there was no need, all of it is unsaved already.
    pub(super) fn record_write(
        &self,
        state: &mut State,
        range: Range,
        data: &[u8],
        sums: &[Known],
        left: &[Known],
    ) -> Result<bool> {
        let crc = Known::of_all(sums);
        let mut records = kept_records(left);
        if self.takes_in_memory(state, range)? {
            records.push(Record::Bytes(range, crc));
            self.record(state, &records, data)?;
            return Ok(false);
        }
        if state.map.dirty.covers(range) && !state.map.holes.overlaps(range) {
            state.journal.as_mut().map_or(Ok(()), |journal| journal.confirm())?;
            return Ok(true);
        }
        records.push(Record::Write(range, crc));
        self.record(state, &records, &[])?;
        Ok(false)
    }

    /// Sets the size; bytes behind the old end read as zeros.
    ///
    /// Errors: `FileTooBig`, and those of the cache's file system.
    pub fn truncate(&self, size: u64) -> Result<()> {
        let mut state = self.settled()?;
        if size == state.map.size {
            return Ok(());
        }
        self.resize(&mut state, size)?;
        self.account(&state)
    }

    /// Sets `range` to zero and gives its room back. With `keep_size` it is cut at the end of the
    /// file, else the file grows to hold it.
    ///
    /// Errors: as for [`truncate`](WorkingFile::truncate).
    pub fn punch(&self, range: Range, keep_size: bool) -> Result<()> {
        let mut state = self.settled()?;
        if !keep_size && range.end > state.map.size && !range.is_empty() {
            self.resize(&mut state, range.end)?;
        }
        let range = range.intersect(state.map.extent());
        if !range.is_empty() {
            self.take_cut(&mut state, range)?;
            let left = state.verify_cut(range)?;
            let mut records = kept_records(&left);
            records.push(Record::Zero(range));
            self.record(&mut state, &records, &[])?;
            if let Err(e) = state.file.punch(range) {
                let e = state.err("punch", &e);
                state.write_failed(range, false)?;
                return Err(e);
            }
            state.map.zeroed(range);
            state.lent.seen(range);
            state.map.left_over(left);
            state.changed(range);
        }
        self.account(&state)
    }

    /// fallocate(2) without flags: the file grows to hold `range`; bytes stay as they are. Room is
    /// not reserved, because it is needed at the servers and not here.
    pub fn allocate(&self, range: Range, keep_size: bool) -> Result<()> {
        let mut state = self.settled()?;
        if !keep_size && range.end > state.map.size && !range.is_empty() {
            self.resize(&mut state, range.end)?;
        }
        self.account(&state)
    }

    /// Bytes for an upload, as they are now: zeros in holes and behind the end. The ranges must be
    /// local, as those of a snapshot are until they are cut off.
    pub fn read_dirty(&self, ranges: &[Range]) -> Result<Vec<u8>> {
        let len: u64 = ranges.iter().map(|range| range.len()).sum();
        let mut all = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        for &range in ranges {
            let state = self.settled()?;
            let from = all.len();
            state.file.append(range, &mut all).map_err(|e| state.err("read", &e))?;
            let bytes = &mut all[from..];
            let inside = range.intersect(state.map.extent());
            bytes[inside.len() as usize..].fill(0);
            state.clear_holes(range, bytes);
        }
        Ok(all)
    }

    /// Bytes for an upload before the commit that will name it; a snapshot lists those that are the
    /// same then. None: not all of `range` is unsaved, or it changes now.
    pub fn read_ahead(&self, range: Range) -> Result<Option<(u64, Vec<u8>)>> {
        let id = {
            let mut state = self.settled()?;
            if !state.map.dirty.covers(range) || state.map.holes.overlaps(range) {
                return Ok(None);
            }
            state.last_ahead += 1;
            let id = state.last_ahead;
            state.ahead.push(Sent { range, id });
            id
        };
        let mut bytes = Vec::with_capacity(usize::try_from(range.len()).unwrap_or(0));
        for at in (range.start..range.end).step_by(AHEAD_STEP as usize) {
            // Writers get their turn in between.
            let state = self.settled()?;
            if !state.ahead.iter().any(|sent| sent.id == id) {
                return Ok(None);
            }
            let part = Range::of_len(at, AHEAD_STEP).intersect(range);
            state.file.append(part, &mut bytes).map_err(|e| state.err("read", &e))?;
        }
        Ok(Some((id, bytes)))
    }

    fn resize(&self, state: &mut State, size: u64) -> Result<()> {
        if size > FILE_SIZE_MAX {
            return Err(FsError::from(Code::FileTooBig));
        }
        self.fit(state, size)?;
        let cut = Range::new(size, state.map.size);
        self.take_cut(state, cut)?;
        let left = state.verify_cut(cut)?;
        let mut records = kept_records(&left);
        records.push(Record::Resize(size));
        self.record(state, &records, &[])?;
        if let Err(e) = state.file.set_len(size) {
            let e = state.err("set the size of", &e);
            state.undo()?;
            return Err(e);
        }
        state.map.resized(size);
        state.map.left_over(left);
        state.spoil(Range::new(size, u64::MAX));
        state.rewritten.remove(Range::new(size, u64::MAX));
        state.min_since = state.min_since.min(size);
        match state.map.has_work() {
            true => Ok(()),
            // A size that was all that was unsaved is what it was: nothing is kept apart any more.
            false => state.sum_loose(),
        }
    }
}

impl State {
    fn fill_gaps(
        &mut self,
        range: Range,
        start: u64,
        pieces: &[&[u8]],
        huge: Option<&Huge>,
    ) -> Result<()> {
        for gap in self.map.present.gaps(range) {
            let parts = within(gap, start, pieces);
            let written = match huge.filter(|_| Huge::fits(gap)) {
                Some(huge) => huge.fill(&mut self.file, &parts, gap.start),
                None => self.file.fill_all_at(&parts, gap.start, FILL_STEP),
            };
            written.map_err(|e| self.err("fill", &e))?;
            let mut at = gap.start;
            for part in parts {
                self.map.filled(at, part);
                at += part.len() as u64;
            }
            self.lent.seen(gap);
            self.row_changed = true;
        }
        Ok(())
    }

    /// Zeroes what is known to be a hole, whatever the disk says. `buf` starts at `range.start`.
    fn clear_holes(&self, range: Range, buf: &mut [u8]) {
        if self.lent.mapped {
            // Somebody may have stored into them.
            return;
        }
        for hole in self.map.holes.within(range) {
            let at = (hole.start - range.start) as usize;
            buf[at..at + hole.len() as usize].fill(0);
        }
    }

    /// A write to `range` failed half way: bytes that were clean may be anything now.
    fn write_failed(&mut self, range: Range, known: bool) -> Result<()> {
        self.map.forget(range);
        self.map.fresh.remove(range);
        self.changed(range);
        // The size matters to passthrough handles only; reads are cut at the size of the map.
        let _ = self.file.set_len(self.map.size);
        if known { Ok(()) } else { self.undo() }
    }

    /// The bytes of `range` are not what they were.
    pub(super) fn changed(&mut self, range: Range) {
        self.rewritten.insert(range);
        self.spoil(range);
    }

    /// What was read of `range` ahead of a commit is of no use to it.
    fn spoil(&mut self, range: Range) {
        self.ahead.retain(|sent| !sent.range.overlaps(range));
        self.row_changed = true;
    }

    /// Whether a write of `range` takes no room on disk that is not taken already.
    fn has_room(&self, range: Range) -> bool {
        if self.from_index {
            return false;
        }
        let is_stored = |part: Range| !self.map.holes.covers(part);
        let block = range.align_out(DISK_BLOCK);
        self.map.present.covers(range) && !self.map.holes.overlaps(range)
            || block.len() == DISK_BLOCK && self.map.present.within(block).any(is_stored)
    }

    /// A journal that is idle by that is found when the file settles.
    fn undo(&mut self) -> Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.undo())
    }

    /// Gives the room of clean bytes in `range` back.
    pub(super) fn evict(&mut self, range: Range) -> Result<()> {
        if self.lent.is_out() {
            return Ok(());
        }
        for piece in self.map.sums.overlapping(range) {
            self.map.forget(piece);
            // The last block of the file is freed only as a whole.
            let at_end = piece.end == self.map.size;
            let end = if at_end { piece.end.next_multiple_of(DISK_BLOCK) } else { piece.end };
            let piece = Range::new(piece.start, end);
            self.file.punch(piece).map_err(|e| self.err("punch", &e))?;
            self.row_changed = true;
        }
        Ok(())
    }
}

/// The bytes of `range` of `pieces`, which lie one behind the other from `start` on.
fn within<'a>(range: Range, mut start: u64, pieces: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let part = Range::of_len(start, piece.len() as u64).intersect(range);
        if !part.is_empty() {
            parts.push(&piece[(part.start - start) as usize..(part.end - start) as usize]);
        }
        start += piece.len() as u64;
    }
    parts
}
