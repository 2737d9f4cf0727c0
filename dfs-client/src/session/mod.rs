//! The session with the name server and its lease (PROTOCOL 2).
//!
//! Owns: who we are to the server, until when cached state may be used (the gate), and the control
//! stream. It decides nothing about caches: it tells [`Events`] when they are void. The state lock
//! is short and never held while `Events` run.

mod control;
mod establish;
mod mount_id;
pub(crate) mod ops;
pub mod outbox;

use crate::clock::Clock;
use crate::config::{Address, Config, Patience};
use crate::interrupt;
use crate::metrics::Metrics;
use dfs_core::limits::{REPLAY_SLOTS, TTL_MARGIN};
use dfs_core::session::client_lease_end;
use dfs_core::time::Timestamp;
use dfs_core::{BootTime, Code, FsError, Ino, Result};
use dfs_proto::v1;
use establish::Granted;
pub use mount_id::MountId;
use ops::Ops;
use outbox::Outbox;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The control thread looks at the clock this often, or more often when the term is short.
const BEAT: Duration = Duration::from_secs(1);
/// A longer time without a look means that the process or the machine stood still.
const STOPPED: Duration = Duration::from_secs(4);

/// What others do about what happens to a session. Called without locks, mostly on the control
/// thread; nothing here may wait.
pub trait Events: Send + Sync {
    /// Carry out push `number` and acknowledge it through the outbox.
    fn inval(&self, number: u64, push: v1::Inval);
    /// As `inval`: forget everything promised up to this sequence number; none: everything, what is
    /// on its way included.
    fn drop_all(&self, number: u64, seq: Option<u64>);
    /// As `inval`.
    fn trim(&self, number: u64, push: v1::Trim);
    /// A grant is wanted back.
    fn recall(&self, recall: v1::Recall);
    /// A grant is gone.
    fn revoked(&self, revoked: v1::Revoked);
    /// Something was lost while the session was away.
    fn lost(&self, lost: v1::Lost);
    /// The lease ended, or the session with it: nothing cached may be used. The kernel may have been
    /// wrong since `since`.
    fn lapsed(&self, since: BootTime);
    /// The process or the machine stood still since `since`, the lease lives.
    fn stopped(&self, since: BootTime);
    /// The lease is live after `lapsed`.
    fn resumed(&self);
    /// Promises are void because the name server restarted; what is held must be restated.
    fn restarted(&self) -> v1::ReclaimReq;
    /// The session is a new one: nothing of the old one is held any more.
    fn replaced(&self);
    /// The server heard of promises that were given up (inodes, directories).
    fn heard(&self, attrs: &[Ino], dirs: &[Ino]);
    /// The control thread looked at the clock: time for housekeeping.
    fn beat(&self);
}

/// Who we are to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Session number.
    pub sid: u64,
    /// Its fencing number.
    pub epoch: u64,
}

#[derive(Debug)]
struct State {
    identity: Identity,
    root: Ino,
    limits: v1::Limits,
    term: Duration,
    leader_epoch: u32,
    /// The server answers changes of names before they survive a power loss; as long as it has said
    /// nothing, it may.
    relaxed: bool,
    /// The server takes the superuser for nobody.
    root_squash: bool,
    /// See [`Session::first_version`].
    first_version: u64,
    /// The server carries a call out behind another one of the same stream.
    ordered_calls: bool,
    /// It makes directories as their client made them before.
    made_directories: bool,
    /// The server said that `identity` is no more.
    expired: bool,
    live: bool,
    lease_end: BootTime,
    /// When the clock was last looked at.
    beat: BootTime,
    wall_offset_nanos: i64,
}

/// See the module.
pub struct Session {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    server: Address,
    patience: Patience,
    description: String,
    mount: MountId,
    state: Mutex<State>,
    /// Changes whenever a wait at the gate may be over.
    gate: watch::Sender<u64>,
    pub(crate) ops: Ops,
    /// What we have to say on the control stream.
    pub outbox: Outbox,
    events: OnceLock<Weak<dyn Events>>,
    /// Wakes the control thread: the session expired.
    kick: Notify,
    closing: watch::Sender<bool>,
    closed: watch::Sender<bool>,
}

impl Session {
    /// Opens a session. Fails with `Unavailable` if the server does not answer within 5 seconds,
    /// `TooOld` if it speaks no common protocol or lacks what this client needs, `NotLeader` if
    /// another server leads.
    pub async fn establish(
        config: &Config,
        mount: MountId,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Session>> {
        let granted =
            establish::first(&config.server, &mount, &config.description, &*clock).await?;
        metrics.sessions.inc();
        let slots = match granted.limits.replay_slots as usize {
            0 => REPLAY_SLOTS,
            n => n.min(REPLAY_SLOTS),
        };
        let session = Session {
            ops: Ops::new(granted.identity.sid, granted.next_op, slots),
            state: Mutex::new(State::new(&granted, clock.now())),
            server: config.server.clone(),
            patience: config.patience,
            description: config.description.clone(),
            mount,
            gate: watch::Sender::new(0),
            outbox: Outbox::default(),
            events: OnceLock::new(),
            kick: Notify::new(),
            closing: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            clock,
            metrics,
        };
        Ok(Arc::new(session))
    }

    /// Starts the control thread, which brings the lease to life and keeps it. Once.
    pub fn run(self: &Arc<Self>, events: Weak<dyn Events>) -> Result<()> {
        assert!(self.events.set(events).is_ok(), "a session runs once");
        control::spawn(Arc::clone(self))
    }

    /// Ends the session at the server and the control thread. Waits for both, at most a few seconds.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.gate.send_modify(|n| *n += 1);
        if self.events.get().is_some() {
            let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic under this lock is a bug already reported")
    }

    fn events(&self) -> Option<Arc<dyn Events>> {
        self.events.get()?.upgrade()
    }

    /// Who we are now.
    pub fn identity(&self) -> Identity {
        self.state().identity
    }

    /// The root directory of the server.
    pub fn root(&self) -> Ino {
        self.state().root
    }

    /// Bounds the server told.
    pub fn limits(&self) -> v1::Limits {
        self.state().limits
    }

    /// Whether the server answers changes of names before they survive a power loss.
    pub fn relaxed(&self) -> bool {
        self.state().relaxed
    }

    /// Whether the server takes the superuser for nobody. The first stream says so, before anything
    /// is cached.
    pub fn root_squash(&self) -> bool {
        self.state().root_squash
    }

    /// Content versions from this number on are given by the running server: an older one that it does
    /// not name any more was undone by a power loss (`docs/design/0037`). 0: it did not say.
    pub fn first_version(&self) -> u64 {
        self.state().first_version
    }

    /// Whether the server carries a call out behind another one, if it is asked to (`OneCall.after`).
    pub fn ordered_calls(&self) -> bool {
        self.state().ordered_calls
    }

    /// Whether the server makes a directory with the number that its client gave it.
    pub fn made_directories(&self) -> bool {
        self.state().made_directories
    }

    /// The server's wall clock minus ours, in nanoseconds.
    pub fn wall_offset(&self) -> i64 {
        self.state().wall_offset_nanos
    }

    /// The server's wall clock now, as well as it is known.
    pub fn server_time(&self) -> Timestamp {
        let nanos = self.clock.wall().as_nanos() + i128::from(self.wall_offset());
        let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        Timestamp { seconds: seconds as i64, nanos: nanos as u32 }
    }

    /// What is left of the lease; none: the gate is closed. Looks at the clock, so a lease that ended
    /// while this process stood still is noticed here, before anything old is used (PROTOCOL 5.2).
    pub fn lease_left(&self) -> Option<Duration> {
        let now = self.clock.now();
        let (stopped, lapsed, left) = self.state().look(now);
        if let Some(since) = lapsed.or(stopped)
            && let Some(events) = self.events()
        {
            if lapsed.is_some() {
                self.metrics.lapses.inc();
                tracing::warn!("the session lease ran out");
                events.lapsed(since);
            } else {
                tracing::info!("stood still, telling the kernel to revalidate");
                events.stopped(since);
            }
        }
        left
    }

    /// Lifetime for the kernel of what is promised now (PROTOCOL 5.2).
    pub fn ttl(&self) -> Duration {
        self.lease_left().unwrap_or_default().saturating_sub(TTL_MARGIN)
    }

    /// Returns as soon as the lease is live: at once in most cases. Else waits as the mount says: for
    /// ever (`Interrupted` ends it), or until `Io`.
    pub async fn gate(&self) -> Result<()> {
        if self.lease_left().is_some() {
            return Ok(());
        }
        let patience = match self.patience {
            Patience::Hard => None,
            Patience::Soft(d) => Some(Instant::now() + d),
        };
        interrupt::wait(Box::pin(self.gate_until(patience))).await?
    }

    /// As [`gate`](Self::gate), but until `deadline` and not to be interrupted.
    pub(crate) async fn gate_until(&self, deadline: Option<Instant>) -> Result<()> {
        let mut changed = self.gate.subscribe();
        loop {
            if self.lease_left().is_some() {
                return Ok(());
            }
            if *self.closing.borrow() {
                return Err(FsError::new(Code::NotConnected, "the client is stopping"));
            }
            match deadline {
                None => changed.changed().await.expect("the sender lives as long as self"),
                Some(at) => match tokio::time::timeout_at(at, changed.changed()).await {
                    Ok(change) => change.expect("the sender lives as long as self"),
                    Err(_) => return Err(FsError::new(Code::Io, "the server does not answer")),
                },
            }
        }
    }

    /// The server refused a call of session `sid` because it does not know it any more.
    pub(crate) fn expired(&self, sid: u64) {
        let since = {
            let mut state = self.state();
            if state.identity.sid != sid || state.expired {
                return;
            }
            state.expired = true;
            std::mem::take(&mut state.live).then_some(state.beat)
        };
        if let (Some(since), Some(events)) = (since, self.events()) {
            events.lapsed(since);
        }
        self.kick.notify_one();
    }

    /// A term asked for at `sent` was granted.
    fn extend(&self, sent: BootTime, term: Duration) {
        // First notice an end that nobody saw, so that nothing old survives it.
        let was_live = self.lease_left().is_some();
        {
            let mut state = self.state();
            if state.expired {
                return;
            }
            state.lease_end = state.lease_end.max(client_lease_end(sent, term));
            state.live = self.clock.now() < state.lease_end;
        }
        if was_live || self.lease_left().is_none() {
            return;
        }
        if let Some(events) = self.events() {
            events.resumed();
        }
        self.gate.send_modify(|n| *n += 1);
    }

    /// Enters a new session that the server granted in place of an expired one.
    fn replace(&self, granted: &Granted) {
        if granted.identity == self.identity() {
            // The server knows the session after all: what it holds and what it answered stands.
            self.state().expired = false;
            return;
        }
        self.metrics.sessions.inc();
        *self.state() = State::new(granted, self.clock.now());
        self.ops.reset(granted.identity.sid, granted.next_op);
        self.outbox.reset();
        if let Some(events) = self.events() {
            events.replaced();
        }
    }

    /// The regular look at the clock, by which a stop is noticed later. A session nobody listens to
    /// any more closes.
    fn tick(&self) {
        self.lease_left();
        self.state().beat = self.clock.now();
        match self.events() {
            Some(events) => events.beat(),
            None => {
                self.closing.send_replace(true);
            }
        }
    }

    fn beat_period(&self) -> Duration {
        (self.state().term / 12).clamp(Duration::from_millis(5), BEAT)
    }
}

impl State {
    fn new(granted: &Granted, now: BootTime) -> State {
        State {
            identity: granted.identity,
            root: granted.root,
            limits: granted.limits,
            term: granted.term,
            leader_epoch: granted.leader_epoch,
            relaxed: true,
            root_squash: false,
            first_version: 0,
            ordered_calls: false,
            made_directories: false,
            expired: false,
            live: false,
            lease_end: BootTime::default(),
            beat: now,
            wall_offset_nanos: granted.wall_offset_nanos,
        }
    }

    /// Since when the clock stood still if it did; since when the kernel may be wrong if the lease
    /// ended just now; what is left of the lease.
    fn look(&mut self, now: BootTime) -> (Option<BootTime>, Option<BootTime>, Option<Duration>) {
        let last = self.beat;
        let stopped = (now.since(last) > STOPPED).then_some(last);
        if stopped.is_some() {
            self.beat = now;
        }
        if !self.live {
            return (None, None, None);
        }
        if now >= self.lease_end {
            self.live = false;
            return (stopped, Some(last), None);
        }
        (stopped, None, Some(self.lease_end.since(now)))
    }
}
