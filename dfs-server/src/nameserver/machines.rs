//! The state machines of the core behind one lock, and the wires between them (PROTOCOL 9.6).
//!
//! A machine never calls another: its effects are queued here and carried out after the step.
//! What needs the journal leaves as a [`Record`] to be committed in order; what answers a waiting
//! request goes through a oneshot channel; what goes to a client goes to its outbox.
//!
//! Lock order: this lock, then the sequencer's. Nothing here blocks or waits.

use super::journal::{Fact, Record, Then};
use super::mutate::Guard;
use super::outbox::Outboxes;
use super::replay::Replay;
use super::reserved::Reserved;
use super::uploads::Uploads;
use dfs_core::grant::{self, GrantTable};
use dfs_core::hub::{self, Hub, Key, MutationId};
use dfs_core::lock::{self, LockTable};
use dfs_core::seq::Sequencer;
use dfs_core::session::{self, LostItem, SessionTable};
use dfs_core::{BootTime, FsError, Ino, RequestId, Result, Seq, SessionId, negotiate};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// What a mutation waits for.
pub enum Signal {
    /// Its intents are held.
    Granted,
    /// Nobody serves the old state any more.
    Ready(Vec<(SessionId, Ino, u64)>),
}

/// What the origin of a change was promised.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// It hears before these change.
    pub keys: Vec<Key>,
    /// Directories that are delegated to it.
    pub delegated: Vec<Ino>,
}

/// All machines.
pub struct Machines {
    /// Who is alive.
    pub sessions: SessionTable,
    /// Who may write.
    pub grants: GrantTable,
    /// Who was promised what.
    pub hub: Hub,
    /// Who holds which record lock.
    pub locks: LockTable,
    /// Who writes objects that no commit names yet.
    pub uploads: Uploads,
    /// Numbers of files that clients may make without saying so.
    pub reserved: Reserved,
    /// Which operations run.
    pub replay: Replay,
    /// Where messages to clients go.
    pub outboxes: Outboxes,
    seq: Arc<Mutex<Sequencer>>,
    mutations: HashMap<MutationId, oneshot::Sender<Signal>>,
    kept: HashMap<MutationId, Kept>,
    requests: HashMap<RequestId, oneshot::Sender<Result<grant::Grant>>>,
    lock_requests: HashMap<RequestId, oneshot::Sender<Result<()>>>,
    /// The journal's rows of the sessions that are not over.
    pub rows: HashMap<SessionId, session::OpenSession>,
    /// To be journaled, in order.
    pub records: Vec<Record>,
    /// Orphans to free.
    pub orphans: Vec<Ino>,
    next_number: u64,
}

/// An effect of any machine.
enum Effect {
    Session(session::Effect),
    Grant(grant::Effect),
    Hub(hub::Effect),
    Lock(lock::Effect),
}

impl Machines {
    /// Empty machines.
    pub fn new(seq: Arc<Mutex<Sequencer>>, leader_epoch: u16) -> Machines {
        let pushes_above = Seq::start_of(leader_epoch).0;
        Machines {
            sessions: SessionTable::new(session::Config::default()),
            grants: GrantTable::new(),
            hub: Hub::new(hub::Config { pushes_above, ..hub::Config::default() }),
            locks: LockTable::new(lock::Config::default()),
            uploads: Uploads::default(),
            reserved: Reserved::default(),
            replay: Replay::default(),
            outboxes: Outboxes::default(),
            seq,
            mutations: HashMap::new(),
            kept: HashMap::new(),
            requests: HashMap::new(),
            lock_requests: HashMap::new(),
            rows: HashMap::new(),
            records: Vec::new(),
            orphans: Vec::new(),
            next_number: 0,
        }
    }

    /// A number never used before: for mutations and requests.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The last sequence number given out: a reply built from now on is true as of it.
    pub fn as_of(&self) -> Seq {
        self.seq.lock().expect("no panic under this lock").last()
    }

    /// Steps the session table; returns what answers the event.
    pub fn session(&mut self, now: BootTime, event: session::Event) -> Option<session::Effect> {
        let effects = self.with_seq(|m, seq| m.sessions.step(now, event, seq));
        self.run(now, effects.into_iter().map(Effect::Session))
    }

    /// Steps the grant table.
    pub fn grant(&mut self, now: BootTime, event: grant::Event) {
        let effects = self.with_seq(|m, seq| m.grants.step(now, event, seq));
        self.run(now, effects.into_iter().map(Effect::Grant));
    }

    /// Steps the hub.
    pub fn hub(&mut self, now: BootTime, event: hub::Event) {
        let effects = self.with_seq(|m, seq| m.hub.step(now, event, seq));
        self.run(now, effects.into_iter().map(Effect::Hub));
    }

    /// Steps the lock table.
    pub fn lock(&mut self, now: BootTime, event: lock::Event) {
        let effects = self.locks.step(now, event);
        self.run(now, effects.into_iter().map(Effect::Lock));
    }

    /// Lets every machine see the time.
    pub fn tick(&mut self, now: BootTime) {
        let due = |deadline: Option<BootTime>| deadline.is_some_and(|at| at <= now);
        if due(self.sessions.next_deadline()) {
            self.session(now, session::Event::Tick);
        }
        if due(self.grants.next_deadline()) {
            self.grant(now, grant::Event::Tick);
        }
        if due(self.hub.next_deadline()) {
            self.hub(now, hub::Event::Tick);
        }
    }

    /// Begins a mutation: the receiver hears when its intents are held.
    pub fn begin(
        &mut self,
        now: BootTime,
        origin: SessionId,
        intents: Vec<(hub::IntentKey, hub::Hold)>,
    ) -> (MutationId, oneshot::Receiver<Signal>) {
        let m = MutationId(self.number());
        let (tx, rx) = oneshot::channel();
        self.mutations.insert(m, tx);
        self.hub(now, hub::Event::Begin { m, origin, intents });
        (m, rx)
    }

    /// Pushes what a mutation changes: the receiver hears when nobody serves the old state.
    pub fn push(
        &mut self,
        now: BootTime,
        m: MutationId,
        items: Vec<hub::Item>,
        origin_open: Vec<Ino>,
    ) -> oneshot::Receiver<Signal> {
        let (tx, rx) = oneshot::channel();
        self.mutations.insert(m, tx);
        self.hub(now, hub::Event::Push { m, items, origin_open });
        rx
    }

    /// A mutation is durable: returns what its origin was promised of `keep`.
    pub fn committed(
        &mut self,
        now: BootTime,
        m: MutationId,
        origin: SessionId,
        keep: Vec<Key>,
    ) -> Kept {
        let delegate = self.outboxes.understands(origin, negotiate::DELEGATION);
        self.hub(now, hub::Event::Committed { m, keep, delegate });
        self.kept.remove(&m).unwrap_or_default()
    }

    /// Whether the session has this very grant.
    pub fn has_grant(&self, sid: SessionId, guard: Guard) -> bool {
        let own =
            |g: grant::Grant| g.session == sid && g.id == guard.grant && g.fence == guard.fence;
        self.grants.holders(guard.ino).any(own)
    }

    /// Draws so many sequence numbers that follow each other; the first.
    pub fn draw(&mut self, count: u32) -> Seq {
        self.with_seq(|_, seq| {
            let first = seq.next();
            for _ in 1..count {
                seq.next();
            }
            first
        })
    }

    /// A mutation does not happen.
    pub fn abort(&mut self, now: BootTime, m: MutationId) {
        self.mutations.remove(&m);
        self.hub(now, hub::Event::Abort { m });
    }

    /// Asks for a grant; the receiver hears the answer.
    pub fn request(
        &mut self,
        now: BootTime,
        event: impl FnOnce(RequestId) -> grant::Event,
    ) -> (RequestId, oneshot::Receiver<Result<grant::Grant>>) {
        let req = RequestId(self.number());
        let (tx, rx) = oneshot::channel();
        self.requests.insert(req, tx);
        self.grant(now, event(req));
        (req, rx)
    }

    /// Asks for a record lock; the receiver hears the answer.
    pub fn request_lock(
        &mut self,
        now: BootTime,
        event: impl FnOnce(RequestId) -> lock::Event,
    ) -> (RequestId, oneshot::Receiver<Result<()>>) {
        let req = RequestId(self.number());
        let (tx, rx) = oneshot::channel();
        self.lock_requests.insert(req, tx);
        self.lock(now, event(req));
        (req, rx)
    }

    fn with_seq<R>(&mut self, step: impl FnOnce(&mut Machines, &mut Sequencer) -> R) -> R {
        let seq = self.seq.clone();
        let mut seq = seq.lock().expect("no panic under this lock");
        step(self, &mut seq)
    }

    /// Carries effects out in order, those of other machines' steps behind them. Returns the
    /// effect that answers a session event.
    fn run(
        &mut self,
        now: BootTime,
        effects: impl Iterator<Item = Effect>,
    ) -> Option<session::Effect> {
        let mut queue: VecDeque<Effect> = effects.collect();
        let mut answer = None;
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Session(effect) => {
                    if let Some(reply) = self.session_effect(now, effect, &mut queue) {
                        answer = Some(reply);
                    }
                }
                Effect::Grant(effect) => self.grant_effect(now, effect, &mut queue),
                Effect::Hub(effect) => self.hub_effect(effect),
                Effect::Lock(effect) => self.lock_effect(now, effect, &mut queue),
            }
        }
        answer
    }

    fn closed(&mut self, sid: SessionId, reason: session::CloseReason) {
        tracing::info!(session = %sid, ?reason, "session closed");
        if let (session::CloseReason::Replaced, Some(row)) = (reason, self.rows.get(&sid)) {
            let delegations = self.hub.delegations().into_iter();
            let dirs = delegations.filter_map(|(dir, holder)| (holder == sid).then_some(dir));
            self.reserved.leave(sid, row.uuid, dirs);
        }
        self.record(Fact::Close(sid), Then::Nothing);
    }

    fn queue_grant(&mut self, now: BootTime, event: grant::Event, queue: &mut VecDeque<Effect>) {
        let effects = self.with_seq(|m, seq| m.grants.step(now, event, seq));
        queue.extend(effects.into_iter().map(Effect::Grant));
    }

    fn queue_hub(&mut self, now: BootTime, event: hub::Event, queue: &mut VecDeque<Effect>) {
        let effects = self.with_seq(|m, seq| m.hub.step(now, event, seq));
        queue.extend(effects.into_iter().map(Effect::Hub));
    }

    fn queue_lock(&mut self, now: BootTime, event: lock::Event, queue: &mut VecDeque<Effect>) {
        queue.extend(self.locks.step(now, event).into_iter().map(Effect::Lock));
    }

    fn record(&mut self, fact: Fact, then: Then) {
        self.records.push(Record { fact, then });
    }

    /// Journals a session's row again after a change.
    fn record_row(&mut self, sid: SessionId, change: impl FnOnce(&mut session::OpenSession)) {
        if let Some(row) = self.rows.get_mut(&sid) {
            change(row);
            let row = row.clone();
            self.record(Fact::Open(row), Then::Nothing);
        }
    }

    fn session_effect(
        &mut self,
        now: BootTime,
        effect: session::Effect,
        queue: &mut VecDeque<Effect>,
    ) -> Option<session::Effect> {
        match effect {
            session::Effect::JournalOpen { session } => {
                let sid = session.sid;
                self.replay.opened(sid);
                self.reserved.inherit(sid, session.uuid);
                self.rows.insert(sid, session.clone());
                self.record(Fact::Open(session), Then::Nothing);
                self.queue_hub(now, hub::Event::Activate { session: sid }, queue);
            }
            session::Effect::JournalClose { sid, reason } => {
                self.closed(sid, reason);
            }
            session::Effect::JournalLost { sid, item } => {
                tracing::warn!(session = %sid, ?item, "taken from a session by force");
                self.record(Fact::Lost(sid, item), Then::Nothing);
            }
            session::Effect::Lapsed { sid } => {
                tracing::info!(session = %sid, "session lapsed");
                self.queue_hub(now, hub::Event::Void { session: sid }, queue);
                self.queue_grant(now, grant::Event::Lapsed { session: sid }, queue);
                self.queue_lock(now, lock::Event::Lapsed { session: sid }, queue);
            }
            session::Effect::Back { sid } => {
                tracing::info!(session = %sid, "session is back");
                self.queue_hub(now, hub::Event::Activate { session: sid }, queue);
                self.queue_grant(now, grant::Event::Back { session: sid }, queue);
                self.queue_lock(now, lock::Event::Back { session: sid }, queue);
            }
            session::Effect::DropUnreclaimed { sid, floor } => {
                tracing::warn!(session = %sid, "session did not come back in time to reclaim");
                self.record_row(sid, |row| (row.floor, row.absent) = (floor, true));
                self.queue_hub(now, hub::Event::Gone { session: sid }, queue);
                self.queue_grant(now, grant::Event::Gone { session: sid }, queue);
                self.queue_lock(now, lock::Event::Gone { session: sid }, queue);
                self.uploads.forget(sid);
                self.reserved.forget(sid);
            }
            session::Effect::JournalReturned { sid } => {
                self.record_row(sid, |row| row.absent = false);
            }
            session::Effect::Gone { sid } => {
                self.rows.remove(&sid);
                self.queue_hub(now, hub::Event::Gone { session: sid }, queue);
                self.queue_grant(now, grant::Event::Gone { session: sid }, queue);
                self.queue_lock(now, lock::Event::Gone { session: sid }, queue);
                self.uploads.forget(sid);
                self.reserved.forget(sid);
                self.replay.forget(sid);
                self.outboxes.close(sid);
            }
            session::Effect::GraceEnd => tracing::info!("grace is over"),
            reply @ session::Effect::Reclaimed { sid } => {
                self.queue_hub(now, hub::Event::Activate { session: sid }, queue);
                return Some(reply);
            }
            reply @ (session::Effect::Established { .. }
            | session::Effect::Attached { .. }
            | session::Effect::Refused(_)
            | session::Effect::RenewAck { .. }) => return Some(reply),
        }
        None
    }

    fn grant_effect(&mut self, now: BootTime, effect: grant::Effect, queue: &mut VecDeque<Effect>) {
        match effect {
            grant::Effect::Granted { req, grant, .. } => self.answer_grant(req, Ok(grant)),
            grant::Effect::Denied { req, error } => self.answer_grant(req, Err(error)),
            grant::Effect::Recall { session, ino, id, fence, hold } => {
                self.outboxes.recall(session, ino, id, fence, hold);
            }
            grant::Effect::Revoked { session, ino, id, fence } => {
                self.uploads.grant_ended(fence);
                self.outboxes.revoked(session, ino, id, fence);
            }
            grant::Effect::JournalLost { session, ino, id, fence } => {
                self.lose(now, session, LostItem::Grant { ino, fence }, queue);
                self.record(Fact::Nothing, Then::Grant { ino, id });
            }
            // Whoever released or reclaimed looks at the table itself.
            grant::Effect::Reclaimed { .. } | grant::Effect::Fenced { .. } => {}
            grant::Effect::Dropped { fence, .. } => self.uploads.grant_ended(fence),
        }
    }

    fn lock_effect(&mut self, now: BootTime, effect: lock::Effect, queue: &mut VecDeque<Effect>) {
        match effect {
            lock::Effect::Granted { req } => self.answer_lock(req, Ok(())),
            lock::Effect::Denied { req, denial } => {
                self.answer_lock(req, Err(FsError::from(denial.code())));
            }
            lock::Effect::JournalLost { session, ino } => {
                self.lose(now, session, LostItem::Locks { ino }, queue);
                self.record(Fact::Nothing, Then::Locks { ino, session });
            }
        }
    }

    /// Lets the session table note a loss. What it journals about it is recorded before this
    /// returns, so that a record made next follows it.
    fn lose(
        &mut self,
        now: BootTime,
        sid: SessionId,
        item: LostItem,
        queue: &mut VecDeque<Effect>,
    ) {
        let event = session::Event::Conflict { sid, item };
        for effect in self.with_seq(|m, seq| m.sessions.step(now, event, seq)) {
            let answered = self.session_effect(now, effect, queue);
            debug_assert!(answered.is_none(), "a conflict answers nobody");
        }
    }

    fn hub_effect(&mut self, effect: hub::Effect) {
        match effect {
            hub::Effect::Granted { m } => self.signal(m, Signal::Granted),
            hub::Effect::Ready { m, kept, .. } => self.signal(m, Signal::Ready(kept)),
            hub::Effect::Kept { m, keys, delegated } => {
                self.kept.insert(m, Kept { keys, delegated });
            }
            hub::Effect::Send { session, push } => {
                let as_of = self.as_of();
                self.outboxes.push(session, push, as_of);
            }
            hub::Effect::OrphanFree { ino } => self.orphans.push(ino),
            hub::Effect::Unpinned { ino, ver } => self.uploads.unpinned(ino, ver),
        }
    }

    fn signal(&mut self, m: MutationId, signal: Signal) {
        if let Some(waiter) = self.mutations.remove(&m) {
            // A mutation whose task ended is aborted by its guard.
            let _ = waiter.send(signal);
        }
    }

    fn answer_grant(&mut self, req: RequestId, answer: Result<grant::Grant, FsError>) {
        if let Some(waiter) = self.requests.remove(&req) {
            // A request whose caller is gone is cancelled by its guard.
            let _ = waiter.send(answer);
        }
    }

    fn answer_lock(&mut self, req: RequestId, answer: Result<(), FsError>) {
        if let Some(waiter) = self.lock_requests.remove(&req) {
            let _ = waiter.send(answer);
        }
    }
}
