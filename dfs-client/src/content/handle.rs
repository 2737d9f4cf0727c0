//! Open files.

use super::inode::File;
use super::view::View;
use crate::vfs::OpenFlags;
use dfs_core::access::Credentials;
use dfs_core::open_mode::OpenKind;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Smallest step of reading ahead.
const AHEAD_MIN: u64 = 256 * 1024;
/// Largest distance that is read ahead.
const AHEAD_MAX: u64 = 32 * 1024 * 1024;
/// What lies so far behind a reader it has done with.
const BEHIND: u64 = 8 * 1024 * 1024;
/// It is told of so many bytes at a time.
const BEHIND_STEP: u64 = 4 * 1024 * 1024;

/// One open file.
#[derive(Debug)]
pub(crate) struct Handle {
    /// The file.
    pub(crate) file: Arc<File>,
    /// How it was opened.
    pub(crate) flags: OpenFlags,
    /// Who opened it.
    pub(crate) who: Credentials,
    /// The version a handle with `reads=snapshot` stays on.
    pub(crate) snapshot: Option<Arc<View>>,
    /// `State.losses` and `State.lock_losses` at open: a later loss fails the handle.
    born: (u64, u64),
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Failures of the file this handle has reported.
    reported: u64,
    /// Where a sequential reader goes on, and how much it has read so.
    next: u64,
    run: u64,
    /// The end of what was read, but for a jump; and up to where it was told as left behind.
    front: u64,
    left: u64,
}

impl Handle {
    /// A handle on `file`, which counts it as open already.
    pub(crate) fn new(
        file: Arc<File>,
        flags: OpenFlags,
        who: Credentials,
        snapshot: Option<Arc<View>>,
    ) -> Handle {
        let state = file.lock();
        let born = (state.losses, state.lock_losses);
        let recent = Recent { reported: state.failures, ..Recent::default() };
        drop(state);
        Handle { file, flags, who, snapshot, born, recent: Mutex::new(recent) }
    }

    /// What it is for, as far as that decides how the kernel opens it.
    pub(crate) fn kind(&self) -> OpenKind {
        if self.flags.append || self.flags.direct || self.snapshot.is_some() {
            OpenKind::Direct
        } else if self.flags.write {
            OpenKind::Write
        } else {
            OpenKind::Read
        }
    }

    /// What this handle reads.
    pub(crate) fn view(&self) -> Arc<View> {
        self.snapshot.clone().unwrap_or_else(|| self.file.view())
    }

    /// Fails with `Io` for good if record locks of the owner were lost (PROTOCOL 2.3 step 7), or if
    /// this handle wrote bytes that had to be put aside (9.4).
    pub(crate) fn usable(&self, to_write: bool) -> Result<()> {
        let state = self.file.lock();
        let ino = self.file.ino;
        if state.lock_losses > self.born.1 {
            return Err(FsError::new(Code::Io, format!("record locks of inode {ino} were lost")));
        }
        if to_write && state.losses > self.born.0 {
            let text = format!("unsaved bytes of inode {ino} are in the recovery area");
            return Err(FsError::new(Code::Io, text));
        }
        Ok(())
    }

    /// A failed commit that this handle has not reported yet. Each handle hears of it once, as
    /// fsync(2) has it.
    pub(crate) fn unreported(&self) -> Result<()> {
        let state = self.file.lock();
        let mut recent = self.recent();
        if recent.reported == state.failures {
            return Ok(());
        }
        recent.reported = state.failures;
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// This handle has heard of every failure so far.
    pub(crate) fn reported(&self) {
        let failures = self.file.lock().failures;
        self.recent().reported = failures;
    }

    /// How far to read ahead after a read from `off` to `end`.
    pub(crate) fn ahead(&self, off: u64, end: u64) -> u64 {
        self.recent().ahead(off, end)
    }

    /// What a reader from front to back is done with, after a read from `off` to `end`: each byte once,
    /// so not again of one that starts over.
    pub(crate) fn leaves_behind(&self, off: u64, end: u64) -> Option<Range> {
        let mut recent = self.recent();
        if recent.front.abs_diff(off) > BEHIND {
            recent.front = end;
            recent.left = recent.left.max(off);
        }
        // Reads under way at the same time come in any order.
        recent.front = recent.front.max(end);
        let stop = recent.front.saturating_sub(BEHIND) / BEHIND_STEP * BEHIND_STEP;
        let left = Range::new(recent.left, stop);
        recent.left = recent.left.max(stop);
        (!left.is_empty()).then_some(left)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Nothing unless the reader is sequential, else twice as far as it has come so.
    fn ahead(&mut self, off: u64, end: u64) -> u64 {
        let len = end - off;
        // Of the requests of a sequential reader some are under way at a time, and come in any order.
        let slack = if self.run > 0 { 2 * len } else { 0 };
        let goes_on = off.abs_diff(self.next) <= slack;
        if goes_on && end <= self.next {
            return 0;
        }
        self.run = if goes_on { self.run + len } else { 0 };
        self.next = end;
        if goes_on { (2 * self.run).clamp(AHEAD_MIN, AHEAD_MAX) } else { 0 }
    }
}

/// All open files by number. Numbers are not used again.
#[derive(Debug, Default)]
pub(crate) struct Table {
    open: Mutex<HashMap<u64, Arc<Handle>>>,
    last: AtomicU64,
}

impl Table {
    /// Adds a handle; answers it with its number.
    pub(crate) fn add(&self, handle: Handle) -> (u64, Arc<Handle>) {
        let fh = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = Arc::new(handle);
        self.lock().insert(fh, Arc::clone(&handle));
        (fh, handle)
    }

    /// The handle; `BadHandle` if there is none.
    pub(crate) fn get(&self, fh: u64) -> Result<Arc<Handle>> {
        let handle = self.lock().get(&fh).cloned();
        handle.ok_or_else(|| FsError::new(Code::BadHandle, format!("handle {fh} is not open")))
    }

    /// Takes a handle out; `BadHandle` if there is none.
    pub(crate) fn remove(&self, fh: u64) -> Result<Arc<Handle>> {
        let handle = self.lock().remove(&fh);
        handle.ok_or_else(|| FsError::new(Code::BadHandle, format!("handle {fh} is not open")))
    }

    /// The versions that open handles stay on.
    pub(crate) fn snapshots(&self) -> Vec<Arc<View>> {
        self.lock().values().filter_map(|handle| handle.snapshot.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// How far is read ahead after reads of so many bytes at such offsets, counted in them.
    fn ahead<const N: usize>(len: u64, offsets: [u64; N]) -> [u64; N] {
        let mut recent = Recent::default();
        offsets.map(|off| recent.ahead(off * len, (off + 1) * len))
    }

    #[test]
    fn reading_ahead_goes_twice_as_far_as_was_read_in_a_row() {
        assert_eq!(ahead(MIB, [0, 1, 2]), [2 * MIB, 4 * MIB, 6 * MIB]);
        assert_eq!(ahead(MIB, std::array::from_fn::<_, 40, _>(|n| n as u64))[39], AHEAD_MAX);
        assert_eq!(ahead(4096, [0, 1]), [AHEAD_MIN, AHEAD_MIN]);
        assert_eq!(ahead(4096, [7, 8, 9]), [0, AHEAD_MIN, AHEAD_MIN], "begins where it will");
        assert_eq!(Recent::default().ahead(0, 0), 0, "an empty file");
    }

    #[test]
    fn reading_ahead_goes_on_when_requests_change_places() {
        let ahead = ahead(MIB, [0, 1, 3, 2, 4, 5]);
        assert_eq!(ahead, [2, 4, 6, 0, 8, 10].map(|mib| mib * MIB));
    }

    #[test]
    fn reading_ahead_ends_with_the_row() {
        assert_eq!(ahead(MIB, [0, 1, 9, 30, 3]), [2 * MIB, 4 * MIB, 0, 0, 0]);
        assert_eq!(ahead(MIB, [0, 1, 9, 10]), [2 * MIB, 4 * MIB, 0, 2 * MIB]);
        let back = ahead(4096, [9, 8, 7, 6, 5]);
        assert_eq!(back, [0; 5], "backwards");
    }
}
