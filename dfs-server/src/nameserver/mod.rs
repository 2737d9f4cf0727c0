//! The name server: sessions, names, grants, promises.
//!
//! Everything is decided by the machines of `dfs-core`, which stand behind one lock in
//! [`machines`]; this folder carries their decisions out. The way of a change is in [`mutate`], of
//! a read in [`reads`], of a lease in [`leases`].

pub mod collect;
pub mod committer;
mod compact;
pub mod content;
mod delegations;
mod journal;
pub mod leases;
mod line;
pub mod locks;
mod machines;
pub mod mutate;
pub mod numbers;
pub mod op;
mod outbox;
pub mod reads;
mod reclaim;
pub mod recovery;
mod replay;
mod reserved;
pub mod resolve;
pub mod sessions;
mod uploads;

use crate::clock::Clock;
use crate::filestore::ObjectStore;
use crate::metastore::MetaStore;
use committer::{Committer, Work};
use dfs_core::access::Credentials;
use dfs_core::{Code, FsError, Ino, OpId, Result, Seq, SessionId, grant, lock};
use dfs_proto::v1;
use journal::{Fact, Journal, Record, Then, rows_of};
use machines::Machines;
pub use outbox::Message;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

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
    /// Content versions below were given before this start.
    first_version: u64,
    /// The same of inode numbers.
    first_ino: Ino,
    /// See [`NameServer::is_roomy`].
    roomy: AtomicBool,
    committer: Committer,
    machines: Mutex<Machines>,
    journal: Mutex<Journal>,
    notes: compact::Notes,
    delegations: OnceLock<Mutex<delegations::Delegations>>,
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
        if self.settings.root_squash {
            who = who.squashed();
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

    /// Nothing is changed any more: makes everything survive a power loss, in order for the next start.
    pub fn finish(&self) {
        if let Err(error) = self.store.finish() {
            tracing::error!(%error, "metadata could not be flushed");
        }
    }

    /// Lets time pass for every machine.
    pub fn tick(&self) {
        self.lock().tick(self.clock.now());
        self.write_journal();
    }

    /// Journals records behind all others.
    fn journal(&self, records: Vec<Record>) {
        if !records.is_empty() {
            self.pending().add(records);
            self.write_journal();
        }
    }

    /// Commits what waits for the journal, unless a batch of it is under way.
    fn write_journal(&self) {
        let Some(records) = self.pending().take(self.clock.now()) else { return };
        let me = self.me.clone();
        self.committer.submit(Work::Rows(rows_of(&records)), move |done| {
            let Some(server) = me.upgrade() else { return };
            if let Err(error) = done {
                tracing::error!(%error, "session records could not be journaled, trying again");
                return server.pending().failed(server.clock.now(), records);
            }
            server.pending().committed();
            records.into_iter().for_each(|record| server.journaled(record.then));
            server.write_journal();
        });
    }

    fn pending(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("no panic under this lock")
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
            Then::Told(waiter) => {
                // Whoever asked may have left.
                let _ = waiter.send(());
            }
        }
    }

    /// Waits until everything journaled so far is durable.
    async fn journal_settled(&self) -> Result<()> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.journal(vec![Record { fact: Fact::Nothing, then: Then::Told(tx) }]);
        rx.await.map_err(|_| FsError::new(Code::Io, "the server is stopping"))
    }

    /// Returns when every change answered so far survives a power loss.
    pub async fn flush_for(&self, caller: &Caller) -> Result<()> {
        self.may_read(caller)?;
        self.commit_work(Work::Flush).await.map(drop)
    }

    /// Commits work that no client asked for by number.
    async fn commit_work(&self, work: Work) -> Result<committer::Done> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let turn = self.committer.enqueue(work, move |done| {
            // Nobody waits any more when the server stops.
            let _ = tx.send(done);
        });
        turn.take().await;
        rx.await.unwrap_or_else(|_| Err(FsError::new(Code::Io, "the server is stopping")))
    }
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
        self.server.journal(std::mem::take(&mut self.machines.records));
        for ino in std::mem::take(&mut self.machines.orphans) {
            self.server.free_orphan(ino);
        }
    }
}
