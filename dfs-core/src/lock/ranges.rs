//! The locks of one inode: replacing, splitting and merging one owner's ranges.

use super::{Kind, Owner, RecordLock};
use crate::SessionId;
use crate::range::Range;

/// Held locks of one inode, by first byte, then by owner. Those of one owner whose kinds meet never
/// overlap, and those that touch differ in mode or kind.
#[derive(Debug, Default)]
pub(super) struct HeldLocks(Vec<RecordLock>);

impl HeldLocks {
    /// Takes `range` from the locks of that owner and kind.
    pub fn clear(&mut self, whose: (Owner, Kind), range: Range) {
        self.replace(whose, range, None);
    }

    /// Gives `lock` to its owner in place of what it had in that range. Whether that may let others
    /// in: some of it was exclusive and is no longer.
    pub fn set(&mut self, lock: RecordLock) -> bool {
        let whose = (lock.owner, lock.kind);
        // Also one of a kind nobody knew, which becomes one of a kind that lets more in.
        let weaker = |l: &RecordLock| {
            is_of(l, whose)
                && l.range.overlaps(lock.range)
                && (lock.weaker(l) || l.kind != lock.kind)
        };
        let weaker = self.0.iter().any(weaker);
        self.replace(whose, lock.range, Some(lock));
        weaker
    }

    fn replace(&mut self, whose: (Owner, Kind), range: Range, new: Option<RecordLock>) {
        let mut own: Vec<RecordLock> = self.0.extract_if(.., |l| is_of(l, whose)).collect();
        let outside = |l: RecordLock| {
            let before = Range::new(l.range.start, l.range.end.min(range.start));
            let after = Range::new(l.range.start.max(range.end), l.range.end);
            [before, after].map(|range| RecordLock { range, ..l })
        };
        own = own.into_iter().flat_map(outside).filter(|l| !l.range.is_empty()).collect();
        own.extend(new);
        own.sort_by_key(|l| (l.kind, l.range.start));
        own.dedup_by(|next, kept| {
            let mode = |l: &RecordLock| (l.exclusive, l.one_client, l.kind);
            let joins = mode(kept) == mode(next) && kept.range.end == next.range.start;
            if joins {
                kept.range.end = next.range.end;
                kept.pid = new.map_or(kept.pid, |l| l.pid);
            }
            joins
        });
        self.0.extend(own);
        self.0.sort_by_key(|l| (l.range.start, l.owner, l.kind));
    }

    /// Whether giving back `range` leaves two pieces of one lock.
    pub fn splits(&self, whose: (Owner, Kind), range: Range) -> bool {
        let inside = |l: &RecordLock| l.range.start < range.start && range.end < l.range.end;
        self.0.iter().any(|l| is_of(l, whose) && inside(l))
    }

    /// Takes everything from a session.
    pub fn clear_session(&mut self, session: SessionId) {
        self.0.retain(|l| l.owner.session != session);
    }

    /// Locks in the way of `lock`, by first byte.
    pub fn conflicting<'a>(
        &'a self,
        lock: &'a RecordLock,
    ) -> impl Iterator<Item = &'a RecordLock> + 'a {
        self.0.iter().filter(|held| held.conflicts(lock))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &RecordLock> + '_ {
        self.0.iter()
    }

    /// Number of locks.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether a lock is one that this owner changes with a call of this kind.
fn is_of(lock: &RecordLock, (owner, kind): (Owner, Kind)) -> bool {
    lock.owner == owner && lock.kind.meets(kind)
}
