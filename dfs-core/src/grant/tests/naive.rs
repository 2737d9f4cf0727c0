//! The simplest possible idea of grants: two lists, and the invariants looked up the long way.
//!
//! It learns only from events and effects, never from the table's insides.

use std::collections::BTreeSet;

use super::*;
use crate::limits::RECALL_PROGRESS;

/// A grant as an observer knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) grant: Grant,
    /// `JournalLost` was ordered.
    pub(super) dying: bool,
}

/// Everything an observer knows.
#[derive(Debug, Default)]
pub(super) struct Naive {
    pub(super) held: Vec<Known>,
    /// In order of arrival.
    pub(super) line: Vec<Request>,
    pub(super) away: BTreeSet<SessionId>,
    /// Every grant ever, with the session it had.
    pub(super) ever: Vec<Grant>,
    last_fence: u64,
}

/// Two rights that exclude each other.
fn clash(a: (SessionId, Ino, Mode, Range), b: (SessionId, Ino, Mode, Range)) -> bool {
    let shared = a.2 == Mode::Read && b.2 == Mode::Read;
    a.0 != b.0 && a.1 == b.1 && !shared && a.3.start < b.3.end && b.3.start < a.3.end
}

fn right(grant: &Grant) -> (SessionId, Ino, Mode, Range) {
    (grant.session, grant.ino, grant.mode, grant.range)
}

fn wish(request: &Request) -> (SessionId, Ino, Mode, Range) {
    (request.session, request.ino, request.mode, request.required)
}

impl Naive {
    /// Whether a request has to wait: for a holder, or for one of `earlier`.
    fn blocked(&self, request: &Request, earlier: &[Request]) -> bool {
        self.held.iter().any(|known| clash(right(&known.grant), wish(request)))
            || earlier.iter().any(|other| clash(wish(other), wish(request)))
    }

    fn wanted(&self, grant: &Grant) -> bool {
        self.line.iter().any(|waiter| clash(right(grant), wish(waiter)))
    }

    /// Takes over what the table said in answer to `event`. A new request stands in line first.
    pub(super) fn see(&mut self, now: BootTime, event: &Event, effects: &[Effect]) {
        match *event {
            Event::Request(request) => self.line.push(request),
            Event::Lapsed { session } => drop(self.away.insert(session)),
            Event::Back { session } | Event::Gone { session } => drop(self.away.remove(&session)),
            _ => {}
        }
        for effect in effects {
            match effect {
                Effect::Granted { req, grant, fresh } => {
                    self.granted(now, event, *req, *grant, *fresh)
                }
                Effect::Denied { req, error } => self.denied(now, event, *req, error.code),
                Effect::Recall { id, hold, .. } => {
                    let known = self.known(*id);
                    assert!(!known.dying && self.wanted(&known.grant));
                    assert!(!self.away.contains(&known.grant.session));
                    assert_eq!(*hold, known.grant.min_until.since(now));
                }
                Effect::JournalLost { id, .. } => self.journal_lost(now, event, *id),
                Effect::Revoked { id, .. } => {
                    assert!(self.known(*id).dying);
                    assert!(
                        matches!(event, Event::LostDurable { id: durable, .. } if durable == id)
                    );
                    self.held.retain(|known| known.grant.id != *id);
                }
                Effect::Dropped { id, .. } => {
                    assert!(!self.known(*id).dying);
                    self.held.retain(|known| known.grant.id != *id);
                }
                Effect::Reclaimed { grant } => {
                    self.held.push(Known { grant: *grant, dying: false })
                }
                Effect::Fenced { id, fence, .. } => {
                    let alive = self.held.iter().any(|known| {
                        known.grant.id == *id && known.grant.fence == *fence && !known.dying
                    });
                    assert!(!alive, "a living grant was called fenced");
                }
            }
        }
    }

    fn known(&self, id: GrantId) -> Known {
        *self.held.iter().find(|known| known.grant.id == id).expect("an effect on a held grant")
    }

    fn granted(&mut self, now: BootTime, event: &Event, req: RequestId, grant: Grant, fresh: bool) {
        let request = match self.line.iter().position(|waiter| waiter.req == req) {
            Some(at) => {
                let request = self.line[at];
                for earlier in &self.line[..at] {
                    assert!(!clash(wish(earlier), wish(&request)), "I12: {req} overtook");
                }
                assert!(at + 1 == self.line.len() || request.deadline > now, "I11: late answer");
                self.line.remove(at);
                request
            }
            None => self.rescued(event, req),
        };
        assert_eq!((grant.session, grant.ino), (request.session, request.ino));
        assert!(!self.away.contains(&grant.session));
        assert!(grant.mode >= request.mode && grant.range.covers(request.required));
        if !fresh {
            let known = self.known(grant.id);
            assert!(known.grant == grant && !known.dying);
            return;
        }
        assert!(request.desired.covers(grant.range) && grant.mode == request.mode);
        assert_eq!(grant.min_until, now + request.min_hold);
        assert!(grant.fence.0 > self.last_fence, "I2: fences grow");
        self.last_fence = grant.fence.0;
        for known in &self.held {
            assert!(!clash(right(&known.grant), right(&grant)), "I1, I3: {known:?} {grant:?}");
        }
        self.held.push(Known { grant, dying: false });
        self.ever.push(grant);
    }

    fn rescued(&self, event: &Event, req: RequestId) -> Request {
        let Event::Rescue(rescue) = *event else { panic!("{req} granted out of nowhere") };
        assert_eq!(rescue.req, req);
        let request = rescue_as_request(&rescue);
        assert!(!self.blocked(&request, &self.line));
        request
    }

    fn denied(&mut self, now: BootTime, event: &Event, req: RequestId, code: Code) {
        let at = self.line.iter().position(|waiter| waiter.req == req);
        let Some(at) = at else {
            let Event::Rescue(rescue) = event else { panic!("{req} was denied twice") };
            assert_eq!(code, Code::Fenced);
            return assert!(self.blocked(&rescue_as_request(rescue), &self.line));
        };
        let request = self.line.remove(at);
        let new = matches!(event, Event::Request(new) if new.req == req);
        match code {
            Code::WouldBlock => {
                assert!(new && request.nonblock && self.blocked(&request, &self.line));
            }
            Code::Deadlock => assert!(new && self.blocked(&request, &self.line)),
            Code::Busy => assert!(request.deadline <= now),
            Code::Interrupted => assert_eq!(*event, Event::Cancel { req }),
            Code::SessionExpired => {
                let gone = Event::Gone { session: request.session };
                assert!(self.away.contains(&request.session) || *event == gone);
            }
            other => panic!("denied with {other:?}"),
        }
    }

    fn journal_lost(&mut self, now: BootTime, event: &Event, id: GrantId) {
        let Known { grant, dying } = self.known(id);
        assert!(!dying, "lost twice");
        let gone = *event == Event::Gone { session: grant.session };
        let away = self.away.contains(&grant.session);
        assert!(gone || self.wanted(&grant), "taken for nobody");
        let answered_late = now >= grant.min_until + RECALL_PROGRESS;
        assert!(gone || away || answered_late, "taken from a live session too early");
        let known = self.held.iter_mut().find(|known| known.grant.id == id);
        known.expect("looked up above").dying = true;
    }

    /// Compares the table with the lists after a step.
    pub(super) fn check(&self, now: BootTime, table: &GrantTable) {
        for (at, a) in self.held.iter().enumerate() {
            for b in &self.held[..at] {
                assert!(!clash(right(&a.grant), right(&b.grant)), "I1: {a:?} {b:?}");
            }
        }
        assert_eq!(table.grants().count(), self.held.len());
        for info in table.grants() {
            let known = self.known(info.grant.id);
            assert_eq!(known.grant, info.grant);
            assert_eq!(known.dying, info.state == State::Revoking);
            if info.state == State::Held {
                assert!(!self.wanted(&info.grant), "nobody asked the holder");
            }
            if self.wanted(&info.grant) && self.away.contains(&info.grant.session) {
                assert!(known.dying, "K12");
            }
        }
        for (at, waiter) in self.line.iter().enumerate() {
            assert!(table.waiting(waiter.req));
            assert!(waiter.deadline > now, "I11: {waiter:?}");
            assert!(self.blocked(waiter, &self.line[..at]), "could be granted: {waiter:?}");
        }
        assert!(table.next_deadline().is_none_or(|at| at > now), "overdue after a step");
        for grant in &self.ever {
            let Grant { session, ino, id, fence, range, mode, .. } = *grant;
            let alive = self.held.iter().any(|known| known.grant.id == id && !known.dying);
            let allowed = table.check_commit(session, ino, id, fence, range).is_ok();
            assert_eq!(allowed, alive && mode == Mode::Write, "I2: {grant:?}");
        }
    }
}

fn rescue_as_request(rescue: &Rescue) -> Request {
    Request {
        req: rescue.req,
        session: rescue.session,
        ino: rescue.ino,
        mode: Mode::Write,
        required: rescue.range,
        desired: rescue.range,
        nonblock: true,
        deadline: BootTime::default(),
        min_hold: rescue.min_hold,
    }
}
