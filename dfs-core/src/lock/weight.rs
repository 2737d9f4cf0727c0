//! How much each session has in the table: for its bound, and to find what is its own.

use crate::{Ino, SessionId};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Own {
    total: usize,
    inodes: BTreeMap<Ino, usize>,
}

/// Locks by session and inode; a waiting request counts twice, for the most it can add.
#[derive(Debug, Default)]
pub(super) struct Weights {
    sessions: BTreeMap<SessionId, Own>,
}

impl Weights {
    /// Replaces what a session has on an inode.
    pub fn set(&mut self, session: SessionId, ino: Ino, weight: usize) {
        let own = self.sessions.entry(session).or_default();
        let old = if weight > 0 { own.inodes.insert(ino, weight) } else { own.inodes.remove(&ino) };
        own.total = own.total + weight - old.unwrap_or(0);
        if own.total == 0 {
            self.sessions.remove(&session);
        }
    }

    /// What a session has on all inodes.
    pub fn total(&self, session: SessionId) -> usize {
        self.sessions.get(&session).map_or(0, |own| own.total)
    }

    /// The inodes on which a session has anything.
    pub fn inodes(&self, session: SessionId) -> Vec<Ino> {
        self.sessions
            .get(&session)
            .map_or_else(Vec::new, |own| own.inodes.keys().copied().collect())
    }
}
