//! The lock table: requests, the line of each inode, and what happens to lapsed sessions.

use super::ranges::HeldLocks;
use super::weight::Weights;
use super::{Config, Denial, Effect, Event, Kind, Owner, RecordLock, Waiting};
use crate::range::Range;
use crate::{BootTime, Ino, RequestId, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// Locks and waiting requests of one inode. Exists only while it has any.
#[derive(Debug, Default)]
struct Inode {
    held: HeldLocks,
    /// In the order in which they came.
    queue: Vec<Waiting>,
    /// Sessions whose locks here are being taken: the journal is not durable yet.
    taking: BTreeSet<SessionId>,
}

impl Inode {
    /// What a session counts here, or everybody. Locks being taken count once more, also when they
    /// were given back meanwhile, so that the session is known here until the journal is durable.
    fn weight(&self, session: Option<SessionId>) -> usize {
        let ours = |owner: Owner| session.is_none_or(|s| s == owner.session);
        let held = self.held.iter().filter(|l| ours(l.owner)).count();
        let taking = self.taking.iter().filter(|s| session.is_none_or(|own| own == **s)).count();
        held + taking + 2 * self.queue.iter().filter(|w| ours(w.lock.owner)).count()
    }
}

/// What stands between a request and its lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Nothing,
    /// Only locks of lapsed sessions, which can be taken.
    Lapsed,
    Others,
}

/// All record locks of a name server.
#[derive(Debug, Default)]
pub struct LockTable {
    config: Config,
    inodes: BTreeMap<Ino, Inode>,
    /// Where each waiting request waits.
    requests: BTreeMap<RequestId, Ino>,
    /// The waiting requests of each owner.
    waiting: BTreeMap<Owner, BTreeSet<RequestId>>,
    weights: Weights,
    lapsed: BTreeSet<SessionId>,
}

impl LockTable {
    /// An empty table.
    pub fn new(config: Config) -> LockTable {
        LockTable { config, ..LockTable::default() }
    }

    /// Takes one event; the effects are carried out in their order. There are no timers.
    pub fn step(&mut self, now: BootTime, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Lock { req, ino, lock, wait } => {
                self.lock(ino, Waiting { req, lock, wait, since: now }, &mut out);
            }
            Event::Unlock { req, ino, owner, kind, range } => {
                self.unlock(req, ino, (owner, kind), range, &mut out);
            }
            Event::Cancel { req } => {
                if let Some(ino) = self.requests.get(&req).copied() {
                    self.deny(ino, req, Denial::Interrupted, &mut out);
                    self.pump(ino, &mut out);
                }
            }
            Event::ReleaseOwner { ino, owner } => {
                self.clear(ino, (owner, Kind::Any), Range::ALL);
                self.pump(ino, &mut out);
            }
            Event::Gone { session } => self.gone(session, &mut out),
            Event::Lapsed { session } => self.lapse(session, &mut out),
            Event::Back { session } => drop(self.lapsed.remove(&session)),
            Event::Reclaim { req, ino, lock } => self.reclaim(req, ino, lock, &mut out),
            Event::LostDurable { session, ino } => self.lost(session, ino, &mut out),
        }
        out
    }

    fn lock(&mut self, ino: Ino, want: Waiting, out: &mut Vec<Effect>) {
        assert!(!want.lock.range.is_empty(), "request {} locks no byte", want.req);
        let deny = |denial| Effect::Denied { req: want.req, denial };
        if self.lapsed.contains(&want.lock.owner.session) {
            return out.push(deny(Denial::SessionLost));
        }
        if !self.has_room(ino, want.lock.owner.session) {
            return out.push(deny(Denial::NoLocks));
        }
        let obstacle = self.obstacle(ino, &want.lock);
        if obstacle == Obstacle::Others && want.lock.kind == Kind::Flock {
            self.clear(ino, (want.lock.owner, Kind::Flock), Range::ALL);
        }
        match obstacle {
            Obstacle::Nothing => {
                self.give(ino, want, out);
                return self.pump(ino, out);
            }
            Obstacle::Lapsed => {}
            Obstacle::Others if !want.wait => {
                out.push(deny(Denial::WouldBlock));
                return self.pump(ino, out);
            }
            Obstacle::Others if self.deadlocks(ino, &want.lock) => {
                return out.push(deny(Denial::Deadlock));
            }
            Obstacle::Others => {}
        }
        let inode = self.inodes.entry(ino).or_default();
        inode.queue.push(want);
        self.requests.insert(want.req, ino);
        self.waiting.entry(want.lock.owner).or_default().insert(want.req);
        self.weigh(ino, want.lock.owner.session);
        self.pump(ino, out);
    }

    fn unlock(
        &mut self,
        req: RequestId,
        ino: Ino,
        whose: (Owner, Kind),
        range: Range,
        out: &mut Vec<Effect>,
    ) {
        let splits = self.inodes.get(&ino).is_some_and(|i| i.held.splits(whose, range));
        if splits && !self.has_room(ino, whose.0.session) {
            return out.push(Effect::Denied { req, denial: Denial::NoLocks });
        }
        self.clear(ino, whose, range);
        out.push(Effect::Granted { req });
        self.pump(ino, out);
    }

    fn reclaim(&mut self, req: RequestId, ino: Ino, lock: RecordLock, out: &mut Vec<Effect>) {
        let taken = self.held_against(ino, &lock).next().is_some();
        if taken || !self.has_room(ino, lock.owner.session) {
            let denial = if taken { Denial::WouldBlock } else { Denial::NoLocks };
            return out.push(Effect::Denied { req, denial });
        }
        let want = Waiting { req, lock, wait: false, since: BootTime::default() };
        self.give(ino, want, out);
    }

    fn gone(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        let inos = self.weights.inodes(session);
        self.lapsed.remove(&session);
        for ino in &inos {
            self.deny_session(*ino, session, out);
            self.take(session, *ino);
        }
        self.pump_each(inos, out);
    }

    fn lapse(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        let inos = self.weights.inodes(session);
        self.lapsed.insert(session);
        inos.iter().for_each(|ino| self.deny_session(*ino, session, out));
        self.pump_each(inos, out);
    }

    fn lost(&mut self, session: SessionId, ino: Ino, out: &mut Vec<Effect>) {
        let taking = self.inodes.get(&ino).is_some_and(|i| i.taking.contains(&session));
        if taking {
            self.take(session, ino);
            self.pump(ino, out);
        }
    }

    /// Removes a session's locks on an inode.
    fn take(&mut self, session: SessionId, ino: Ino) {
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        inode.held.clear_session(session);
        inode.taking.remove(&session);
        self.weigh(ino, session);
    }

    fn clear(&mut self, ino: Ino, whose: (Owner, Kind), range: Range) {
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        inode.held.clear(whose, range);
        self.weigh(ino, whose.0.session);
    }

    /// Records a lock and answers; whether others may profit.
    fn give(&mut self, ino: Ino, want: Waiting, out: &mut Vec<Effect>) -> bool {
        let weaker = self.inodes.entry(ino).or_default().held.set(want.lock);
        self.weigh(ino, want.lock.owner.session);
        out.push(Effect::Granted { req: want.req });
        weaker
    }

    /// What stands between `lock` and its grant.
    fn obstacle(&self, ino: Ino, lock: &RecordLock) -> Obstacle {
        let Some(inode) = self.inodes.get(&ino) else { return Obstacle::Nothing };
        // A session whose locks are being taken must not get new ones that would go with them.
        let mut takeable = inode.taking.contains(&lock.owner.session);
        for held in inode.held.conflicting(lock) {
            if !self.takeable(ino, held) {
                return Obstacle::Others;
            }
            takeable = true;
        }
        if takeable { Obstacle::Lapsed } else { Obstacle::Nothing }
    }

    /// Goes through the line of an inode and grants what can be.
    fn pump(&mut self, ino: Ino, out: &mut Vec<Effect>) {
        let mut place = 0;
        while let Some(want) = self.inodes.get(&ino).and_then(|i| i.queue.get(place)).copied() {
            match self.obstacle(ino, &want.lock) {
                Obstacle::Nothing => {
                    self.unqueue(ino, want.req);
                    let weaker = self.give(ino, want, out);
                    let in_the_way = self.inodes[&ino].queue[..place].iter().any(|w| !w.wait);
                    if weaker || in_the_way {
                        place = 0; // earlier ones may get in, or must be refused
                    }
                }
                Obstacle::Lapsed => {
                    self.start_taking(ino, &want.lock, out);
                    place += 1;
                }
                Obstacle::Others if !want.wait => {
                    self.deny(ino, want.req, Denial::WouldBlock, out);
                }
                Obstacle::Others => place += 1,
            }
        }
        let idle = |i: &Inode| i.held.len() == 0 && i.queue.is_empty() && i.taking.is_empty();
        if self.inodes.get(&ino).is_some_and(idle) {
            self.inodes.remove(&ino);
        }
    }

    fn pump_each(&mut self, inos: Vec<Ino>, out: &mut Vec<Effect>) {
        for ino in inos {
            self.pump(ino, out);
        }
    }

    /// I3: the loss is durable before anybody else has the lock.
    fn start_taking(&mut self, ino: Ino, lock: &RecordLock, out: &mut Vec<Effect>) {
        let inode = self.inodes.get_mut(&ino).expect("inode of a waiting request");
        let sessions: BTreeSet<SessionId> =
            inode.held.conflicting(lock).map(|held| held.owner.session).collect();
        let new: Vec<SessionId> =
            sessions.into_iter().filter(|s| inode.taking.insert(*s)).collect();
        for session in new {
            self.weigh(ino, session);
            out.push(Effect::JournalLost { session, ino });
        }
    }

    fn deny(&mut self, ino: Ino, req: RequestId, denial: Denial, out: &mut Vec<Effect>) {
        self.unqueue(ino, req);
        out.push(Effect::Denied { req, denial });
    }

    fn deny_session(&mut self, ino: Ino, session: SessionId, out: &mut Vec<Effect>) {
        let queue = self.inodes.get(&ino).map_or(&[][..], |inode| &inode.queue);
        let ours = queue.iter().filter(|w| w.lock.owner.session == session);
        for req in ours.map(|w| w.req).collect::<Vec<_>>() {
            self.deny(ino, req, Denial::SessionLost, out);
        }
    }

    fn unqueue(&mut self, ino: Ino, req: RequestId) {
        let inode = self.inodes.get_mut(&ino).expect("inode of a waiting request");
        let place = inode.queue.iter().position(|w| w.req == req).expect("a waiting request");
        let owner = inode.queue.remove(place).lock.owner;
        self.requests.remove(&req);
        let own = self.waiting.get_mut(&owner).expect("owner of a waiting request");
        own.remove(&req);
        if own.is_empty() {
            self.waiting.remove(&owner);
        }
        self.weigh(ino, owner.session);
    }

    /// Counts again what a session has in an inode.
    fn weigh(&mut self, ino: Ino, session: SessionId) {
        let weight = self.inodes.get(&ino).map_or(0, |inode| inode.weight(Some(session)));
        self.weights.set(session, ino, weight);
    }

    fn has_room(&self, ino: Ino, session: SessionId) -> bool {
        let inode = self.inodes.get(&ino).map_or(0, |inode| inode.weight(None));
        let own = self.weights.total(session);
        inode + 2 <= self.config.per_inode && own + 2 <= self.config.per_session
    }

    /// Locks held by others in the way of `lock`.
    fn held_against<'a>(
        &'a self,
        ino: Ino,
        lock: &'a RecordLock,
    ) -> impl Iterator<Item = &'a RecordLock> + 'a {
        self.inodes.get(&ino).into_iter().flat_map(move |inode| inode.held.conflicting(lock))
    }

    /// Whether a lock goes as soon as the journal has its loss.
    fn takeable(&self, ino: Ino, held: &RecordLock) -> bool {
        let session = held.owner.session;
        self.lapsed.contains(&session)
            || self.inodes.get(&ino).is_some_and(|inode| inode.taking.contains(&session))
    }

    /// Those of [`LockTable::held_against`] that only their owners can end.
    pub(super) fn lasting_against<'a>(
        &'a self,
        ino: Ino,
        lock: &'a RecordLock,
    ) -> impl Iterator<Item = &'a RecordLock> + 'a {
        self.held_against(ino, lock).filter(move |held| !self.takeable(ino, held))
    }

    /// What an owner waits for.
    pub(super) fn wanted_by(&self, owner: Owner) -> impl Iterator<Item = (Ino, RecordLock)> + '_ {
        let own = self.waiting.get(&owner).into_iter().flatten();
        own.filter_map(|req| {
            let ino = *self.requests.get(req)?;
            let want = self.inodes[&ino].queue.iter().find(|w| w.req == *req)?;
            Some((ino, want.lock))
        })
    }

    /// F_GETLK: the first lock in the way of `lock`. Those of lapsed sessions would be taken, so
    /// they are not in the way.
    pub fn test(&self, ino: Ino, lock: &RecordLock) -> Option<RecordLock> {
        self.lasting_against(ino, lock).next().copied()
    }

    /// All locks held, by inode and first byte.
    pub fn locks(&self) -> impl Iterator<Item = (Ino, RecordLock)> + '_ {
        self.inodes.iter().flat_map(|(ino, inode)| inode.held.iter().map(|lock| (*ino, *lock)))
    }

    /// All requests that wait, by inode and order.
    pub fn waiting(&self) -> impl Iterator<Item = (Ino, Waiting)> + '_ {
        self.inodes.iter().flat_map(|(ino, inode)| inode.queue.iter().map(|w| (*ino, *w)))
    }
}
