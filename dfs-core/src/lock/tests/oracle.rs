//! The rules of record locks written down once more, byte by byte.

use crate::lock::{Denial, Effect, Kind, Owner, RecordLock};
use crate::{Ino, RequestId, SessionId};
use std::collections::{BTreeMap, BTreeSet};

pub const BYTES: u64 = 8;

#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub req: RequestId,
    pub ino: Ino,
    pub lock: RecordLock,
    pub wait: bool,
}

#[derive(Debug, Default)]
pub struct Oracle {
    /// Who has each byte, and whether alone.
    pub held: BTreeMap<(Ino, u64), BTreeMap<Owner, bool>>,
    /// In the order in which they came; the one being answered included.
    pub wishes: Vec<Wish>,
    pub lapsed: BTreeSet<SessionId>,
    pub taking: BTreeSet<(SessionId, Ino)>,
}

/// The kind of all locks of an owner, so that owners of every kind meet.
pub fn kind_of(owner: Owner) -> Kind {
    match (owner.session.0, owner.owner) {
        (1, 1) | (3, 1) => Kind::Process,
        (1, _) | (3, _) => Kind::Flock,
        (2, 1) => Kind::OpenFile,
        _ => Kind::Any,
    }
}

impl Oracle {
    pub fn set(&mut self, ino: Ino, owner: Owner, from: u64, to: u64, mode: Option<bool>) {
        for byte in from..to.min(BYTES) {
            let holders = self.held.entry((ino, byte)).or_default();
            match mode {
                Some(exclusive) => drop(holders.insert(owner, exclusive)),
                None => drop(holders.remove(&owner)),
            }
        }
    }

    pub fn drop_session(&mut self, session: SessionId, only: Option<Ino>) {
        for ((ino, _), holders) in &mut self.held {
            if only.is_none_or(|only| only == *ino) {
                holders.retain(|owner, _| owner.session != session);
            }
        }
    }

    fn takeable(&self, session: SessionId, ino: Ino) -> bool {
        self.lapsed.contains(&session) || self.taking.contains(&(session, ino))
    }

    /// Owners of bytes in the way.
    fn holders_against(&self, wish: &Wish) -> BTreeSet<Owner> {
        let range = wish.lock.range;
        let bytes =
            (range.start..range.end.min(BYTES)).filter_map(|b| self.held.get(&(wish.ino, b)));
        bytes
            .flatten()
            .filter(|(owner, exclusive)| {
                **owner != wish.lock.owner
                    && kind_of(**owner).meets(wish.lock.kind)
                    && (**exclusive || wish.lock.exclusive)
            })
            .map(|(owner, _)| *owner)
            .collect()
    }

    /// Those of them that do not go by themselves.
    fn lasting(&self, wish: &Wish) -> BTreeSet<Owner> {
        let lasts = |owner: &Owner| !self.takeable(owner.session, wish.ino);
        self.holders_against(wish).into_iter().filter(lasts).collect()
    }

    /// Who waits for whom: the closure of all direct waits. `strictly`: of processes only.
    fn reaches(&self, from: Owner, to: Owner, strictly: bool) -> bool {
        let mut reached = BTreeSet::from([from]);
        loop {
            let before = reached.len();
            for wish in self.wishes.iter().filter(|w| w.lock.kind != Kind::Flock) {
                let counts = !strictly || wish.lock.kind.deadlocks();
                if counts && reached.contains(&wish.lock.owner) {
                    let holders = self.lasting(wish).into_iter();
                    reached.extend(holders.filter(|holder| kind_of(*holder).deadlocks()));
                }
            }
            if reached.len() == before {
                return reached.contains(&to);
            }
        }
    }

    /// What flock(2) says of a mode that cannot be changed at once.
    pub fn arrived(&mut self, wish: Wish) {
        self.wishes.push(wish);
        let refused = self.lapsed.contains(&wish.lock.owner.session);
        if wish.lock.kind == Kind::Flock && !refused && self.blocked_by_live(&wish) {
            self.set(wish.ino, wish.lock.owner, 0, BYTES, None);
        }
    }

    fn blocked_by_live(&self, wish: &Wish) -> bool {
        !self.lasting(wish).is_empty()
    }

    fn blocked(&self, wish: &Wish) -> bool {
        self.blocked_by_live(wish)
            || !self.holders_against(wish).is_empty()
            || self.taking.contains(&(wish.lock.owner.session, wish.ino))
    }

    fn deadlock(&self, wish: &Wish) -> bool {
        let me = wish.lock.owner;
        let reaches = |holder| self.reaches(holder, me, false);
        wish.lock.kind.deadlocks() && self.lasting(wish).into_iter().any(reaches)
    }

    /// A circle that somebody should have been told of, whoever came last.
    fn circle(&self, wish: &Wish) -> bool {
        let holders = self.lasting(wish).into_iter().filter(|holder| kind_of(*holder).deadlocks());
        let mut reach = holders.map(|holder| self.reaches(holder, wish.lock.owner, true));
        wish.lock.kind.deadlocks() && reach.any(|reached| reached)
    }

    fn find(&self, req: RequestId) -> Wish {
        *self.wishes.iter().find(|w| w.req == req).expect("an answer to an open request")
    }

    /// Checks one effect against the rules and carries it out.
    pub fn apply(&mut self, effect: &Effect) {
        match *effect {
            Effect::Granted { req } => {
                let wish = self.find(req);
                assert!(!self.blocked(&wish), "{wish:?} granted against {self:?}");
                self.wishes.retain(|w| w.req != req);
                let (range, mode) = (wish.lock.range, Some(wish.lock.exclusive));
                self.set(wish.ino, wish.lock.owner, range.start, range.end, mode);
            }
            Effect::Denied { req, denial } => {
                let wish = self.find(req);
                match denial {
                    Denial::WouldBlock => assert!(!wish.wait && self.blocked_by_live(&wish)),
                    Denial::Deadlock => assert!(wish.wait && self.deadlock(&wish), "{wish:?}"),
                    Denial::SessionLost => {
                        assert!(self.lapsed.contains(&wish.lock.owner.session));
                    }
                    Denial::Interrupted | Denial::NoLocks => {}
                }
                self.wishes.retain(|w| w.req != req);
            }
            Effect::JournalLost { session, ino } => {
                assert!(self.lapsed.contains(&session));
                assert!(self.taking.insert((session, ino)), "taken twice");
            }
        }
    }

    /// Whoever waits has a reason, and nobody waits in a circle.
    pub fn check(&self) {
        for wish in &self.wishes {
            assert!(self.blocked(wish), "{wish:?} waits for nothing: {self:?}");
            assert!(wish.wait || !self.blocked_by_live(wish), "{wish:?} should be refused");
            assert!(!self.circle(wish), "{wish:?} waits for ever: {self:?}");
        }
        for holders in self.held.values() {
            for (one, _) in holders.iter().filter(|(_, exclusive)| **exclusive) {
                let met = holders.keys().filter(|o| kind_of(**o).meets(kind_of(*one)));
                assert_eq!(met.count(), 1, "not alone: {holders:?}");
            }
        }
    }
}
