//! Objects that no stripe names (yet, or any more) and that must not be collected: those of live
//! uploads and those of pinned old versions (PROTOCOL 4.3, 6.8).

use dfs_core::extent::ObjectName;
use dfs_core::{Ino, SessionId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is protected.
#[derive(Default)]
pub struct Uploads {
    /// Version numbers of uploads and who writes them.
    live: BTreeMap<u64, SessionId>,
    /// Objects of old versions that somebody still reads.
    pinned: HashMap<(Ino, u64), Vec<ObjectName>>,
}

impl Uploads {
    /// A session writes objects under this version number.
    pub fn begin(&mut self, ver: u64, sid: SessionId) {
        self.live.insert(ver, sid);
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

    /// The lowest version number a live upload writes under.
    pub fn lowest_live(&self) -> Option<u64> {
        self.live.keys().next().copied()
    }

    /// Keeps the objects of an old version.
    pub fn pin(&mut self, ino: Ino, ver: u64, objects: Vec<ObjectName>) {
        self.pinned.insert((ino, ver), objects);
    }

    /// Nobody reads that version any more.
    pub fn unpinned(&mut self, ino: Ino, ver: u64) {
        self.pinned.remove(&(ino, ver));
    }

    /// All objects of pinned versions.
    pub fn pinned(&self) -> BTreeSet<ObjectName> {
        self.pinned.values().flatten().copied().collect()
    }
}
