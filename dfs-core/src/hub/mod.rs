//! The invalidation hub: intents, promises and pushes of one name server (PROTOCOL 3, 9.3).
//!
//! A mutation passes `Begin` -> `Granted` -> the shell checks its preconditions -> `Push` ->
//! `Ready` -> the shell makes it durable -> `Committed`; or `Abort` at any point before. So whoever
//! was promised to hear of a change has forgotten the old state before the new one exists.
//!
//! A read asks [`Hub::promise`] first, takes `as_of` from the sequencer in the same breath, and
//! reads the state after that. It never waits.
//!
//! Invariants:
//! * What a client may serve from its cache is promised here until that client acknowledged its
//!   loss, or lapsed (I6). A promise that a push uses up therefore ends with the ack, not before;
//!   a further change of the same key waits for the same client again.
//! * While a mutation holds an intent no promise is given that it could break.
//! * Every open handle of a live session is covered by a promise or a hold (I19).
//! * Nobody but its holder has a promise on a delegated directory.
//!
//! It never commits, sends, or judges whether a mutation is allowed.

mod delegation;
mod event;
mod heat;
mod hold;
mod intent;
mod key;
mod line;
mod mutation;
mod promise;
mod push;
mod timer;

#[cfg(test)]
mod tests;

pub use event::{Config, Effect, Event, Item, MutationId, Push};
pub use key::{Hold, IntentKey, Key};

use crate::seq::Sequencer;
use crate::{BootTime, Ino, SessionId, name::Name};
use heat::HeatMap;
use hold::{Claims, Holds};
use intent::Intents;
use line::Line;
use mutation::Mutation;
use promise::Promises;
use std::collections::{BTreeMap, BTreeSet};
use timer::Timer;

/// The hub of one name server. See the module.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    intents: Intents,
    mutations: BTreeMap<MutationId, Mutation>,
    promises: Promises,
    lines: BTreeMap<SessionId, Line>,
    holds: Holds,
    pins: Claims<(Ino, u64)>,
    heat: HeatMap,
    timers: BTreeSet<(BootTime, Timer)>,
    /// New sessions get pushes with numbers above this: no number of a session that is gone, whose client may
    /// still answer.
    pushes_above: u64,
}

/// Sizes of the hub's tables, all bounded (I16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions known, active or not.
    pub sessions: usize,
    /// Promises of all sessions.
    pub promises: usize,
    /// Mutations between `Begin` and `Committed` or `Abort`.
    pub mutations: usize,
    /// Pushes that await an ack.
    pub unacked: usize,
    /// Open holds, orphan holds included.
    pub open_holds: usize,
    /// Weak holds of voided sessions.
    pub weak_holds: usize,
    /// Inodes without links that are not freed yet.
    pub orphans: usize,
    /// Pins of old versions.
    pub pins: usize,
}

impl Hub {
    /// An empty hub.
    pub fn new(config: Config) -> Hub {
        Hub {
            pushes_above: config.pushes_above,
            config,
            intents: Intents::default(),
            mutations: BTreeMap::new(),
            promises: Promises::default(),
            lines: BTreeMap::new(),
            holds: Holds::default(),
            pins: Claims::default(),
            heat: HeatMap::default(),
            timers: BTreeSet::new(),
        }
    }

    /// Takes one event; the effects are carried out in their order. Panics if the shell breaks the
    /// order of a mutation, or pushes what its intents do not cover.
    pub fn step(&mut self, now: BootTime, event: Event, seq: &mut Sequencer) -> Vec<Effect> {
        let mut out = Vec::new();
        self.run_timers(now, seq, &mut out);
        match event {
            Event::Begin { m, origin, intents } => self.begin(m, origin, intents, &mut out),
            Event::Push { m, items, origin_open } => {
                self.push(now, m, items, origin_open, seq, &mut out);
            }
            Event::Committed { m, keep, delegate } => {
                self.committed(now, m, keep, delegate, &mut out);
            }
            Event::Abort { m } => self.abort(m, &mut out),
            Event::Ack { session, number, open, keep } => {
                self.hold_open(session, &open);
                self.pin(session, &keep);
                self.settle(session, number, &mut out); // H5
            }
            Event::Forget { session, keys } => self.forget(session, keys),
            Event::Activate { session } => self.activate(now, session),
            Event::Attach { session } => self.resend(session, &mut out),
            Event::Void { session } => self.void(now, session, &mut out),
            Event::Gone { session } => self.gone(now, session, &mut out),
            Event::OpenHold { session, inos } => self.hold_open(session, &inos),
            Event::OrphanDone { session, inos } => self.close(now, session, inos, &mut out),
            Event::Unpin { session, versions } => self.unpin(session, versions, &mut out),
            Event::ReclaimOpen { session, inos } => {
                self.line(session);
                self.hold_open(session, &inos);
            }
            Event::ReclaimPin { session, versions } => {
                self.line(session);
                self.pin(session, &versions);
            }
            Event::WasDelegated { session, dirs } => self.was_delegated(now, session, dirs),
            Event::Orphaned { ino } => self.orphan(now, ino),
            Event::Tick => {}
        }
        out
    }

    /// When to send a `Tick` at the latest.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A session reads `key` (of a directory: `name` in it, or without one the whole listing) and
    /// wants to cache it; whether it may. Call it first, take `seq.last()` as `as_of` at once, and
    /// read the state after that: a change in between then has a higher push number than `as_of`.
    pub fn promise(
        &mut self,
        now: BootTime,
        session: SessionId,
        key: Key,
        name: Option<&Name>,
    ) -> bool {
        if self.intents.conflicts(key, name) {
            return false; // H2
        }
        self.give(now, session, key)
    }

    /// Records a promise if the session, the quotas and the key allow it.
    fn give(&mut self, now: BootTime, session: SessionId, key: Key) -> bool {
        let live = |line: &Line| line.active && line.drop_all.is_none();
        if !self.lines.get(&session).is_some_and(live) || self.heat.is_hot(now, key) {
            return false; // H2
        }
        if self.delegated_from(session, key).is_some() {
            return false;
        }
        if let Key::Attr(ino) = key
            && self.holds.is_orphan(ino)
            && !self.holds.of(ino).any(|holder| holder == session)
        {
            return false; // H2: a promise would not keep it alive, as an open handle relies on
        }
        if !self.promises.has(session, key) {
            if self.promises.count(session) >= self.config.promises_per_session {
                self.want_trim(now, session); // H12
                return false;
            }
            if self.promises.total() >= self.config.promises_total {
                if let Some(largest) = self.promises.largest() {
                    self.want_trim(now, largest); // H12
                }
                return false;
            }
        }
        self.promises.give(session, key); // H1
        true
    }

    /// Number of the oldest push of a session that is unacknowledged for longer than `D_inval`;
    /// with one the session is not renewed (S5).
    pub fn overdue(&self, session: SessionId, now: BootTime) -> Option<u64> {
        let (number, oldest) = self.lines.get(&session)?.unacked.first_key_value()?;
        // H11
        (now.since(oldest.sent) > self.config.inval_deadline).then_some(*number)
    }

    /// Promises of a session.
    pub fn promises(&self, session: SessionId) -> usize {
        self.promises.count(session)
    }

    /// Whether a session has a promise, one that is being used up included.
    pub fn promised(&self, session: SessionId, key: Key) -> bool {
        self.promises.has(session, key)
    }

    /// Pushes a session has not acknowledged.
    pub fn unacked(&self, session: SessionId) -> usize {
        self.lines.get(&session).map_or(0, |line| line.unacked.len())
    }

    /// Sessions with an open or orphan hold on an inode.
    pub fn holders(&self, ino: Ino) -> impl Iterator<Item = SessionId> + '_ {
        self.holds.of(ino)
    }

    /// Whether any session keeps a version of an inode.
    pub fn pinned(&self, ino: Ino, ver: u64) -> bool {
        self.pins.claimed((ino, ver))
    }

    /// Sizes of all tables; walks the sessions.
    pub fn totals(&self) -> Totals {
        let (open_holds, weak_holds, orphans) = self.holds.counts();
        Totals {
            sessions: self.lines.len(),
            promises: self.promises.total(),
            mutations: self.mutations.len(),
            unacked: self.lines.values().map(|line| line.unacked.len()).sum(),
            open_holds,
            weak_holds,
            orphans,
            pins: self.pins.len(),
        }
    }
}
