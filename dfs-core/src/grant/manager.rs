//! The grants and the waiting line of one inode.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Effect, Grant, Mode, Reclaim, Request, Rescue, State};
use crate::limits::GRANT_WAITERS;
use crate::range::Range;
use crate::seq::Sequencer;
use crate::{BootTime, Code, Fence, FsError, GrantId, Ino, RequestId, Result, SessionId};

/// What a step of a manager may use besides its own state.
pub(super) struct Step<'a> {
    pub(super) now: BootTime,
    pub(super) seq: &'a mut Sequencer,
    /// Sessions that lapsed and are not over.
    pub(super) away: &'a BTreeSet<SessionId>,
    pub(super) out: &'a mut Vec<Effect>,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) grant: Grant,
    pub(super) state: State,
}

/// One inode. Invariants after each step: no two grants conflict; a `HELD` grant conflicts with no
/// waiting request; no waiting request could be granted.
#[derive(Debug, Default)]
pub(super) struct Manager {
    pub(super) grants: BTreeMap<GrantId, Held>,
    /// In order of arrival; no session in it is away.
    pub(super) queue: VecDeque<Request>,
}

/// What to do with a request.
enum Decision {
    /// The session holds what it wants.
    Own(Grant),
    /// It gets a new grant on these bytes.
    Grant(Range),
    Wait,
}

impl Manager {
    pub(super) fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.queue.is_empty()
    }

    pub(super) fn request(&mut self, request: Request, step: &mut Step) {
        match self.decide(&request, self.queue.len()) {
            Decision::Own(grant) => {
                // K2
                step.out.push(Effect::Granted { req: request.req, grant, fresh: false });
            }
            Decision::Grant(range) => self.grant(&request, range, step), // K1
            // K3
            Decision::Wait if request.nonblock => {
                deny(request, Code::WouldBlock, "another client holds a grant on", step)
            }
            Decision::Wait if self.deadlocks(&request) => {
                // K15
                deny(request, Code::Deadlock, "another reader already waits to write to", step)
            }
            Decision::Wait if self.queue.len() >= GRANT_WAITERS => {
                deny(request, Code::Busy, "too many requests wait for", step)
            }
            // K4
            Decision::Wait => {
                self.queue.push_back(request);
                self.recall_conflicting(step);
            }
        }
    }

    /// K14, first half. Unknown numbers were answered a moment ago.
    pub(super) fn cancel(&mut self, req: RequestId, step: &mut Step) {
        let Some(at) = self.queue.iter().position(|waiter| waiter.req == req) else { return };
        let waiter = self.queue.remove(at).expect("just found");
        deny(waiter, Code::Interrupted, "interrupted while waiting for", step);
        self.settle(step);
    }

    /// Takes a grant back, if `fence` shows that the session means this one.
    pub(super) fn release(
        &mut self,
        session: SessionId,
        id: GrantId,
        fence: Fence,
        step: &mut Step,
    ) -> bool {
        if self.current(session, id, fence).is_none() {
            return false;
        }
        // K8
        self.drop_grant(id, step);
        self.settle(step);
        true
    }

    /// The grant of that number, if its session may still use it (K9, K16).
    pub(super) fn current(&self, session: SessionId, id: GrantId, fence: Fence) -> Option<&Grant> {
        let held = self.grants.get(&id)?;
        let same = held.grant.session == session && held.grant.fence == fence;
        (same && held.state != State::Revoking).then_some(&held.grant)
    }

    /// Reinserts a grant of before the restart (K17).
    pub(super) fn reclaim(&mut self, claim: Reclaim, step: &mut Step) -> bool {
        let Reclaim { session, ino, id, fence, mode, range, min_hold } = claim;
        let min_until = BootTime::default();
        let grant = Grant { id, session, ino, mode, range, fence, min_until };
        if let Some(held) = self.grants.get(&id) {
            // The answer to the first claim was lost.
            let same = Grant { min_until, ..held.grant } == grant && held.state != State::Revoking;
            step.out.extend(same.then_some(Effect::Reclaimed { grant: held.grant }));
            return same;
        }
        // Neither a conflict nor a number that was never given out.
        let given_out = fence.0 <= step.seq.last().0 && id.0 <= step.seq.last().0;
        if !given_out || self.conflicting(session, mode, range).next().is_some() {
            return false;
        }
        let grant = match min_hold.is_zero() {
            true => grant,
            false => Grant { min_until: step.now + min_hold, ..grant },
        };
        self.grants.insert(id, Held { grant, state: State::Held });
        step.out.push(Effect::Reclaimed { grant });
        self.settle(step);
        true
    }

    /// Gives a lost write grant again if nobody wants or holds its bytes (K18).
    pub(super) fn rescue(&mut self, rescue: Rescue, step: &mut Step) {
        let Rescue { req, session, ino, range, old_fence, min_hold } = rescue;
        let request = Request {
            req,
            session,
            ino,
            mode: Mode::Write,
            required: range,
            desired: range,
            nonblock: true,
            deadline: step.now,
            min_hold,
        };
        let given_out = old_fence.0 <= step.seq.last().0;
        match self.decide(&request, self.queue.len()) {
            Decision::Own(grant) if given_out => {
                step.out.push(Effect::Granted { req, grant, fresh: false });
            }
            Decision::Grant(range) if given_out => self.grant(&request, range, step),
            _ => deny(request, Code::Fenced, "another client took", step),
        }
        self.settle(step);
    }

    /// Ends what a session that is over had here (K13).
    pub(super) fn gone(&mut self, session: SessionId, step: &mut Step) {
        self.drop_waiters(session, step);
        let of_session = self.grants.values().filter(|held| held.grant.session == session);
        for grant in of_session.map(|held| held.grant).collect::<Vec<_>>() {
            match (grant.mode, self.grants[&grant.id].state) {
                (_, State::Revoking) => {} // Ends when its loss is durable (K11).
                (Mode::Read, _) => self.drop_grant(grant.id, step),
                (Mode::Write, _) => self.revoke(grant.id, step),
            }
        }
        self.settle(step);
    }

    /// Answers the waiting requests of a session that is away or over: their callers are gone.
    pub(super) fn drop_waiters(&mut self, session: SessionId, step: &mut Step) {
        let (dropped, kept) = self.queue.drain(..).partition(|waiter| waiter.session == session);
        self.queue = kept;
        let dropped: VecDeque<Request> = dropped;
        for waiter in dropped {
            deny(waiter, Code::SessionExpired, "session ended while waiting for", step);
        }
    }

    /// Grants what has become free, then recalls what is in the way of those that still wait.
    pub(super) fn settle(&mut self, step: &mut Step) {
        self.pump(step);
        self.recall_conflicting(step);
    }

    /// Walks the line in order and grants each request that conflicts with no grant and with no
    /// earlier request that still waits (I12).
    fn pump(&mut self, step: &mut Step) {
        let mut at = 0;
        while at < self.queue.len() {
            let request = self.queue[at];
            match self.decide(&request, at) {
                Decision::Own(grant) => {
                    self.queue.remove(at);
                    step.out.push(Effect::Granted { req: request.req, grant, fresh: false });
                }
                Decision::Grant(range) => {
                    self.queue.remove(at);
                    self.grant(&request, range, step);
                }
                Decision::Wait => at += 1,
            }
        }
    }

    /// Decides on a request that has `earlier` requests before it in the line.
    fn decide(&self, request: &Request, earlier: usize) -> Decision {
        let Request { session, mode, required, .. } = *request;
        if self.conflicting(session, mode, required).next().is_some() {
            return Decision::Wait;
        }
        let before = || self.queue.iter().take(earlier);
        if before().any(|waiter| must_wait_for(request, waiter)) {
            return Decision::Wait;
        }
        let own = self.grants.values().find(|held| {
            let usable = held.state == State::Held && held.grant.session == session;
            usable && held.grant.allows(mode, required)
        });
        if let Some(own) = own {
            return Decision::Own(own.grant);
        }
        // As much of `desired` around `required` as takes nothing from a holder and nothing that
        // an earlier request waits for.
        let held = self.conflicting(session, mode, request.desired).map(|held| held.grant.range);
        let wanted = before().filter(|waiter| {
            waiter.session != session && (mode == Mode::Write || waiter.mode == Mode::Write)
        });
        let taken = held.chain(wanted.map(|waiter| waiter.required));
        let free = taken.fold(request.desired, |free, taken| shrink(free, required, taken));
        Decision::Grant(free)
    }

    /// Records and answers a new grant (K1).
    fn grant(&mut self, request: &Request, range: Range, step: &mut Step) {
        let number = step.seq.next().0;
        let grant = Grant {
            id: GrantId(number),
            session: request.session,
            ino: request.ino,
            mode: request.mode,
            range,
            fence: Fence(number),
            min_until: step.now + request.min_hold,
        };
        // A write grant takes the place of its session's own read grants inside it; own write
        // grants stay, because commits under their fence may be on the way.
        let replaced: Vec<GrantId> = self
            .grants
            .values()
            .filter(|held| held.grant.session == grant.session && held.state != State::Revoking)
            .filter(|held| {
                held.grant.mode == Mode::Read && grant.allows(held.grant.mode, held.grant.range)
            })
            .map(|held| held.grant.id)
            .collect();
        for id in replaced {
            self.drop_grant(id, step);
        }
        self.grants.insert(grant.id, Held { grant, state: State::Held });
        step.out.push(Effect::Granted { req: request.req, grant, fresh: true });
    }

    /// Whether `request` would wait for a reader that itself waits to write and needs this
    /// session's read grant first.
    fn deadlocks(&self, request: &Request) -> bool {
        if request.mode == Mode::Read {
            return false;
        }
        self.queue.iter().filter(|waiter| waiter.mode == Mode::Write).any(|waiter| {
            let reads_of = |session: SessionId, wanted: &Request| {
                let Request { session: by, mode, required, .. } = *wanted;
                self.conflicting(by, mode, required)
                    .any(|held| held.grant.session == session && held.grant.mode == Mode::Read)
            };
            reads_of(request.session, waiter) && reads_of(waiter.session, request)
        })
    }

    /// Ends a grant without force.
    fn drop_grant(&mut self, id: GrantId, step: &mut Step) {
        let Grant { session, ino, fence, .. } =
            self.grants.remove(&id).expect("only known grants are dropped").grant;
        step.out.push(Effect::Dropped { session, ino, id, fence });
    }

    /// The grants that keep a session from having `mode` on `range`.
    pub(super) fn conflicting(
        &self,
        session: SessionId,
        mode: Mode,
        range: Range,
    ) -> impl Iterator<Item = &Held> {
        self.grants.values().filter(move |held| held.grant.forbids(session, mode, range))
    }

    /// Whether somebody waits for what this grant covers.
    pub(super) fn is_wanted(&self, grant: &Grant) -> bool {
        let wants = |w: &Request| grant.forbids(w.session, w.mode, w.required);
        self.queue.iter().any(wants)
    }

    /// K16: whether bytes of `range` may be committed under this grant.
    pub(super) fn check_commit(
        &self,
        session: SessionId,
        id: GrantId,
        fence: Fence,
        range: Range,
    ) -> Result<()> {
        let grant = self.current(session, id, fence);
        match grant.is_some_and(|grant| grant.allows(Mode::Write, range)) {
            true => Ok(()),
            false => Err(fenced(id)), // K9
        }
    }
}

/// I12: whether a request may not be granted before an earlier one.
fn must_wait_for(request: &Request, earlier: &Request) -> bool {
    request.session != earlier.session
        && (request.mode == Mode::Write || earlier.mode == Mode::Write)
        && request.required.overlaps(earlier.required)
}

/// The part of `free` around `required` without `taken`, which lies beside `required`.
fn shrink(free: Range, required: Range, taken: Range) -> Range {
    if !free.overlaps(taken) {
        return free;
    }
    match taken.end <= required.start {
        true => Range::new(taken.end, free.end),
        false => Range::new(free.start, taken.start),
    }
}

pub(super) fn deny(request: Request, code: Code, why: &str, step: &mut Step) {
    let error = FsError::new(code, format!("{why} inode {}", request.ino));
    step.out.push(Effect::Denied { req: request.req, error });
}

pub(super) fn fenced(id: GrantId) -> FsError {
    FsError::new(Code::Fenced, format!("grant {id} was taken back or does not cover the bytes"))
}

/// Helper of the table: the error for an inode without a manager.
pub(super) fn no_grant(ino: Ino, id: GrantId) -> FsError {
    FsError::new(Code::Fenced, format!("inode {ino} has no grant {id}"))
}
