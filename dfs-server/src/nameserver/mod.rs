//! The name server: sessions, names, grants, promises.
//!
//! Everything is decided by the machines of `dfs-core`, which stand behind one lock in
//! [`machines`]; this folder carries their decisions out. The way of a change is in [`mutate`], of
//! a read in [`reads`], of a lease in [`leases`].

pub mod collect;
pub mod committer;
mod compact;
pub mod content;
pub mod leases;
pub mod locks;
mod machines;
pub mod mutate;
pub mod numbers;
pub mod op;
mod outbox;
pub mod reads;
pub mod recovery;
mod replay;
pub mod resolve;
pub mod sessions;
mod uploads;

use crate::clock::Clock;
use crate::filestore::ObjectStore;
use crate::metastore::{Batch, LostRow, MetaStore, SessionRow};
use committer::{Committer, Work};
use dfs_core::access::Credentials;
use dfs_core::session::LostItem;
use dfs_core::{Code, FsError, OpId, Result, Seq, SessionId, grant, lock};
use dfs_proto::v1;
use machines::{Fact, Machines, Record, Then};
pub use outbox::Message;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Who asks, checked for form.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The session.
    pub sid: SessionId,
    /// Its fencing number.
    pub epoch: Seq,
    /// Operation number.
    pub op: OpId,
    /// Answers below are received.
    pub done_below: OpId,
    /// The calling process.
    pub who: Credentials,
}

/// Settings of a name server.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// When changes are answered.
    pub durability: crate::metastore::Durability,
    /// Treat uid 0 of clients as nobody.
    pub root_squash: bool,
    /// Bytes of the disk kept free for changes that free others.
    pub reserve_bytes: u64,
}

/// The uid and gid that squashed callers get (`nobody`, exports(5)).
const NOBODY: u32 = 65_534;

/// The one active name server.
pub struct NameServer {
    /// Durable metadata.
    pub store: Arc<dyn MetaStore>,
    /// Objects of the embedded file store.
    pub objects: Arc<ObjectStore>,
    /// Leader epoch.
    pub leader_epoch: u16,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    settings: Settings,
    cookie_key: [u8; 16],
    committer: Committer,
    machines: Mutex<Machines>,
    notes: compact::Notes,
    me: Weak<NameServer>,
}

impl NameServer {
    /// The machines, locked. Records they leave are queued for the journal before the lock is
    /// given back, so that the journal has them in the order they were decided.
    fn lock(&self) -> Locked<'_> {
        let machines = self.machines.lock().expect("no panic under this lock");
        Locked { machines, server: self }
    }

    /// Reads who asks.
    pub fn caller(&self, caller: &v1::Caller) -> Caller {
        let mut who = dfs_proto::convert::credentials_from(caller);
        if self.settings.root_squash && who.is_root() {
            who = Credentials { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
        }
        Caller {
            sid: SessionId(caller.sid),
            epoch: Seq(caller.epoch),
            op: OpId(caller.op_id),
            done_below: OpId(caller.done_below),
            who,
        }
    }

    /// Totals of the file system (statvfs(3)).
    pub fn statfs(&self, caller: &Caller) -> Result<v1::StatFsRep> {
        self.may_read(caller)?;
        let space = self.objects.statfs()?;
        Ok(v1::StatFsRep {
            fail: None,
            total_bytes: space.total,
            free_bytes: space.free,
            available_bytes: space.available,
            inodes: self.store.inodes()?,
        })
    }

    /// Makes everything applied survive a power loss.
    pub fn flush(&self) {
        if let Err(error) = self.store.flush() {
            tracing::error!(%error, "metadata could not be flushed");
        }
    }

    /// Lets time pass for every machine.
    pub fn tick(&self) {
        self.lock().tick(self.clock.now());
    }

    fn journal(&self, record: Record) {
        let rows = rows_of(&record.fact);
        let me = self.me.clone();
        self.committer.submit(Work::Rows(rows), move |done| {
            let Some(server) = me.upgrade() else { return };
            if let Err(error) = done {
                tracing::error!(%error, "a session record could not be journaled, trying again");
                std::thread::sleep(std::time::Duration::from_millis(100)); // backoff of the retry
                return server.journal(record);
            }
            server.journaled(record.then);
        });
    }

    fn journaled(&self, then: Then) {
        let now = self.clock.now();
        match then {
            Then::Nothing => {}
            Then::Grant { ino, id } => {
                self.lock().grant(now, grant::Event::LostDurable { ino, id });
            }
            Then::Locks { ino, session } => {
                self.lock().lock(now, lock::Event::LostDurable { ino, session });
            }
        }
    }

    /// Waits until everything journaled so far is durable.
    async fn journal_settled(&self) -> Result<()> {
        self.commit_work(Work::Rows(Batch::default())).await.map(|_| ())
    }

    /// Commits work that no client asked for by number.
    async fn commit_work(&self, work: Work) -> Result<committer::Done> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.committer.submit(work, move |done| {
            // Nobody waits any more when the server stops.
            let _ = tx.send(done);
        });
        rx.await.unwrap_or_else(|_| Err(FsError::new(Code::Io, "the server is stopping")))
    }
}

fn rows_of(fact: &Fact) -> Batch {
    let mut batch = Batch::default();
    match fact {
        Fact::Nothing => {}
        Fact::Open(s) => {
            let row = SessionRow {
                sid: s.sid,
                epoch: s.epoch.0,
                uuid: s.uuid,
                verifier: s.verifier,
                description: s.description.clone(),
                floor: s.floor.0,
                absent: s.absent,
            };
            op::open_session(&mut batch, row);
        }
        Fact::Close(sid) => op::close_session(&mut batch, *sid),
        Fact::Lost(sid, item) => {
            let (ino, fence) = match *item {
                LostItem::Grant { ino, fence } => (ino, Some(fence)),
                LostItem::Locks { ino } => (ino, None),
            };
            op::record_loss(&mut batch, LostRow { sid: *sid, ino, fence });
        }
    }
    batch
}

/// The machines while they are locked.
struct Locked<'a> {
    machines: MutexGuard<'a, Machines>,
    server: &'a NameServer,
}

impl Deref for Locked<'_> {
    type Target = Machines;
    fn deref(&self) -> &Machines {
        &self.machines
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Machines {
        &mut self.machines
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        for record in std::mem::take(&mut self.machines.records) {
            self.server.journal(record);
        }
        for ino in std::mem::take(&mut self.machines.orphans) {
            self.server.free_orphan(ino);
        }
    }
}
