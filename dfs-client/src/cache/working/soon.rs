//! Writes that are answered before they are carried out (`docs/design/0047`).
//!
//! They wait in order, each in a slot that survives the daemon. Whoever takes the lock of the file
//! carries out what waits first, so that nobody sees a file without them. Only such writes wait that
//! cannot fail for want of room for their bytes: over bytes that are on disk, of a file that has unsaved
//! work and is nobody else's to read.
//!
//! Lock order: the state, then the queue.

use super::{State, WorkingFile};
use crate::cache::slots::{Answered, Slot};
use dfs_core::range::Range;
use dfs_core::{FsError, Result};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// What waits for one file.
#[derive(Debug, Default)]
pub(super) struct Soon {
    queue: Mutex<Queue>,
    /// How many wait, for those who may not take the lock. Falls when a write is carried out.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    terms: Terms,
    writes: VecDeque<Slot>,
    /// Why the first one could not be carried out.
    stuck: Option<FsError>,
}

/// What may wait: writes that end below `end`, in work on version `base_ver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    end: u64,
    base_ver: u64,
}

/// The lock of a file, with all that waited carried out. The end of it says what may wait from now on.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    file: &'a WorkingFile,
    state: MutexGuard<'a, State>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let terms = self.state.terms();
        if std::mem::replace(&mut self.state.terms, terms) != terms {
            self.file.soon.lock().terms = terms;
            // What came meanwhile came under the terms of before.
            self.file.carry_out(&mut self.state);
        }
    }
}

impl Soon {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything waits. Takes no lock.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

impl WorkingFile {
    /// As [`write`](WorkingFile::write), but may return before it is carried out: the caller calls
    /// [`settle_soon`](WorkingFile::settle_soon) then. What waits survives this process. It counts as
    /// unsaved, and is seen by everybody. Errors as there.
    pub fn write_soon(&self, off: u64, data: &[u8]) -> Result<()> {
        let range = Range::of_len(off, data.len() as u64);
        match !self.is_cheap(range) && self.put_soon(range, data) {
            true => Ok(()),
            false => self.write(off, data),
        }
    }

    /// Whether the write waits now. Nobody is held up while its slot is written.
    fn put_soon(&self, range: Range, data: &[u8]) -> bool {
        let terms = {
            let queue = self.soon.lock();
            if range.end > queue.terms.end || queue.stuck.is_some() {
                return false;
            }
            queue.terms
        };
        let slots = &self.shared.slots;
        let Some(slot) = slots.put(self.ino, terms.base_ver, range.start, data) else {
            return false;
        };
        let mut queue = self.soon.lock();
        if queue.terms != terms {
            drop(queue);
            slots.free(&slot);
            return false;
        }
        queue.writes.push_back(slot);
        self.soon.waiting.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Whether a write has nothing to do but to write, and nobody is at work here.
    fn is_cheap(&self, range: Range) -> bool {
        !self.soon.is_waiting()
            && self.try_state().is_some_and(|state| state.map.dirty.covers(range))
    }

    /// The state, as it is, unless somebody is at work on it.
    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Carries out what waits, unless somebody else is at it.
    ///
    /// Errors: why it could not be carried out. It goes on waiting; reads and commits of the file fail
    /// until it can.
    pub fn settle_soon(&self) -> Result<()> {
        while self.soon.is_waiting()
            && let Some(state) = self.try_state()
        {
            drop(self.locked(state));
            self.unstuck()?;
        }
        Ok(())
    }

    /// The lock, if all that waited is carried out.
    pub(super) fn settled(&self) -> Result<Locked<'_>> {
        let state = self.lock();
        self.unstuck().map(|()| state)
    }

    fn unstuck(&self) -> Result<()> {
        self.soon.lock().stuck.clone().map_or(Ok(()), Err)
    }

    pub(super) fn locked<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Locked<'a> {
        self.carry_out(&mut state);
        Locked { file: self, state }
    }

    /// Carries out what waits now; of the rest, the first one keeps its error.
    fn carry_out(&self, state: &mut State) {
        for _ in 0..self.soon.waiting.load(Ordering::SeqCst) {
            let next = {
                let mut queue = self.soon.lock();
                queue.stuck = None;
                queue.writes.pop_front()
            };
            let Some(slot) = next else { return };
            if let Err(error) = self.write_under(state, slot.off, slot.data()) {
                let mut queue = self.soon.lock();
                queue.stuck = Some(error);
                queue.writes.push_front(slot);
                return;
            }
            self.shared.slots.free(&slot);
            self.soon.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes over a write of an earlier daemon; gives it back if it is of other work than what is here.
    pub(in crate::cache) fn take_answered(&self, answered: Answered) -> Option<Answered> {
        let state = self.look();
        if !state.map.has_work() || state.map.base_ver != answered.base_ver {
            return Some(answered);
        }
        self.soon.lock().writes.push_back(answered.slot);
        self.soon.waiting.fetch_add(1, Ordering::SeqCst);
        None
    }

    /// Nothing of the file is wanted any more.
    pub(super) fn drop_waiting(&self) {
        let mut queue = self.soon.lock();
        queue.stuck = None;
        for slot in queue.writes.drain(..) {
            self.shared.slots.free(&slot);
            self.soon.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl State {
    /// Nothing waits while somebody reads the file past the daemon, or where a write could need room.
    fn terms(&self) -> Terms {
        let map = &self.map;
        let ours = self.journal.is_some() && map.has_work() && !self.gone;
        let read_here = !self.lent.is_out() && !self.lent.mapped;
        let stored = self.file.on_disk().is_some() && !self.from_index && map.holes.is_empty();
        match ours && read_here && stored && map.present.covers(map.extent()) {
            true => Terms { end: map.size, base_ver: map.base_ver },
            false => Terms::default(),
        }
    }
}
