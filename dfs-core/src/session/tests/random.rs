//! Random schedules against a journal and the simplest possible idea of a lease.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Fence, Ino};

#[derive(Clone, Debug)]
enum Op {
    /// Time passes; whether anybody notices before the next event.
    Wait(u64, bool),
    Establish(u8, u8),
    Attach(usize),
    Renew(usize, bool),
    Conflict(usize, u64),
    Done(usize),
    Close(usize),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop_oneof![0u64..6_000, 14_000u64..16_000, 20_000u64..100_000], any::<bool>())
            .prop_map(|(ms, tick)| Op::Wait(ms, tick)),
        3 => (0u8..4, 0u8..3).prop_map(|(u, v)| Op::Establish(u, v)),
        3 => (0usize..8).prop_map(Op::Attach),
        4 => (0usize..8, any::<bool>()).prop_map(|(s, o)| Op::Renew(s, o)),
        2 => (0usize..8, 0u64..6).prop_map(|(s, i)| Op::Conflict(s, i)),
        2 => (0usize..8).prop_map(Op::Done),
        1 => (0usize..8).prop_map(Op::Close),
        1 => Just(Op::Restart),
    ]
}

/// What an observer of events and effects knows.
#[derive(Default)]
struct Observer {
    /// The journal, as a fresh server would load it.
    journal: BTreeMap<SessionId, OpenSession>,
    /// The end of the last lease each client was given on a perfect clock, measured from receipt.
    lease_end: BTreeMap<SessionId, BootTime>,
    /// Every session ever, in order.
    known: Vec<(SessionId, Seq)>,
    grace_ends_due: u32,
}

impl Observer {
    fn see(&mut self, now: BootTime, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::JournalOpen { session } => {
                    assert!(self.known.iter().all(|&(sid, _)| sid < session.sid), "sid reused");
                    self.known.push((session.sid, session.epoch));
                    self.journal.insert(session.sid, session.clone());
                }
                Effect::JournalClose { sid, .. } => {
                    assert!(self.journal.remove(sid).is_some(), "closed twice");
                }
                Effect::JournalLost { sid, item } => {
                    let lost = &mut self.journal.get_mut(sid).expect("lost by a session").lost;
                    assert!(!lost.contains(item));
                    lost.push(*item);
                }
                Effect::Established { sid, lost, term, .. } => {
                    assert!(self.journal.contains_key(sid), "answered before the journal");
                    assert_eq!(lost.len(), self.journal[sid].lost.len());
                    self.leased(*sid, now, *term);
                }
                Effect::RenewAck { sid, term, .. } => self.leased(*sid, now, *term),
                Effect::Attached { sid, lost, .. } => {
                    assert_eq!(lost.len(), self.journal[sid].lost.len());
                }
                Effect::Lapsed { sid } => {
                    let end = self.lease_end.get(sid);
                    assert!(end.is_none_or(|&end| end < now), "lapsed under a client's lease");
                }
                Effect::DropUnreclaimed { sid, floor } => {
                    let record = self.journal.get_mut(sid).expect("an open session");
                    (record.floor, record.absent) = (*floor, true);
                }
                Effect::JournalReturned { sid } => {
                    let record = self.journal.get_mut(sid).expect("an open session");
                    assert!(std::mem::take(&mut record.absent));
                }
                Effect::GraceEnd => self.grace_ends_due -= 1,
                _ => {}
            }
        }
    }

    fn leased(&mut self, sid: SessionId, receipt: BootTime, term: Duration) {
        if !term.is_zero() {
            self.lease_end.insert(sid, client_lease_end(receipt, term));
        }
    }

    fn check(&self, b: &Bench) {
        let listed: Vec<_> = b.table.sessions().map(|info| info.sid).collect();
        assert_eq!(listed, self.journal.keys().copied().collect::<Vec<_>>());
        assert_eq!(b.table.in_grace(), self.grace_ends_due == 1);
        let reclaiming = b.table.sessions().any(|info| info.state == State::Reclaim);
        assert_eq!(b.table.in_grace(), reclaiming, "grace is there for whoever may reclaim");
        assert!(b.table.next_deadline().is_none_or(|at| at > b.now), "overdue after a step");
        for info in b.table.sessions() {
            if let State::Active { lapse_at } = info.state {
                assert!(lapse_at > b.now, "active after its lapse");
            }
            let fresh = b.table.check(info.sid, info.epoch, b.now).is_ok();
            let active = matches!(info.state, State::Active { .. });
            assert_eq!(fresh, active && !b.table.in_grace());
            if self.journal[&info.sid].absent {
                assert!(matches!(info.state, State::Courtesy { .. }), "absent but claims");
            }
            assert_eq!(info.lost, self.journal[&info.sid].lost.len());
        }
        for &(sid, epoch) in self.known.iter().filter(|(sid, _)| !self.journal.contains_key(sid)) {
            assert!(b.table.check_read(sid, epoch, b.now).is_err(), "a closed session lives");
        }
    }
}

fn event(op: &Op, known: &[(SessionId, Seq)]) -> Option<Event> {
    let pick = |n: usize| known.len().checked_sub(1 + n % known.len().max(1)).map(|i| known[i]);
    Some(match *op {
        Op::Establish(uuid, verifier) => establish(uuid, verifier),
        Op::Attach(n) => pick(n).map(|(sid, epoch)| Event::Attach { sid, epoch })?,
        Op::Renew(n, overdue) => {
            let overdue = overdue.then_some(3);
            pick(n).map(|(sid, epoch)| Event::Renew { sid, epoch, overdue })?
        }
        Op::Conflict(n, ino) => {
            let item = LostItem::Grant { ino: Ino(ino), fence: Fence(ino) };
            pick(n).map(|(sid, _)| Event::Conflict { sid, item })?
        }
        Op::Done(n) => pick(n).map(|(sid, _)| Event::ReclaimDone { sid })?,
        Op::Close(n) => pick(n).map(|(sid, _)| Event::Close { sid })?,
        Op::Wait(..) | Op::Restart => return None,
    })
}

proptest! {
    /// No session is active after its lapse, no lapse comes before the client's own lease end, the
    /// journal always equals the table, and each grace ends exactly once.
    #[test]
    fn sessions_agree_with_the_journal_on_every_schedule(
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let courtesy_max = Duration::from_secs(60);
        let mut b = Bench::new(Config { lost_max: 4, courtesy_max, ..Config::default() });
        let mut observer = Observer { grace_ends_due: 1, ..Observer::default() };
        let mut leader_epoch = 1;
        let effects = b.restart(vec![], leader_epoch);
        observer.see(b.now, &effects);
        for op in &ops {
            let effects = match op {
                Op::Wait(ms, true) => b.wait(*ms),
                Op::Wait(ms, false) => {
                    b.now = b.now + Duration::from_millis(*ms);
                    continue;
                }
                Op::Restart => {
                    leader_epoch += 1;
                    observer.grace_ends_due = 1;
                    b.restart(observer.journal.values().cloned().collect(), leader_epoch)
                }
                other => match event(other, &observer.known) {
                    Some(event) => b.step(event),
                    None => continue,
                },
            };
            observer.see(b.now, &effects);
            observer.check(&b);
        }
    }
}
