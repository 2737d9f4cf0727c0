//! Grants: who may read or write which bytes of a file, and who waits for them.
//!
//! Rules: PROTOCOL 4.1 and table 9.2, rows K1 to K18. One manager per inode; a write lease is a
//! write grant on all bytes. The table knows sessions only by number and by whether they are away.
//!
//! Invariants: I1 (a write grant excludes all others, in every state), I2 (fences grow, only the
//! current one commits), I3 (nothing is given again before its loss is durable), I11 (each request
//! is answered by its deadline), I12 (no request is granted before an earlier conflicting one).
//!
//! Decided here beyond the table:
//! * K4, K5: a recall is sent at once to a holder in the way, with `hold`, the guaranteed time
//!   left. The client knows best whether the grant is idle and gives an idle one back immediately,
//!   otherwise when its last writer closes, or after `hold` once it has flushed. So there is no
//!   timer at `min_until`; the deadlines of K6 count from `max(now, min_until)`, and nothing is
//!   taken from a live session before `min_until`.
//! * K2: a recalled grant answers no request of its own session any more: the request joins the
//!   line behind whoever caused the recall, so a holder cannot starve others.
//! * K10: a recall that ran out takes the grant only while somebody waits for it; else force would
//!   cost the holder its unsaved bytes for nobody's benefit (K14). The next request that wants it
//!   gets it without another recall.
//! * K12: also without regard to `min_until`: the guarantee is for sessions with a lease. Requests
//!   of a session that lapses are answered `SessionExpired` and leave the line.
//! * A new write grant replaces its session's own read grants inside it (`Dropped`).
//! * A grant's number and its fence are the same sequence number, so numbers do not repeat after a
//!   restart either.

mod event;
mod index;
mod manager;
mod recall;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use event::{Effect, Event, Reclaim, Request, Rescue};
pub use record::{Grant, GrantInfo, Mode, State};

use crate::deadlines::Deadlines;
use crate::range::Range;
use crate::seq::Sequencer;
use crate::{BootTime, Code, Fence, FsError, GrantId, Ino, RequestId, Result, SessionId};
use index::Index;
use manager::{Manager, Step};

/// The grants of all inodes.
#[derive(Debug, Default)]
pub struct GrantTable {
    /// Only inodes with a grant or a waiting request.
    managers: BTreeMap<Ino, Manager>,
    index: Index,
    /// Sessions that lapsed and are not over.
    away: BTreeSet<SessionId>,
    deadlines: Deadlines<Ino>,
}

impl GrantTable {
    /// An empty table.
    pub fn new() -> GrantTable {
        GrantTable::default()
    }

    /// Takes one event at `now` and returns what to do, in order. What time has brought since the
    /// last step comes first. `now` must not run backwards.
    pub fn step(&mut self, now: BootTime, event: Event, seq: &mut Sequencer) -> Vec<Effect> {
        let mut out = Vec::new();
        while let Some(ino) = self.deadlines.pop_due(now) {
            self.on(ino, now, seq, &mut out, |manager, step| manager.tick(step));
        }
        match event {
            Event::Request(request) => self.request(request, now, seq, &mut out),
            Event::Cancel { req } => {
                if let Some(ino) = self.index.ino_waited_for(req) {
                    self.on(ino, now, seq, &mut out, |manager, step| manager.cancel(req, step));
                }
            }
            Event::Release { session, ino, id, fence } => {
                let known = self.on(ino, now, seq, &mut out, |manager, step| {
                    manager.release(session, id, fence, step)
                });
                // K9
                out.extend((!known).then_some(Effect::Fenced { session, ino, id, fence }));
            }
            Event::Progress { session, id, bytes } => {
                if let Some(ino) = self.index.ino_of(id) {
                    self.on(ino, now, seq, &mut out, |manager, _| {
                        manager.progress(session, id, bytes, now)
                    });
                }
            }
            Event::LostDurable { ino, id } => {
                self.on(ino, now, seq, &mut out, |manager, step| manager.lost_durable(id, step));
            }
            Event::Lapsed { session } => {
                self.away.insert(session);
                for ino in self.index.inos_of(session) {
                    self.on(ino, now, seq, &mut out, |manager, step| manager.lapsed(session, step));
                }
            }
            Event::Back { session } => drop(self.away.remove(&session)),
            Event::Gone { session } => {
                self.away.remove(&session);
                for ino in self.index.inos_of(session) {
                    self.on(ino, now, seq, &mut out, |manager, step| manager.gone(session, step));
                }
            }
            Event::Reclaim(claim) => self.reclaim(claim, now, seq, &mut out),
            Event::Rescue(rescue) => {
                assert!(!rescue.range.is_empty(), "a rescue of no bytes");
                let ino = rescue.ino;
                self.on(ino, now, seq, &mut out, |manager, step| manager.rescue(rescue, step));
            }
            Event::Tick => {}
        }
        out
    }

    /// When `Tick` has something to do, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadlines.next()
    }

    /// Grants that a session holds or waits for.
    pub fn count(&self, session: SessionId) -> usize {
        self.index.count(session)
    }

    /// The grants of an inode, by number, whatever their state.
    pub fn holders(&self, ino: Ino) -> impl Iterator<Item = Grant> + '_ {
        let held = self.managers.get(&ino).into_iter().flat_map(|manager| manager.grants.values());
        held.map(|held| held.grant)
    }

    /// Whether `sid` may commit bytes of `range` under this grant: it is its write grant, the fence
    /// is current, and it is not being revoked (K9, K16). An empty range asks about the grant only.
    ///
    /// Errors: `Fenced`.
    pub fn check_commit(
        &self,
        sid: SessionId,
        ino: Ino,
        grant: GrantId,
        fence: Fence,
        range: Range,
    ) -> Result<()> {
        let manager = self.managers.get(&ino).ok_or_else(|| manager::no_grant(ino, grant))?;
        manager.check_commit(sid, grant, fence, range)
    }

    /// All grants, by inode and number.
    pub fn grants(&self) -> impl Iterator<Item = GrantInfo> + '_ {
        self.managers.values().flat_map(|manager| {
            let waiters = manager.queue.len();
            let info = move |held: &manager::Held| GrantInfo {
                grant: held.grant,
                state: held.state,
                waiters,
            };
            manager.grants.values().map(info)
        })
    }

    /// Whether a request is waiting in line.
    pub fn waiting(&self, req: RequestId) -> bool {
        self.index.ino_waited_for(req).is_some()
    }

    fn request(
        &mut self,
        request: Request,
        now: BootTime,
        seq: &mut Sequencer,
        out: &mut Vec<Effect>,
    ) {
        let Request { req, session, ino, required, desired, .. } = request;
        assert!(!required.is_empty() && desired.covers(required), "a request of no bytes");
        assert!(!self.waiting(req), "request number {req} is used twice");
        if self.away.contains(&session) {
            let why = format!("session {session} is away and asks for inode {ino}");
            let error = FsError::new(Code::SessionExpired, why);
            return out.push(Effect::Denied { req, error });
        }
        let queued = self.on(ino, now, seq, out, |manager, step| {
            manager.request(request, step);
            manager.queue.back().is_some_and(|last| last.req == req)
        });
        if queued {
            self.index.waits(session, ino, req);
        }
    }

    fn reclaim(
        &mut self,
        claim: Reclaim,
        now: BootTime,
        seq: &mut Sequencer,
        out: &mut Vec<Effect>,
    ) {
        let Reclaim { session, ino, id, fence, range, .. } = claim;
        // A number stands for one grant of one inode, whatever a client says.
        let elsewhere = self.index.ino_of(id).is_some_and(|known| known != ino);
        let accepted = !elsewhere
            && !range.is_empty()
            && self.on(ino, now, seq, out, |manager, step| manager.reclaim(claim, step));
        out.extend((!accepted).then_some(Effect::Fenced { session, ino, id, fence }));
    }

    /// Runs a step of one manager and brings index and deadlines up to date.
    fn on<R>(
        &mut self,
        ino: Ino,
        now: BootTime,
        seq: &mut Sequencer,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Manager, &mut Step) -> R,
    ) -> R {
        let manager = self.managers.entry(ino).or_default();
        let before = out.len();
        let result = act(manager, &mut Step { now, seq, away: &self.away, out });
        self.index.note(&out[before..]);
        self.deadlines.set(ino, manager.next_deadline());
        if manager.is_empty() {
            self.managers.remove(&ino);
        }
        result
    }
}
