//! Starting a name server: a new leader epoch, the sessions of the journal, the root directory, and
//! the threads and tasks that keep it going (PROTOCOL 2.5, 6.7).

use super::committer::{Committer, Setup};
use super::machines::Machines;
use super::numbers::Numbers;
use super::{NameServer, Settings};
use crate::clock::Clock;
use crate::filestore::ObjectStore;
use crate::metastore::{Batch, Durability, MetaStore, Recovered, store_mark};
use dfs_core::seq::Sequencer;
use dfs_core::session::{self, LostItem, OpenSession};
use dfs_core::{Ino, Result, Seq, hub};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// How often time passes for the machines: all their deadlines are longer by far.
const TICK: std::time::Duration = std::time::Duration::from_millis(20);

impl NameServer {
    /// Takes the lead over a store. Every batch of an earlier leader is refused from now on.
    pub fn start(
        store: Arc<dyn MetaStore>,
        objects: Arc<ObjectStore>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Arc<NameServer>> {
        let leader_epoch = store.raise_epoch()?;
        let recovered = store.recover()?;
        let seq = Arc::new(Mutex::new(Sequencer::of_store(
            leader_epoch,
            store_mark(&recovered.cookie_key),
        )));
        make_root(&*store, leader_epoch, &seq, &*clock)?;
        let numbers = Numbers::load(&*store)?;
        let (first_version, first_ino) = (numbers.next_version(), numbers.next_ino());
        let committer = Committer::start(Setup {
            store: store.clone(),
            numbers,
            seq: seq.clone(),
            clock: clock.clone(),
            epoch: leader_epoch,
            cookie_key: recovered.cookie_key,
            durability: settings.durability,
        });
        let committer =
            committer.map_err(|e| crate::disk::failed("start the committing thread", &e))?;
        let server = Arc::new_cyclic(|me| NameServer {
            store,
            objects,
            leader_epoch,
            clock,
            settings,
            cookie_key: recovered.cookie_key,
            first_version,
            first_ino,
            roomy: AtomicBool::new(false),
            committer,
            machines: Mutex::new(Machines::new(seq, leader_epoch)),
            journal: Mutex::default(),
            notes: Default::default(),
            delegations: Default::default(),
            me: me.clone(),
        });
        server.load(recovered);
        Ok(server)
    }

    fn load(&self, recovered: Recovered) {
        tracing::info!(
            leader_epoch = self.leader_epoch,
            sessions = recovered.sessions.len(),
            orphans = recovered.orphans.len(),
            inodes = recovered.inodes,
            "metadata is loaded"
        );
        let now = self.clock.now();
        let mut machines = self.lock();
        let sessions = open_sessions(&recovered);
        machines.rows = sessions.iter().map(|s| (s.sid, s.clone())).collect();
        machines.session(now, session::Event::Load { sessions });
        for ino in recovered.orphans {
            machines.hub(now, hub::Event::Orphaned { ino });
        }
    }

    /// Lets time pass until the server is dropped.
    pub async fn keep_time(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let me = Arc::downgrade(&self);
        drop(self);
        loop {
            ticks.tick().await;
            let Some(server) = me.upgrade() else { return };
            server.tick();
        }
    }
}

fn open_sessions(recovered: &Recovered) -> Vec<OpenSession> {
    let lost_of = |sid| {
        let rows = recovered.lost.iter().filter(move |row| row.sid == sid);
        rows.map(|row| match row.fence {
            Some(fence) => LostItem::Grant { ino: row.ino, fence },
            None => LostItem::Locks { ino: row.ino },
        })
    };
    let open = |row: &crate::metastore::SessionRow| OpenSession {
        sid: row.sid,
        epoch: Seq(row.epoch),
        uuid: row.uuid,
        verifier: row.verifier,
        description: row.description.clone(),
        floor: Seq(row.floor),
        absent: row.absent,
        lost: lost_of(row.sid).collect(),
    };
    recovered.sessions.iter().map(open).collect()
}

/// A new file system begins with an empty root directory that belongs to root.
fn make_root(
    store: &dyn MetaStore,
    epoch: u16,
    seq: &Mutex<Sequencer>,
    clock: &dyn Clock,
) -> Result<()> {
    if store.inode(Ino::ROOT)?.is_some() {
        return Ok(());
    }
    let mut batch = Batch::default();
    batch.inodes.insert(Ino::ROOT, Some(super::op::root(clock.wall())));
    let first = seq.lock().expect("no panic under this lock").next();
    store.commit(epoch, first, &batch, Durability::Strict)
}
