//! Who waits for whom, over all inodes.

use super::table::LockTable;
use super::{Owner, RecordLock, Waiting};
use crate::Ino;
use std::collections::BTreeSet;

/// Which kinds of waiting to follow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// For a lock somebody holds.
    Held,
    /// Also for one that only waits, but came earlier.
    HeldAndEarlier,
}

impl LockTable {
    /// Whether `from` waits, directly or over others, for `target`. Visits each owner once.
    pub(super) fn waits_for(&self, from: Owner, target: Owner, follow: Follow) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut todo = vec![from];
        while let Some(owner) = todo.pop() {
            if owner == target {
                return true;
            }
            for next in self.next_owners(owner, follow) {
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        false
    }

    /// The owners that `owner` waits for directly.
    fn next_owners(&self, owner: Owner, follow: Follow) -> Vec<Owner> {
        let mut next = Vec::new();
        for (ino, place) in self.places_of(owner) {
            let (earlier, wanted) = self.queue_until(ino, place);
            next.extend(self.lasting_against(ino, &wanted.lock).map(|held| held.owner));
            if follow == Follow::HeldAndEarlier {
                let before = earlier.iter().filter(|w| w.lock.conflicts(&wanted.lock));
                next.extend(before.map(|w| w.lock.owner));
            }
        }
        next
    }

    /// Whether `lock` must stay behind one of `earlier`: they conflict, and the earlier one does not
    /// itself wait for the owner of `lock`, in which case nothing is gained by letting it go first.
    pub(super) fn behind(&self, lock: &RecordLock, earlier: &[Waiting]) -> bool {
        earlier.iter().any(|w| {
            w.lock.conflicts(lock)
                && !self.waits_for(w.lock.owner, lock.owner, Follow::HeldAndEarlier)
        })
    }

    /// Whether waiting for `lock` closes a cycle of held locks.
    pub(super) fn deadlocks(&self, ino: Ino, lock: &RecordLock) -> bool {
        self.lasting_against(ino, lock)
            .any(|held| self.waits_for(held.owner, lock.owner, Follow::Held))
    }

    /// Whether waiting for `lock` closes a cycle in which some only wait behind others; then one
    /// of those may overtake now.
    pub(super) fn tangles(&self, ino: Ino, lock: &RecordLock, earlier: &[Waiting]) -> bool {
        let before = earlier.iter().map(|w| w.lock).filter(|w| w.conflicts(lock));
        self.lasting_against(ino, lock)
            .copied()
            .chain(before)
            .any(|other| self.waits_for(other.owner, lock.owner, Follow::HeldAndEarlier))
    }
}
