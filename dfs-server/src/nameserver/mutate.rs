//! The way of every change of the namespace (PROTOCOL 3.2): intents, check, push, commit, answer.
//!
//! A mutation runs as a task of its own: a client that goes away does not stop it half way, and a
//! client that asks again is attached to it (PROTOCOL 2.7).

use super::committer::{AnswerKey, Done, Turn, Work};
use super::machines::{Kept, Signal};
use super::op::{Context, Op, Outcome, Verdict};
use super::replay::Arrival;
use super::{Caller, NameServer};
use dfs_core::hub::{self, Key, MutationId};
use dfs_core::range::Range;
use dfs_core::{Code, Fence, FsError, GrantId, Ino, OpId, Result, Seq, SessionId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Times the intents may change between planning and holding before the client is asked to retry.
const REPLANS: usize = 16;

/// Free bytes above the reserve with which nothing that is under way is refused for want of room.
const ROOMY: u64 = 256 << 20;

/// A change as a client asks for it.
#[derive(Clone)]
pub struct Mutation {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Inodes the caller has open.
    pub open: Vec<Ino>,
    /// The write grant it needs.
    pub guard: Option<Guard>,
    /// The number that was drawn for what it makes, with its fence.
    pub drawn: Option<(Ino, Fence)>,
}

impl Mutation {
    /// A change that needs neither grant nor number.
    pub fn new(op: impl Op + 'static) -> Mutation {
        Mutation { op: Arc::new(op), open: Vec::new(), guard: None, drawn: None }
    }
}

/// A write grant that must be held when the change is committed (PROTOCOL 2.6).
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// The inode.
    pub ino: Ino,
    /// The grant.
    pub grant: GrantId,
    /// Its fence.
    pub fence: Fence,
}

/// What a mutation did, and what the caller was promised about it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Attributes after it.
    pub outcome: Outcome,
    /// When that was true.
    pub as_of: Seq,
    /// Promises the caller has.
    pub kept: Kept,
}

impl NameServer {
    /// Carries out a mutation exactly once.
    pub async fn mutate(self: &Arc<Self>, caller: Caller, mutation: Mutation) -> Result<Applied> {
        let op = caller.op;
        if op == OpId(0) {
            return Err(FsError::new(Code::Invalid, "a change without operation number"));
        }
        let arrival = {
            let mut machines = self.lock();
            machines.sessions.check(caller.sid, caller.epoch, self.clock.now())?;
            machines.replay.arrive(caller.sid, op)?
        };
        let asked_before = match arrival {
            Arrival::Attach(answer) => {
                let outcome = answer.await.map_err(|_| stopping())??;
                return Ok(self.unpromised(outcome));
            }
            Arrival::Run { asked_before } => asked_before,
        };
        let server = self.clone();
        let task = tokio::spawn(async move {
            let sid = caller.sid;
            let answer = server.run_once(caller, mutation, asked_before).await;
            let plain = answer.as_ref().map(|applied| applied.outcome.clone());
            server.lock().replay.finish(sid, op, &plain.map_err(FsError::clone));
            answer
        });
        task.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// The stored answer to this call, if it is a repeated one.
    pub fn answered(&self, caller: &Caller) -> Result<Option<Applied>> {
        self.lock().sessions.check(caller.sid, caller.epoch, self.clock.now())?;
        let stored = self.store.answer(caller.sid, caller.op)?;
        stored.map(|stored| Ok(self.unpromised(Outcome::decode(&stored)?))).transpose()
    }

    fn unpromised(&self, outcome: Outcome) -> Applied {
        Applied { outcome, as_of: self.lock().as_of(), kept: Kept::default() }
    }

    async fn run_once(
        self: &Arc<Self>,
        caller: Caller,
        mutation: Mutation,
        asked_before: bool,
    ) -> Result<Applied> {
        if asked_before && let Some(stored) = self.store.answer(caller.sid, caller.op)? {
            return Ok(self.unpromised(Outcome::decode(&stored)?));
        }
        let Some(drawn) = mutation.drawn else {
            return self.carry_out(&caller, &mutation).await;
        };
        self.use_number(&caller, drawn)?;
        let done = self.carry_out(&caller, &mutation).await;
        if done.is_err() {
            // Nothing has it: its client may try again.
            self.lock().reserved.add(caller.sid, drawn.0, drawn.1);
        }
        done
    }

    async fn carry_out(self: &Arc<Self>, caller: &Caller, mutation: &Mutation) -> Result<Applied> {
        for _ in 0..REPLANS {
            if let Some(answer) = self.attempt(caller, mutation).await? {
                return Ok(answer);
            }
        }
        let text = format!("{} kept meeting other changes", mutation.op.verb());
        Err(FsError::new(Code::Retry(std::time::Duration::from_millis(5)), text))
    }

    /// One attempt; `None`: what the operation touches changed before its intents were held.
    async fn attempt(
        self: &Arc<Self>,
        caller: &Caller,
        mutation: &Mutation,
    ) -> Result<Option<Applied>> {
        let cx = Context { who: &caller.who, cookie_key: &self.cookie_key };
        let intents = mutation.op.intents(&cx, &*self.store)?;
        let (running, granted) = Running::begin(self.clone(), caller.sid, intents.clone());
        granted.await.map_err(|_| stopping())?;
        let delegated = {
            let keys = intents.iter().map(|(key, _)| key);
            self.lock().hub.delegated_under(caller.sid, keys)
        };
        if let Some(dir) = delegated {
            // Who has it to itself may need these intents to say what it made.
            drop(running);
            self.end_delegation(dir).await?;
            return Ok(None);
        }
        if mutation.op.intents(&cx, &*self.store)? != intents {
            return Ok(None);
        }
        let items = match mutation.op.check(&cx, &*self.store)? {
            Verdict::Done(outcome) => return Ok(Some(self.unpromised(outcome))),
            Verdict::Change(items) => items,
        };
        self.check_room(&*mutation.op)?;
        self.check_guard(caller, mutation.guard)?;
        let ready = {
            let mut machines = self.lock();
            machines.push(self.clock.now(), running.m, items, mutation.open.clone())
        };
        let Ok(Signal::Ready(kept)) = ready.await else { return Err(stopping()) };
        self.pin(kept)?;
        let (turn, done) = self.submit(caller, mutation)?;
        turn.take().await;
        let done = done.await.map_err(|_| stopping())??;
        Ok(Some(self.applied(running, done)?))
    }

    /// The session and the grant must stand at the moment the change is queued: whatever takes
    /// them away is journaled behind it.
    fn submit(
        &self,
        caller: &Caller,
        mutation: &Mutation,
    ) -> Result<(Turn<'_>, oneshot::Receiver<Result<Done>>)> {
        let machines = self.lock();
        machines.sessions.check(caller.sid, caller.epoch, self.clock.now())?;
        if let Some(guard) = mutation.guard {
            machines.grants.check_commit(
                caller.sid,
                guard.ino,
                guard.grant,
                guard.fence,
                Range::ALL,
            )?;
        }
        let answer = AnswerKey { sid: caller.sid, op: caller.op, done_below: caller.done_below };
        let work =
            Work::Op { op: mutation.op.clone(), who: caller.who.clone(), answer: Some(answer) };
        let (tx, rx) = oneshot::channel();
        let turn = self.committer.enqueue(work, move |done| {
            // A server that stops no longer waits.
            let _ = tx.send(done);
        });
        Ok((turn, rx))
    }

    /// Refuses what needs room when little is left.
    fn check_room(&self, op: &dyn Op) -> Result<()> {
        if !op.grows() {
            return Ok(());
        }
        let (available, reserve) = (self.objects.statfs()?.available, self.settings.reserve_bytes);
        self.roomy.store(available >= reserve.saturating_add(ROOMY), Ordering::Relaxed);
        if available >= reserve {
            return Ok(());
        }
        let text = format!("{}: the disk of the server is full", op.verb());
        Err(FsError::new(Code::NoSpace, text))
    }

    /// Whether the disk had room for many more changes when the last one was looked at.
    pub fn is_roomy(&self) -> bool {
        self.roomy.load(Ordering::Relaxed)
    }

    fn check_guard(&self, caller: &Caller, guard: Option<Guard>) -> Result<()> {
        let Some(guard) = guard else { return Ok(()) };
        let machines = self.lock();
        machines.grants.check_commit(caller.sid, guard.ino, guard.grant, guard.fence, Range::ALL)
    }

    /// Keeps the objects of old versions that readers named in their acks.
    fn pin(&self, kept: Vec<(SessionId, Ino, u64)>) -> Result<()> {
        for (_, ino, ver) in kept {
            let objects = super::content::objects_of(&*self.store, ino)?;
            self.lock().uploads.pin(ino, ver, objects);
        }
        Ok(())
    }

    /// Promises the caller what it now knows. Directories may be changed by several mutations at
    /// once, a new one as soon as it is committed, so their attributes are read again under the
    /// promise.
    fn applied(&self, running: Running, done: Done) -> Result<Applied> {
        let mut outcome = done.outcome;
        let keep = promises_for(&outcome);
        let origin = running.origin;
        let (kept, as_of) = running.committed(keep);
        self.note_delegations(origin, &kept.delegated);
        let made = outcome.made_directory().is_some();
        let made = if made { &mut outcome.object } else { &mut None };
        let shared = [&mut outcome.dir, &mut outcome.to_dir, made];
        for attr in shared.into_iter().flatten() {
            if let Some(row) = self.store.inode(attr.ino)? {
                *attr = row.attr;
            }
        }
        Ok(Applied { outcome, as_of, kept })
    }

    /// Returns when a directory is delegated to nobody: who had it has told what it made there, or
    /// its session lapsed. Must not be called with an intent held.
    pub(super) async fn end_delegation(self: &Arc<Self>, dir: Ino) -> Result<()> {
        let (running, granted) = Running::begin(self.clone(), NOBODY, Vec::new());
        granted.await.map_err(|_| stopping())?;
        let item = hub::Item::Undelegate { dir };
        let told = self.lock().push(self.clock.now(), running.m, vec![item], Vec::new());
        told.await.map_err(|_| stopping())?;
        running.committed(Vec::new());
        self.note_no_delegation(dir);
        Ok(())
    }
}

/// Origin of what the server does itself: no session has this number.
pub(super) const NOBODY: SessionId = SessionId(0);

/// What a caller should be promised after its change.
fn promises_for(outcome: &Outcome) -> Vec<Key> {
    let mut keys = Vec::new();
    for dir in [&outcome.dir, &outcome.to_dir].into_iter().flatten() {
        keys.extend([Key::Attr(dir.ino), Key::Dir(dir.ino)]);
    }
    for attr in [&outcome.object, &outcome.replaced].into_iter().flatten() {
        if attr.nlink > 0 {
            keys.push(Key::Attr(attr.ino));
        }
    }
    keys.extend(outcome.made_directory().map(|attr| Key::Dir(attr.ino)));
    keys
}

/// A mutation at the hub; dropping it aborts it there.
struct Running {
    server: Arc<NameServer>,
    origin: SessionId,
    m: MutationId,
    ended: bool,
}

impl Running {
    fn begin(
        server: Arc<NameServer>,
        origin: SessionId,
        intents: Vec<(dfs_core::hub::IntentKey, dfs_core::hub::Hold)>,
    ) -> (Running, oneshot::Receiver<Signal>) {
        let now = server.clock.now();
        let (m, granted) = server.lock().begin(now, origin, intents);
        (Running { server, origin, m, ended: false }, granted)
    }

    fn committed(mut self, keep: Vec<Key>) -> (Kept, Seq) {
        self.ended = true;
        let mut machines = self.server.lock();
        let kept = machines.committed(self.server.clock.now(), self.m, self.origin, keep);
        (kept, machines.as_of())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.server.lock().abort(self.server.clock.now(), self.m);
        }
    }
}

fn stopping() -> FsError {
    FsError::new(Code::Retry(std::time::Duration::from_millis(100)), "the server is stopping")
}
