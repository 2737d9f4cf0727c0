//! What keeps an inode without links alive (PROTOCOL 3.6, I19, I20), and pinned versions (4.3).
//!
//! An orphan hold is an open hold on an inode that has lost its last link: one record serves both.
//! A weak hold is what is left of an attribute promise when its session lapses.

use crate::hub::event::Config;
use crate::{BootTime, Ino, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// A set of (thing, session) pairs found from both sides.
#[derive(Debug)]
pub(super) struct Claims<T> {
    by_thing: BTreeSet<(T, SessionId)>,
    by_session: BTreeMap<SessionId, BTreeSet<T>>,
}

impl<T> Default for Claims<T> {
    fn default() -> Claims<T> {
        Claims { by_thing: BTreeSet::new(), by_session: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> Claims<T> {
    /// Adds a pair unless the session has `limit` already; whether the pair is there now.
    pub fn add(&mut self, session: SessionId, thing: T, limit: usize) -> bool {
        let own = self.by_session.entry(session).or_default();
        if own.len() >= limit && !own.contains(&thing) {
            return false;
        }
        own.insert(thing);
        self.by_thing.insert((thing, session));
        true
    }

    /// Removes a pair; whether it was the last one of the thing.
    pub fn remove(&mut self, session: SessionId, thing: T) -> bool {
        if !self.by_thing.remove(&(thing, session)) {
            return false;
        }
        let own = self.by_session.get_mut(&session).expect("session of a claim");
        own.remove(&thing);
        if own.is_empty() {
            self.by_session.remove(&session);
        }
        !self.claimed(thing)
    }

    /// Removes all pairs of a session; the things nobody claims any more.
    pub fn clear(&mut self, session: SessionId) -> Vec<T> {
        let own = self.by_session.remove(&session).unwrap_or_default();
        for thing in &own {
            self.by_thing.remove(&(*thing, session));
        }
        own.into_iter().filter(|thing| !self.claimed(*thing)).collect()
    }

    /// Who claims a thing, by number of session.
    pub fn of(&self, thing: T) -> impl Iterator<Item = SessionId> + '_ {
        let all = (thing, SessionId(0))..=(thing, SessionId(u64::MAX));
        self.by_thing.range(all).map(|(_, session)| *session)
    }

    /// Whether anybody claims it.
    pub fn claimed(&self, thing: T) -> bool {
        self.of(thing).next().is_some()
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.by_thing.len()
    }
}

/// Weak holds of one session.
#[derive(Debug)]
struct Weak {
    until: BootTime,
    inos: BTreeSet<Ino>,
}

/// Open inodes as far as the name server must know of them.
#[derive(Debug, Default)]
pub(super) struct Holds {
    open: Claims<Ino>,
    weak: BTreeMap<SessionId, Weak>,
    /// Inodes without links, and the earliest time at which each may be freed.
    orphans: BTreeMap<Ino, BootTime>,
}

impl Holds {
    /// The session has `ino` open.
    pub fn open(&mut self, session: SessionId, ino: Ino, config: &Config) {
        self.open.add(session, ino, config.open_holds_per_session);
    }

    /// The session has it open no longer.
    pub fn close(&mut self, session: SessionId, ino: Ino) {
        self.open.remove(session, ino);
        if let Some(weak) = self.weak.get_mut(&session) {
            weak.inos.remove(&ino);
        }
    }

    /// Who has `ino` open, weak holds not counted.
    pub fn of(&self, ino: Ino) -> impl Iterator<Item = SessionId> + '_ {
        self.open.of(ino)
    }

    /// H7: the session may have these open, and those it had at an earlier lapse. At most
    /// `promises_per_session` are kept. Whether there are any.
    pub fn weaken(
        &mut self,
        session: SessionId,
        inos: Vec<Ino>,
        until: BootTime,
        config: &Config,
    ) -> bool {
        if inos.is_empty() && !self.weak.contains_key(&session) {
            return false;
        }
        let empty = || Weak { until, inos: BTreeSet::new() };
        let weak = self.weak.entry(session).or_insert_with(empty);
        weak.until = until;
        let room = config.promises_per_session.saturating_sub(weak.inos.len());
        weak.inos.extend(inos.into_iter().take(room));
        true
    }

    /// The session is back and names its open inodes itself until `by`.
    pub fn shorten(&mut self, session: SessionId, by: BootTime) -> bool {
        let weak = self.weak.get_mut(&session);
        weak.is_some_and(|weak| {
            weak.until = weak.until.min(by);
            true
        })
    }

    /// Ends weak holds whose time has come; the inodes concerned.
    pub fn end_weak(&mut self, now: BootTime, session: SessionId) -> Vec<Ino> {
        match self.weak.get(&session) {
            Some(weak) if weak.until <= now => self.drop_weak(session),
            _ => Vec::new(),
        }
    }

    fn drop_weak(&mut self, session: SessionId) -> Vec<Ino> {
        self.weak.remove(&session).map_or_else(Vec::new, |weak| weak.inos.into_iter().collect())
    }

    /// Forgets a session; the inodes it held in any way.
    pub fn gone(&mut self, session: SessionId) -> Vec<Ino> {
        let mut inos = self.open.clear(session);
        inos.extend(self.drop_weak(session));
        inos
    }

    /// `ino` has no link from now on; freed at `free_at` or when its last holder lets go.
    pub fn orphan(&mut self, ino: Ino, free_at: BootTime) {
        self.orphans.entry(ino).or_insert(free_at);
    }

    /// Whether `ino` lost its last link and is not freed yet.
    pub fn is_orphan(&self, ino: Ino) -> bool {
        self.orphans.contains_key(&ino)
    }

    /// Whether `ino` is an orphan whose time has come and that nobody holds; then forgets it.
    pub fn free(&mut self, now: BootTime, ino: Ino) -> bool {
        let due = self.orphans.get(&ino).is_some_and(|free_at| *free_at <= now);
        let held = self.open.claimed(ino) || self.weak.values().any(|w| w.inos.contains(&ino));
        due && !held && self.orphans.remove(&ino).is_some()
    }

    /// Counts of open holds, weak holds and orphans.
    pub fn counts(&self) -> (usize, usize, usize) {
        let weak = self.weak.values().map(|w| w.inos.len()).sum();
        (self.open.len(), weak, self.orphans.len())
    }
}
