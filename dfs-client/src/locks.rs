//! Record locks held here, as the server must hear of them again after it restarted.
//!
//! The server decides who gets a lock; this only remembers what it gave, split and merged by range
//! as fcntl(2) says.

use crate::vfs::RecordLock;
use dfs_core::Ino;
use dfs_core::range::Range;
use dfs_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// A held lock on a half-open range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    range: Range,
    exclusive: bool,
    one_client: bool,
    pid: u32,
}

/// Held locks by inode and owner; the locks of one owner never overlap.
#[derive(Debug, Default)]
pub struct HeldLocks(Mutex<Locks>);

#[derive(Debug, Default)]
struct Locks {
    held: BTreeMap<(Ino, u64), Vec<Held>>,
    /// Owners of whom a request was interrupted while the server was away: they may hold more.
    doubtful: BTreeSet<(Ino, u64)>,
}

/// The bytes of a record lock; the last possible byte of a file stands for infinity.
pub(crate) fn range_of(lock: &RecordLock) -> Range {
    match lock.end {
        end if end >= i64::MAX as u64 => Range::new(lock.start, u64::MAX),
        end => Range::new(lock.start, end + 1),
    }
}

impl HeldLocks {
    fn all(&self) -> MutexGuard<'_, Locks> {
        self.0.lock().expect("a panic under this lock is a bug already reported")
    }

    /// A lock was given: it replaces what its owner held of the range. `one_client`: this mount
    /// alone shares it.
    pub fn add(&self, ino: Ino, lock: &RecordLock, one_client: bool) {
        let (range, RecordLock { exclusive, pid, .. }) = (range_of(lock), *lock);
        let mut all = self.all();
        let held = all.held.entry((ino, lock.owner)).or_default();
        cut(held, range);
        held.push(Held { range, exclusive, one_client, pid });
    }

    /// The owner gave a range back.
    pub fn remove(&self, ino: Ino, lock: &RecordLock) {
        let mut all = self.all();
        if range_of(lock) == Range::ALL {
            all.doubtful.remove(&(ino, lock.owner));
        }
        if let Some(held) = all.held.get_mut(&(ino, lock.owner)) {
            cut(held, range_of(lock));
            if held.is_empty() {
                all.held.remove(&(ino, lock.owner));
            }
        }
    }

    /// Whether the owner holds an exclusive lock on a byte of the range.
    pub fn exclusive(&self, ino: Ino, lock: &RecordLock) -> bool {
        let range = range_of(lock);
        let all = self.all();
        let held = all.held.get(&(ino, lock.owner));
        held.is_some_and(|held| held.iter().any(|h| h.exclusive && h.range.overlaps(range)))
    }

    /// The owner may hold a lock that nobody here knows of: at the latest when it closes the file,
    /// everything must be given back.
    pub fn doubt(&self, ino: Ino, owner: u64) {
        self.all().doubtful.insert((ino, owner));
    }

    /// Whether the owner holds, or may hold, any lock of the inode.
    pub fn any(&self, ino: Ino, owner: u64) -> bool {
        let all = self.all();
        all.held.contains_key(&(ino, owner)) || all.doubtful.contains(&(ino, owner))
    }

    /// Everything held, to be restated.
    pub fn restate(&self) -> Vec<v1::ReclaimLock> {
        let all = self.all();
        let each = all.held.iter().flat_map(|(key, held)| held.iter().map(move |h| (*key, *h)));
        each.map(|((ino, owner), held)| v1::ReclaimLock {
            ino: ino.0,
            owner,
            pid: held.pid,
            exclusive: held.exclusive,
            one_client: held.one_client,
            start: held.range.start,
            end: match held.range.end {
                u64::MAX => u64::MAX,
                end => end - 1,
            },
        })
        .collect()
    }

    /// All locks of an inode were lost.
    pub fn forget(&self, ino: Ino) {
        let mut all = self.all();
        all.held.retain(|(of, _), _| *of != ino);
        all.doubtful.retain(|(of, _)| *of != ino);
    }

    /// All locks were lost. Returns the inodes concerned.
    pub fn forget_all(&self) -> Vec<Ino> {
        let all = std::mem::take(&mut *self.all());
        let mut inos: Vec<Ino> = all.held.into_keys().map(|(ino, _)| ino).collect();
        inos.dedup();
        inos
    }
}

/// Takes a range out of one owner's locks.
fn cut(held: &mut Vec<Held>, range: Range) {
    let mut rest = Vec::with_capacity(held.len() + 1);
    for h in held.drain(..) {
        let before = Range::new(h.range.start, h.range.end.min(range.start));
        let after = Range::new(h.range.start.max(range.end), h.range.end);
        rest.extend(
            [before, after].into_iter().filter(|r| !r.is_empty()).map(|range| Held { range, ..h }),
        );
    }
    *held = rest;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(start: u64, end: u64, exclusive: bool) -> RecordLock {
        RecordLock { owner: 7, pid: 1, exclusive, start, end }
    }

    fn held(locks: &HeldLocks) -> Vec<(u64, u64, bool)> {
        let mut all: Vec<_> =
            locks.restate().iter().map(|l| (l.start, l.end, l.exclusive)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn held_locks_split_and_replace_by_range() {
        let locks = HeldLocks::default();
        locks.add(Ino(2), &lock(0, u64::MAX, true), false);
        locks.remove(Ino(2), &lock(10, 19, true));
        assert_eq!(held(&locks), [(0, 9, true), (20, u64::MAX, true)]);
        locks.add(Ino(2), &lock(5, 24, false), false);
        assert_eq!(held(&locks), [(0, 4, true), (5, 24, false), (25, u64::MAX, true)]);
        assert!(!locks.exclusive(Ino(2), &lock(5, 24, false)));
        assert!(locks.exclusive(Ino(2), &lock(4, 4, false)));
        locks.remove(Ino(2), &lock(0, i64::MAX as u64, true));
        assert!(!locks.any(Ino(2), 7));
        assert_eq!(locks.forget_all(), []);
    }
}
