//! Random schedules of the lock table, followed by the oracle.

use super::oracle::{BYTES, Oracle, Wish, kind_of};
use crate::lock::{Event, LockTable, Owner, RecordLock};
use crate::range::Range;
use crate::{BootTime, Ino, RequestId, SessionId};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Default)]
struct Pair {
    table: LockTable,
    oracle: Oracle,
    next: u64,
}

fn owners() -> impl Iterator<Item = Owner> {
    let of = |s| (1..3).map(move |owner| Owner { session: SessionId(s), owner });
    (1..4).flat_map(of)
}

impl Pair {
    fn step(&mut self, event: Event) {
        for effect in self.table.step(BootTime::default(), event) {
            self.oracle.apply(&effect);
        }
        let mut bytes: BTreeMap<(Ino, u64), BTreeMap<Owner, bool>> = BTreeMap::new();
        for (ino, lock) in self.table.locks() {
            for byte in lock.range.start..lock.range.end {
                let old = bytes.entry((ino, byte)).or_default().insert(lock.owner, lock.exclusive);
                assert!(old.is_none(), "{:?} has byte {byte} twice", lock.owner);
            }
        }
        self.oracle.held.retain(|_, holders| !holders.is_empty());
        assert_eq!(bytes, self.oracle.held);
        assert_eq!(self.table.waiting().count(), self.oracle.wishes.len());
        self.oracle.check();
    }

    fn free(&self, owner: Owner) -> bool {
        let waits = self.oracle.wishes.iter().any(|w| w.lock.owner == owner);
        !waits && !self.oracle.lapsed.contains(&owner.session)
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    fn lock(&mut self, owner: Owner, ino: Ino, exclusive: bool, range: Range, wait: bool) {
        let kind = kind_of(owner);
        let lock = RecordLock { owner, kind, pid: 0, exclusive, one_client: false, range };
        let req = self.request();
        self.oracle.arrived(Wish { req, ino, lock, wait });
        self.step(Event::Lock { req, ino, lock, wait });
    }

    fn unlock(&mut self, owner: Owner, ino: Ino, range: Range) {
        self.oracle.set(ino, owner, range.start, range.end, None);
        let kind = kind_of(owner);
        let event = Event::Unlock { req: self.request(), ino, owner, kind, range };
        let nothing = Range::new(0, 0);
        let lock =
            RecordLock { owner, kind, pid: 0, exclusive: false, one_client: false, range: nothing };
        // The oracle has done it; what is left of the answer is a request that wants nothing.
        let wish = Wish { req: RequestId(self.next), ino: Ino(0), lock, wait: false };
        self.oracle.wishes.push(wish);
        self.step(event);
    }

    fn durable(&mut self, which: usize) {
        let taking: Vec<_> = self.oracle.taking.iter().copied().collect();
        if let Some((session, ino)) = taking.get(which % taking.len().max(1)).copied() {
            self.oracle.taking.remove(&(session, ino));
            self.oracle.drop_session(session, Some(ino));
            self.step(Event::LostDurable { session, ino });
        }
    }

    fn act(&mut self, action: u8, a: u8, b: u8) {
        let owner = owners().nth(usize::from(a) % 6).unwrap();
        let session = owner.session;
        let ino = Ino(u64::from(a / 6 % 2) + 1);
        let (x, y) = (u64::from(b) % BYTES, u64::from(b / 8) % BYTES);
        let range = Range::new(x.min(y), x.max(y) + 1);
        match action {
            0..=9 if self.free(owner) => self.lock(owner, ino, a > 99, range, action < 8),
            10..=12 if self.free(owner) => self.unlock(owner, ino, range),
            13 => {
                let some = self.oracle.wishes.get(usize::from(b) % 4);
                if let Some(req) = some.map(|w| w.req) {
                    self.step(Event::Cancel { req });
                }
            }
            14 if self.free(owner) => {
                self.oracle.set(ino, owner, 0, BYTES, None);
                self.step(Event::ReleaseOwner { ino, owner });
            }
            15 if b < 60 => {
                self.oracle.lapsed.insert(session);
                self.step(Event::Lapsed { session });
            }
            16 => {
                self.oracle.lapsed.remove(&session);
                self.step(Event::Back { session });
            }
            17 if b < 30 => {
                self.oracle.lapsed.insert(session);
                self.step(Event::Lapsed { session });
                self.oracle.drop_session(session, None);
                self.oracle.taking.retain(|(s, _)| *s != session);
                self.oracle.lapsed.remove(&session);
                self.step(Event::Gone { session });
            }
            18..=19 => self.durable(b.into()),
            _ => {}
        }
    }

    /// Everybody who does not wait lets go, and who may wait in a circle gives up, until nobody waits.
    fn finish(&mut self) {
        while !self.oracle.taking.is_empty() {
            self.durable(0);
        }
        for session in 1..4 {
            self.oracle.lapsed.remove(&SessionId(session));
            self.step(Event::Back { session: SessionId(session) });
        }
        for round in 0..40 {
            let circling = self.oracle.wishes.iter().filter(|w| !w.lock.kind.deadlocks());
            if let Some(req) = circling.map(|w| w.req).next().filter(|_| round > 20) {
                self.step(Event::Cancel { req });
            }
            for owner in owners().filter(|o| self.free(*o)).collect::<Vec<_>>() {
                self.unlock(owner, Ino(1), Range::ALL);
                self.unlock(owner, Ino(2), Range::ALL);
            }
        }
        assert!(self.oracle.wishes.is_empty(), "stuck: {:?}", self.oracle);
        assert_eq!(self.table.locks().count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn lock_table_equals_byte_oracle(
        acts in prop::collection::vec((0..20u8, any::<u8>(), any::<u8>()), 1..120)
    ) {
        let mut pair = Pair::default();
        for (action, a, b) in acts {
            pair.act(action, a, b);
        }
        pair.finish();
    }
}
