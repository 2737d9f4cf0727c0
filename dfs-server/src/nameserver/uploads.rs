//! Objects that no stripe names (yet, or any more) and that must not be collected: those of live
//! uploads and those of pinned old versions (PROTOCOL 4.3, 6.8).

use dfs_core::extent::ObjectName;
use dfs_core::{Fence, Ino, SessionId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is protected.
pub struct Uploads {
    /// Version numbers of uploads, who writes them, and under which grant.
    live: BTreeMap<u64, (SessionId, Option<Fence>)>,
    /// One above the highest number given to an upload in this life of the server.
    next: u64,
    /// Objects of old versions that somebody still reads.
    pinned: HashMap<(Ino, u64), BTreeSet<ObjectName>>,
}

impl Uploads {
    /// A session writes objects under this version number, as long as the grant with this fence
    /// lasts; without one, until it is committed or the session ends.
    pub fn begin(&mut self, ver: u64, sid: SessionId, fence: Option<Fence>) {
        self.live.insert(ver, (sid, fence));
        self.next = if self.next == u64::MAX { ver + 1 } else { self.next.max(ver + 1) };
    }

    /// A session restates an upload of before the restart. That of another session stays its own.
    pub fn reclaim(&mut self, ver: u64, sid: SessionId) {
        if !self.live.contains_key(&ver) {
            self.begin(ver, sid, None);
        }
    }

    /// Uploads of a session.
    pub fn count(&self, sid: SessionId) -> usize {
        self.live.values().filter(|(owner, _)| *owner == sid).count()
    }

    /// Objects of all pinned versions.
    pub fn pinned_objects(&self) -> usize {
        self.pinned.values().map(BTreeSet::len).sum()
    }

    /// A commit has named the objects of an upload.
    pub fn committed(&mut self, ver: u64) {
        self.live.remove(&ver);
    }

    /// Whether a session writes under this number.
    pub fn is_live(&self, ver: u64, sid: SessionId) -> bool {
        self.live.get(&ver).is_some_and(|(owner, _)| *owner == sid)
    }

    /// A session is over: nobody will commit its uploads.
    pub fn forget(&mut self, sid: SessionId) {
        self.live.retain(|_, (owner, _)| *owner != sid);
    }

    /// A grant ended: no commit can follow under it.
    pub fn grant_ended(&mut self, fence: Fence) {
        self.live.retain(|_, (_, under)| *under != Some(fence));
    }

    /// Objects born at or above this number may be named by a commit to come. Without a live upload
    /// it is the number behind the last one, or none at all before the first: an object written
    /// after this was asked is seen as new by the next sweep.
    pub fn protected_from(&self) -> u64 {
        self.live.keys().next().copied().unwrap_or(self.next)
    }

    /// Keeps the objects of an old version.
    pub fn pin(&mut self, ino: Ino, ver: u64, objects: Vec<ObjectName>) {
        self.pinned.entry((ino, ver)).or_default().extend(objects);
    }

    /// Nobody reads that version any more.
    pub fn unpinned(&mut self, ino: Ino, ver: u64) {
        self.pinned.remove(&(ino, ver));
    }

    /// Whether somebody still reads this object of an old version.
    pub fn is_pinned(&self, name: ObjectName) -> bool {
        self.pinned.values().flatten().any(|pinned| *pinned == name)
    }
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads { live: BTreeMap::new(), next: u64::MAX, pinned: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);

    #[test]
    fn upload_protects_until_commit_grant_or_session_end() {
        let mut uploads = Uploads::default();
        assert_eq!(uploads.protected_from(), u64::MAX, "nothing was ever uploaded");
        uploads.begin(7, A, Some(Fence(70)));
        uploads.begin(8, A, Some(Fence(80)));
        uploads.begin(9, SessionId(2), None);
        assert!(uploads.is_live(7, A) && !uploads.is_live(7, SessionId(2)));
        assert_eq!(uploads.protected_from(), 7);
        uploads.committed(7);
        assert_eq!(uploads.protected_from(), 8);
        uploads.grant_ended(Fence(80));
        assert_eq!(uploads.protected_from(), 9);
        uploads.forget(SessionId(2));
        assert_eq!(uploads.protected_from(), 10, "what comes next is protected");
    }

    #[test]
    fn upload_that_is_claimed_by_two_stays_with_the_first() {
        let (mut uploads, other) = (Uploads::default(), SessionId(2));
        uploads.reclaim(7, A);
        uploads.reclaim(7, other);
        assert!(uploads.is_live(7, A) && !uploads.is_live(7, other));
        assert_eq!((uploads.count(A), uploads.count(other)), (1, 0));
    }

    #[test]
    fn pinned_objects_of_several_claims_are_all_kept() {
        let mut uploads = Uploads::default();
        let name = |n| ObjectName { ino: Ino(5), born: 3, n };
        uploads.pin(Ino(5), 3, vec![name(0), name(1)]);
        uploads.pin(Ino(5), 3, vec![name(1)]);
        uploads.pin(Ino(5), 3, vec![]);
        assert!(uploads.is_pinned(name(0)) && uploads.is_pinned(name(1)));
        assert_eq!(uploads.pinned_objects(), 2);
    }

    #[test]
    fn pinned_objects_are_kept_until_the_last_reader_goes() {
        let mut uploads = Uploads::default();
        let name = ObjectName { ino: Ino(5), born: 3, n: 0 };
        uploads.pin(Ino(5), 3, vec![name]);
        assert!(uploads.is_pinned(name));
        uploads.unpinned(Ino(5), 3);
        assert!(!uploads.is_pinned(name));
    }
}
