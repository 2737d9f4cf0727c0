//! Sessions: who is registered, until when, and what the journal must know about it.
//!
//! Rules: PROTOCOL 2 and table 9.1, rows S1 to S15. The table decides when a session is active,
//! away (`Courtesy`), restating what it held after a server start (`Reclaim`) or over. It knows
//! nothing of grants, locks and promises except the list of those a session lost.
//!
//! Invariants:
//! * No session is active at or after its lapse time: every step first does what time has brought,
//!   and the queries look at the clock reading they are given.
//! * A session whose close is ordered is unknown at once; one whose opening is ordered is known at
//!   once. The shell journals effects in their order and answers afterwards.
//! * At most one session per uuid.
//! * `GraceEnd` follows each `Load` exactly once, at the latest when the reclaim window is over.
//!
//! Session numbers and epochs are the same sequence number, so both are unique across restarts.

mod event;
mod grace;
mod lease;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use event::{CloseReason, Effect, Event};
pub use lease::{client_lease_end, lapse_after, lapse_at};
pub use record::{Config, LostItem, OpenSession, SessionInfo, State};

use crate::deadlines::Deadlines;
use crate::seq::Sequencer;
use crate::{BootTime, Code, FsError, Result, Seq, SessionId};
use record::Session;

/// Wait told to a session that is away.
const AWAY_RETRY: Duration = Duration::from_millis(100);

/// All sessions that are not over.
#[derive(Debug)]
pub struct SessionTable {
    config: Config,
    sessions: BTreeMap<SessionId, Session>,
    by_uuid: BTreeMap<[u8; 16], SessionId>,
    /// Lapse of the active ones, end of courtesy of those that are away.
    deadlines: Deadlines<SessionId>,
    /// The ones in `State::Reclaim`.
    reclaiming: BTreeSet<SessionId>,
    /// End of the reclaim window while the server is in grace.
    grace_end: Option<BootTime>,
}

impl SessionTable {
    /// An empty table.
    pub fn new(config: Config) -> SessionTable {
        SessionTable {
            config,
            sessions: BTreeMap::new(),
            by_uuid: BTreeMap::new(),
            deadlines: Deadlines::default(),
            reclaiming: BTreeSet::new(),
            grace_end: None,
        }
    }

    /// Takes one event at `now` and returns what to do, in order. What time has brought since the
    /// last step comes first, so a session that is due to lapse cannot be renewed any more.
    /// `now` must not run backwards.
    pub fn step(&mut self, now: BootTime, event: Event, seq: &mut Sequencer) -> Vec<Effect> {
        let mut out = Vec::new();
        self.tick(now, seq.last(), &mut out);
        match event {
            Event::Load { sessions } => self.load(now, sessions, &mut out),
            Event::Establish { uuid, verifier, description } => {
                self.establish(now, uuid, verifier, description, seq, &mut out)
            }
            Event::Attach { sid, epoch } => self.attach(now, sid, epoch, &mut out),
            Event::Renew { sid, epoch, overdue } => self.renew(now, sid, epoch, overdue, &mut out),
            Event::ReclaimDone { sid } => self.reclaim_done(now, sid, &mut out),
            Event::Conflict { sid, item } => self.conflict(sid, item, &mut out),
            Event::Close { sid } => self.close_known(sid, CloseReason::Closed, &mut out),
            Event::Expire { sid, reason } => self.close_known(sid, reason, &mut out),
            Event::Tick => {}
        }
        out
    }

    /// When `Tick` has something to do, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadlines.next().into_iter().chain(self.grace_end).min()
    }

    /// Whether a mutating call may go ahead: the session is active, its epoch is `epoch`, and the
    /// server is not in grace.
    ///
    /// Errors: `SessionExpired` if the session is over or not that one (S10); `Retry` if it is away and
    /// must attach first; `Grace` while
    /// it or any other session may still reclaim (S15).
    pub fn check(&self, sid: SessionId, epoch: Seq, now: BootTime) -> Result<()> {
        self.check_read(sid, epoch, now)?;
        match self.grace_end {
            Some(end) => {
                // S15: a mutation could collide with what is yet to be reclaimed. Also after `end`
                // until a step has ended grace, which journals who missed it.
                let wait = end.since(now).min(self.config.grace_retry);
                Err(FsError::new(Code::Grace(wait), "the name server waits for its clients"))
            }
            None => Ok(()),
        }
    }

    /// Whether a plain read may be answered: as `check`, but also during grace (PROTOCOL 2.5).
    /// During grace the answer must promise nothing.
    ///
    /// Errors: `SessionExpired` (S10), `Retry` if it is away.
    pub fn check_read(&self, sid: SessionId, epoch: Seq, now: BootTime) -> Result<()> {
        match self.live(sid, epoch)?.state {
            State::Active { lapse_at } if now < lapse_at => Ok(()),
            State::Reclaim => Ok(()),
            State::Active { .. } | State::Courtesy { .. } => Err(away(sid)),
        }
    }

    /// Whether the session may restate something it held before the restart (S12).
    ///
    /// Errors: `SessionExpired` if the session is over or came after the reclaim window.
    pub fn check_reclaim(&self, sid: SessionId, epoch: Seq) -> Result<()> {
        match self.live(sid, epoch)?.state {
            State::Reclaim => Ok(()),
            State::Active { .. } | State::Courtesy { .. } => Err(FsError::new(
                Code::SessionExpired,
                format!("session {sid} reclaims outside of the reclaim window"),
            )),
        }
    }

    /// The state of a session; `None` if it is over or unknown.
    pub fn state(&self, sid: SessionId) -> Option<State> {
        self.sessions.get(&sid).map(|session| session.state)
    }

    /// Whether sessions may still reclaim what they held before the restart.
    pub fn in_grace(&self) -> bool {
        self.grace_end.is_some()
    }

    /// What a session lost, in order of kind and inode.
    pub fn lost(&self, sid: SessionId) -> impl Iterator<Item = LostItem> + '_ {
        self.sessions.get(&sid).into_iter().flat_map(|session| session.lost.iter().copied())
    }

    /// Whether a reclaim of this by a session that may reclaim is accepted as far as the journal
    /// goes; if not, tell the table by `Conflict` (S12).
    pub fn may_reclaim(&self, sid: SessionId, item: LostItem) -> bool {
        let above = |floor: Seq| match item {
            LostItem::Grant { fence, .. } => fence.0 > floor.0,
            LostItem::Locks { .. } => true,
        };
        self.sessions.get(&sid).is_some_and(|s| above(s.floor) && !s.lost.contains(&item))
    }

    /// All sessions that are not over, by number.
    pub fn sessions(&self) -> impl Iterator<Item = SessionInfo<'_>> + '_ {
        self.sessions.iter().map(|(&sid, session)| SessionInfo {
            sid,
            epoch: session.epoch,
            state: session.state,
            uuid: session.uuid,
            description: &session.description,
            lost: session.lost.len(),
        })
    }

    /// The session of that number and epoch.
    fn live(&self, sid: SessionId, epoch: Seq) -> Result<&Session> {
        // S10
        self.sessions.get(&sid).filter(|session| session.epoch == epoch).ok_or_else(|| over(sid))
    }

    fn establish(
        &mut self,
        now: BootTime,
        uuid: [u8; 16],
        verifier: [u8; 16],
        description: String,
        seq: &mut Sequencer,
        out: &mut Vec<Effect>,
    ) {
        if let Some(&sid) = self.by_uuid.get(&uuid) {
            if self.sessions[&sid].verifier == verifier {
                return self.resume(now, sid, out);
            }
            // S2: two daemons cannot share the mount's state folder, so the old one is gone.
            self.close(sid, CloseReason::Replaced, out);
        }
        if self.sessions.len() >= self.config.sessions_max && !self.make_place(out) {
            let text = format!("{} sessions are live", self.sessions.len());
            return out.push(Effect::Refused(FsError::new(Code::Busy, text)));
        }
        // S1
        let epoch = seq.next();
        let sid = SessionId(epoch.0);
        let record = OpenSession {
            sid,
            epoch,
            uuid,
            verifier,
            description,
            lost: Vec::new(),
            floor: Seq::default(),
            absent: false,
        };
        out.push(Effect::JournalOpen { session: record.clone() });
        let lapse_at = lease::lapse_at(now, self.config.term);
        self.insert(record, State::Active { lapse_at });
        out.push(Effect::Established {
            sid,
            epoch,
            term: self.config.term,
            resumed: false,
            reclaim: false,
            lost: Vec::new(),
        });
    }

    /// Ends the session that is away the longest; false if all are live or may still reclaim.
    fn make_place(&mut self, out: &mut Vec<Effect>) -> bool {
        let away = self.sessions.iter().filter_map(|(sid, session)| match session.state {
            State::Courtesy { since } => Some((since, *sid)),
            State::Active { .. } | State::Reclaim => None,
        });
        let Some((_, sid)) = away.min() else { return false };
        self.close(sid, CloseReason::Crowded, out);
        true
    }

    /// S3 by `Establish`.
    fn resume(&mut self, now: BootTime, sid: SessionId, out: &mut Vec<Effect>) {
        let reclaim = self.extend(now, sid, out);
        out.push(Effect::Established {
            sid,
            epoch: self.sessions[&sid].epoch,
            term: if reclaim { Duration::ZERO } else { self.config.term },
            resumed: true,
            reclaim,
            lost: self.lost(sid).collect(),
        });
    }

    /// S3 by `Attach`.
    fn attach(&mut self, now: BootTime, sid: SessionId, epoch: Seq, out: &mut Vec<Effect>) {
        if let Err(error) = self.live(sid, epoch) {
            return out.push(Effect::Refused(error));
        }
        let reclaim = self.extend(now, sid, out);
        out.push(Effect::Attached { sid, lost: self.lost(sid).collect(), reclaim });
    }

    /// Gives a session a new lease, unless it has to reclaim first. Returns whether it has.
    fn extend(&mut self, now: BootTime, sid: SessionId, out: &mut Vec<Effect>) -> bool {
        let session = self.sessions.get_mut(&sid).expect("a known session");
        match session.state {
            State::Reclaim => return true,
            State::Courtesy { .. } => {
                if std::mem::take(&mut session.absent) {
                    out.push(Effect::JournalReturned { sid });
                }
                out.push(Effect::Back { sid });
            }
            State::Active { .. } => {}
        }
        self.set_state(sid, State::Active { lapse_at: lease::lapse_at(now, self.config.term) });
        false
    }

    fn renew(
        &mut self,
        now: BootTime,
        sid: SessionId,
        epoch: Seq,
        overdue: Option<u64>,
        out: &mut Vec<Effect>,
    ) {
        let state = match self.live(sid, epoch) {
            Ok(session) => session.state,
            Err(error) => return out.push(Effect::Refused(error)),
        };
        let term = match (state, overdue) {
            // A session that is away must attach, which tells it what it lost.
            (State::Courtesy { .. }, _) => return out.push(Effect::Refused(away(sid))),
            // The lease starts when everything is restated (S13).
            (State::Reclaim, _) => Duration::ZERO,
            // S5: somebody's mutation waits for this session; it ends with its present lease.
            (State::Active { .. }, Some(_)) => Duration::ZERO,
            (State::Active { .. }, None) if self.lost_too_much(sid) => Duration::ZERO,
            (State::Active { .. }, None) => {
                // S4
                let lapse_at = lease::lapse_at(now, self.config.term);
                self.set_state(sid, State::Active { lapse_at });
                self.config.term
            }
        };
        out.push(Effect::RenewAck { sid, term, blocked_on: overdue });
    }

    fn conflict(&mut self, sid: SessionId, item: LostItem, out: &mut Vec<Effect>) {
        // S7, and S12 for a refused reclaim. Nothing to journal if the session is over: its close
        // fences all it held; nor if the loss is journaled already.
        let Some(session) = self.sessions.get_mut(&sid) else { return };
        if session.lost.contains(&item) {
            return;
        }
        session.lost.insert(item);
        // An active client may still use its cache, so it first has to lapse; it is not renewed.
        let active = matches!(session.state, State::Active { .. });
        if self.lost_too_much(sid) && !active {
            return self.close(sid, CloseReason::LostTooMuch, out);
        }
        out.push(Effect::JournalLost { sid, item });
    }

    fn close_known(&mut self, sid: SessionId, reason: CloseReason, out: &mut Vec<Effect>) {
        if !self.sessions.contains_key(&sid) {
            return out.push(Effect::Refused(over(sid)));
        }
        self.close(sid, reason, out);
    }

    /// S9
    fn close(&mut self, sid: SessionId, reason: CloseReason, out: &mut Vec<Effect>) {
        let session = self.sessions.remove(&sid).expect("only known sessions are closed");
        self.by_uuid.remove(&session.uuid);
        self.deadlines.set(sid, None);
        self.reclaiming.remove(&sid);
        out.push(Effect::JournalClose { sid, reason });
        out.push(Effect::Gone { sid });
        self.end_grace_early(out);
    }

    /// Does what time has brought.
    fn tick(&mut self, now: BootTime, last: Seq, out: &mut Vec<Effect>) {
        self.end_grace_in_time(now, last, out);
        while let Some(sid) = self.deadlines.pop_due(now) {
            match self.sessions[&sid].state {
                State::Active { .. } if self.lost_too_much(sid) => {
                    self.close(sid, CloseReason::LostTooMuch, out)
                }
                State::Active { lapse_at } => {
                    // S6. Courtesy counts from the lapse, not from when we noticed.
                    self.set_state(sid, State::Courtesy { since: lapse_at });
                    out.push(Effect::Lapsed { sid });
                }
                // S8
                State::Courtesy { .. } => self.close(sid, CloseReason::AwayTooLong, out),
                State::Reclaim => unreachable!("the reclaim window has a deadline of its own"),
            }
        }
    }

    fn lost_too_much(&self, sid: SessionId) -> bool {
        self.sessions[&sid].lost.len() > self.config.lost_max
    }

    fn insert(&mut self, record: OpenSession, state: State) {
        let sid = record.sid;
        let other = self.by_uuid.insert(record.uuid, sid);
        assert_eq!(other, None, "two open sessions of one mount");
        self.sessions.insert(sid, Session::from_journal(record, state));
        self.set_state(sid, state);
    }

    /// Changes the state and the deadline that belongs to it.
    fn set_state(&mut self, sid: SessionId, state: State) {
        let deadline = match state {
            State::Active { lapse_at } => Some(lapse_at),
            State::Courtesy { since } => Some(since + self.config.courtesy_max),
            State::Reclaim => None,
        };
        self.sessions.get_mut(&sid).expect("only known sessions change").state = state;
        self.deadlines.set(sid, deadline);
        match state {
            State::Reclaim => self.reclaiming.insert(sid),
            State::Active { .. } | State::Courtesy { .. } => self.reclaiming.remove(&sid),
        };
    }
}

/// S10
fn over(sid: SessionId) -> FsError {
    FsError::new(Code::SessionExpired, format!("session {sid} is over"))
}

fn away(sid: SessionId) -> FsError {
    // Not `SessionExpired`: the session is there, and its client repeats the same operation once
    // it has attached again.
    let text = format!("the lease of session {sid} ran out: attach first");
    FsError::new(Code::Retry(AWAY_RETRY), text)
}
