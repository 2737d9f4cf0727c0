//! Record locks held here, as the server must hear of them again after it restarted.
//!
//! The server decides who gets a lock; this only remembers what it gave, split and merged by range
//! as fcntl(2) says.

use crate::vfs::RecordLock;
use dfs_core::Ino;
use dfs_core::lock::Kind;
use dfs_core::range::Range;
use dfs_proto::{convert, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// A held lock on a half-open range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    range: Range,
    kind: Kind,
    exclusive: bool,
    one_client: bool,
    pid: u32,
}

/// Held locks by inode and owner; those of one owner that know of each other never overlap.
#[derive(Debug, Default)]
pub struct HeldLocks(Mutex<Locks>);

#[derive(Debug, Default)]
struct Locks {
    held: BTreeMap<(Ino, u64), Vec<Held>>,
    /// Owners that may hold more: a request of theirs was interrupted while the server was away, or
    /// would change a flock.
    doubtful: BTreeSet<(Ino, u64, Kind)>,
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
        cut(held, range, lock.kind);
        held.push(Held { range, kind: lock.kind, exclusive, one_client, pid });
    }

    /// The owner gave a range back.
    pub fn remove(&self, ino: Ino, lock: &RecordLock) {
        let mut all = self.all();
        if range_of(lock) == Range::ALL {
            let owner = (ino, lock.owner);
            all.doubtful.retain(|(of, by, kind)| (*of, *by) != owner || !kind.meets(lock.kind));
        }
        if let Some(held) = all.held.get_mut(&(ino, lock.owner)) {
            cut(held, range_of(lock), lock.kind);
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
        let is_one = |h: &Held| h.exclusive && h.kind.meets(lock.kind) && h.range.overlaps(range);
        held.is_some_and(|held| held.iter().any(is_one))
    }

    /// Whether the owner holds a lock of that very kind in another mode.
    pub fn changes(&self, ino: Ino, lock: &RecordLock) -> bool {
        let all = self.all();
        let held = all.held.get(&(ino, lock.owner));
        let is_one = |h: &Held| h.kind == lock.kind && h.exclusive != lock.exclusive;
        held.is_some_and(|held| held.iter().any(is_one))
    }

    /// The owner may hold a lock that nobody here knows of: at the latest when it closes the file,
    /// everything must be given back.
    pub fn doubt(&self, ino: Ino, lock: &RecordLock) {
        self.all().doubtful.insert((ino, lock.owner, lock.kind));
    }

    /// Whether the owner holds, or may hold, any lock of the inode that this one knows of.
    pub fn any(&self, ino: Ino, lock: &RecordLock) -> bool {
        let (all, owner) = (self.all(), lock.owner);
        let mut held = all.held.get(&(ino, owner)).into_iter().flatten();
        let mut doubtful =
            all.doubtful.range((ino, owner, Kind::Any)..=(ino, owner, Kind::Flock)).map(|d| d.2);
        held.any(|h| h.kind.meets(lock.kind)) || doubtful.any(|kind| kind.meets(lock.kind))
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
            kind: convert::lock_kind_to(held.kind).into(),
        })
        .collect()
    }

    /// All locks of an inode were lost.
    pub fn forget(&self, ino: Ino) {
        let mut all = self.all();
        all.held.retain(|(of, _), _| *of != ino);
        all.doubtful.retain(|(of, ..)| *of != ino);
    }

    /// All locks were lost. Returns the inodes concerned.
    pub fn forget_all(&self) -> Vec<Ino> {
        let all = std::mem::take(&mut *self.all());
        let mut inos: Vec<Ino> = all.held.into_keys().map(|(ino, _)| ino).collect();
        inos.dedup();
        inos
    }
}

/// Takes a range out of one owner's locks of a kind.
fn cut(held: &mut Vec<Held>, range: Range, kind: Kind) {
    let (of_kind, mut rest) = held.drain(..).partition::<Vec<_>, _>(|h| h.kind.meets(kind));
    for h in of_kind {
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
        RecordLock { owner: 7, kind: Kind::Process, pid: 1, exclusive, start, end }
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
        assert!(!locks.any(Ino(2), &lock(0, 9, true)));
        assert_eq!(locks.forget_all(), []);
    }

    #[test]
    fn held_locks_of_flock_and_fcntl_are_apart() {
        let locks = HeldLocks::default();
        let whole = lock(0, u64::MAX, true);
        let flock = RecordLock { kind: Kind::Flock, ..whole };
        locks.add(Ino(2), &flock, false);
        assert!(!locks.any(Ino(2), &whole) && !locks.exclusive(Ino(2), &whole));
        locks.add(Ino(2), &whole, false);
        assert_eq!(locks.restate().len(), 2);
        locks.remove(Ino(2), &whole);
        assert!(locks.any(Ino(2), &flock) && locks.exclusive(Ino(2), &flock));
        assert!(locks.changes(Ino(2), &RecordLock { exclusive: false, ..flock }));
        assert!(!locks.changes(Ino(2), &flock) && !locks.changes(Ino(2), &whole));
        locks.doubt(Ino(2), &flock);
        locks.remove(Ino(2), &whole);
        assert!(locks.any(Ino(2), &flock) && !locks.any(Ino(2), &whole));
        locks.add(Ino(2), &whole, false);
        locks.remove(Ino(2), &RecordLock { kind: Kind::Any, ..whole });
        assert!(!locks.any(Ino(2), &flock) && !locks.any(Ino(2), &whole));
    }
}
