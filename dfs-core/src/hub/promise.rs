//! The promise table: who is told before what changes (H1, H5, H8).
//!
//! Two ordered indexes of eight-byte keys, by key and by session: about fifty bytes a promise.
//! A promise that a push uses up stays until the ack of that push, because until then the client
//! may serve from its cache, and any further mutation has to wait for it as well.

use crate::hub::key::{Key, PackedKey};
use crate::{Ino, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// The promises of one session.
#[derive(Debug, Default)]
struct Held {
    /// When each was given or last confirmed, by the count of all.
    keys: BTreeMap<PackedKey, u64>,
    /// Those being used up, and by which push.
    used: BTreeMap<PackedKey, u64>,
}

/// All promises of a name server.
#[derive(Debug, Default)]
pub(super) struct Promises {
    by_key: BTreeSet<(PackedKey, SessionId)>,
    by_session: BTreeMap<SessionId, Held>,
    /// Directories whose names are promised to one session that may change them before it says so.
    /// Ends with its promise at the latest.
    delegated: BTreeMap<Ino, SessionId>,
    given: u64,
}

impl Promises {
    /// Records a promise, or confirms it: then a push that was using it up no longer ends it.
    pub fn give(&mut self, session: SessionId, key: Key) {
        let key = PackedKey::from(key);
        self.given += 1;
        let held = self.by_session.entry(session).or_default();
        held.used.remove(&key);
        if held.keys.insert(key, self.given).is_none() {
            self.by_key.insert((key, session));
        }
    }

    /// Whether the session has it.
    pub fn has(&self, session: SessionId, key: Key) -> bool {
        self.by_key.contains(&(key.into(), session))
    }

    /// Takes it away; whether there was one.
    pub fn remove(&mut self, session: SessionId, key: Key) -> bool {
        let key = PackedKey::from(key);
        if !self.by_key.remove(&(key, session)) {
            return false;
        }
        self.not_promised(session, key);
        let held = self.by_session.get_mut(&session).expect("session of a promise");
        held.keys.remove(&key);
        held.used.remove(&key);
        if held.keys.is_empty() {
            self.by_session.remove(&session);
        }
        true
    }

    /// Notes that push `number` uses a promise up.
    pub fn use_up(&mut self, session: SessionId, key: Key, number: u64) {
        let held = self.by_session.get_mut(&session).expect("session of a promise");
        held.used.insert(key.into(), number);
    }

    /// Push `number` is answered: ends the promise unless it was confirmed, or used up again, since.
    pub fn settle(&mut self, session: SessionId, key: Key, number: u64) {
        let held = self.by_session.get(&session);
        if held.and_then(|h| h.used.get(&key.into())) == Some(&number) {
            self.remove(session, key);
        }
    }

    /// Takes all promises of a session away; the inodes whose attributes were promised.
    pub fn clear(&mut self, session: SessionId) -> Vec<Ino> {
        let held = self.by_session.remove(&session).unwrap_or_default();
        let mut inos = Vec::new();
        for key in held.keys.into_keys() {
            self.by_key.remove(&(key, session));
            self.not_promised(session, key);
            if let Key::Attr(ino) = key.into() {
                inos.push(ino);
            }
        }
        inos
    }

    fn not_promised(&mut self, session: SessionId, key: PackedKey) {
        if let Key::Dir(dir) = key.into() {
            self.undelegate(session, dir);
        }
    }

    /// Delegates a directory whose names are promised to the session.
    pub fn delegate_to(&mut self, session: SessionId, dir: Ino) {
        debug_assert!(self.has(session, Key::Dir(dir)), "a delegation without promise");
        self.delegated.insert(dir, session);
    }

    /// To whom a directory is delegated.
    pub fn delegate(&self, dir: Ino) -> Option<SessionId> {
        self.delegated.get(&dir).copied()
    }

    /// All delegated directories, and to whom they are.
    pub fn delegations(&self) -> Vec<(Ino, SessionId)> {
        self.delegated.iter().map(|(dir, session)| (*dir, *session)).collect()
    }

    /// Ends the session's delegation of a directory, if it has it.
    pub fn undelegate(&mut self, session: SessionId, dir: Ino) {
        if self.delegate(dir) == Some(session) {
            self.delegated.remove(&dir);
        }
    }

    /// Who has it, by number of session.
    pub fn holders(&self, key: Key) -> impl Iterator<Item = SessionId> + '_ {
        let key = PackedKey::from(key);
        let all = (key, SessionId(0))..=(key, SessionId(u64::MAX));
        self.by_key.range(all).map(|(_, session)| *session)
    }

    /// The `count` promises of a session that were confirmed least recently and are not being used
    /// up, oldest first.
    pub fn oldest(&self, session: SessionId, count: usize) -> Vec<Key> {
        let Some(held) = self.by_session.get(&session) else { return Vec::new() };
        let unused = held.keys.iter().filter(|(key, _)| !held.used.contains_key(key));
        let mut by_age: Vec<(u64, PackedKey)> = unused.map(|(key, at)| (*at, *key)).collect();
        by_age.sort_unstable_by_key(|(at, _)| *at);
        by_age.into_iter().take(count).map(|(_, key)| key.into()).collect()
    }

    /// Promises of one session.
    pub fn count(&self, session: SessionId) -> usize {
        self.by_session.get(&session).map_or(0, |held| held.keys.len())
    }

    /// Promises of all.
    pub fn total(&self) -> usize {
        self.by_key.len()
    }

    /// The session with the most promises.
    pub fn largest(&self) -> Option<SessionId> {
        let counts = self.by_session.iter().map(|(session, held)| (held.keys.len(), *session));
        counts.max().map(|(_, session)| session)
    }
}
