//! Objects that no stripe names (yet, or any more) and that must not be collected: those of live
//! uploads and those of pinned old versions (PROTOCOL 4.3, 6.8).

use dfs_core::extent::ObjectName;
use dfs_core::{Ino, SessionId};
use std::collections::{BTreeMap, HashMap};

/// What is protected.
pub struct Uploads {
    /// Version numbers of uploads and who writes them.
    live: BTreeMap<u64, SessionId>,
    /// One above the highest number given to an upload in this life of the server.
    next: u64,
    /// Objects of old versions that somebody still reads.
    pinned: HashMap<(Ino, u64), Vec<ObjectName>>,
}

impl Uploads {
    /// A session writes objects under this version number.
    pub fn begin(&mut self, ver: u64, sid: SessionId) {
        self.live.insert(ver, sid);
        self.next = if self.next == u64::MAX { ver + 1 } else { self.next.max(ver + 1) };
    }

    /// A commit has named the objects of an upload.
    pub fn committed(&mut self, ver: u64) {
        self.live.remove(&ver);
    }

    /// Whether a session writes under this number.
    pub fn is_live(&self, ver: u64, sid: SessionId) -> bool {
        self.live.get(&ver) == Some(&sid)
    }

    /// A session is over: nobody will commit its uploads.
    pub fn forget(&mut self, sid: SessionId) {
        self.live.retain(|_, owner| *owner != sid);
    }

    /// Objects born at or above this number may be named by a commit to come. Without a live upload
    /// it is the number behind the last one, or none at all before the first: an object written
    /// after this was asked is seen as new by the next sweep.
    pub fn protected_from(&self) -> u64 {
        self.live.keys().next().copied().unwrap_or(self.next)
    }

    /// Keeps the objects of an old version.
    pub fn pin(&mut self, ino: Ino, ver: u64, objects: Vec<ObjectName>) {
        self.pinned.insert((ino, ver), objects);
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
