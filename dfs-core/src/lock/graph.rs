//! Who waits for whom, over all inodes.

use super::table::LockTable;
use super::{Kind, Owner, RecordLock};
use crate::Ino;
use std::collections::BTreeSet;

impl LockTable {
    /// Whether waiting for `lock` closes a cycle of owners that hold what the next one wants.
    pub(super) fn deadlocks(&self, ino: Ino, lock: &RecordLock) -> bool {
        let waits_for_us = |held: &RecordLock| self.waits_for(held.owner, lock.owner);
        lock.kind.deadlocks() && self.lasting_against(ino, lock).any(waits_for_us)
    }

    /// Whether `from` waits, directly or over others, for `target`. Visits each owner once.
    fn waits_for(&self, from: Owner, target: Owner) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut todo = vec![from];
        while let Some(owner) = todo.pop() {
            if owner == target {
                return true;
            }
            for (ino, wanted) in self.wanted_by(owner).filter(|(_, lock)| lock.kind != Kind::Flock)
            {
                // As Linux: a wait for a lock of an open file leads nowhere.
                let next = self.lasting_against(ino, &wanted).filter(|l| l.kind.deadlocks());
                let next = next.map(|held| held.owner);
                todo.extend(next.filter(|next| seen.insert(*next)));
            }
        }
        false
    }
}
