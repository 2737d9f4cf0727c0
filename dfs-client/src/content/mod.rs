//! File content on this machine: leases, staging, fetching, committing (PROTOCOL 4, 9.4).
//!
//! [`Content`] owns every [`inode::File`] and every open handle. What a file may do next is decided
//! by `dfs_core::inode_state`; this module carries it out. It never answers for metadata: attributes
//! come from, and replies go to, [`Client`].
//!
//! Locks: see [`inode::File`]. The list of files is taken last and held only to look things up.

mod advance;
mod ahead;
mod background;
mod beside;
mod clone;
mod close;
mod commit;
mod deferred;
mod fetch;
mod given;
mod handle;
mod hooks;
mod inode;
mod lease;
mod manifest;
mod open;
mod pages;
mod passthrough;
mod plan;
mod read;
mod remote;
mod rescue;
mod restate;
mod room;
mod seek;
mod telling;
#[cfg(test)]
mod tests;
mod truncate;
mod upload;
mod view;
mod write;

use crate::cache::Cache;
use crate::client::Client;
use crate::recovered::RecoveryArea;
use dfs_core::inode_state::{Effect, Event};
use dfs_core::limits::AHEAD_OF_ALL;
use dfs_core::{BootTime, Ino, Result};
use dfs_proto::v1;
use inode::{File, State};
pub(crate) use remote::held;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Semaphore;

/// Files without open handle that are remembered with their extents.
const IDLE_FILES_MAX: usize = 1024;

/// The content layer of one client.
pub struct Content {
    /// The rest of the client.
    pub(crate) client: Arc<Client>,
    /// Local bytes.
    pub(crate) cache: Arc<Cache>,
    /// Where unsaved bytes go that cannot be committed.
    pub(crate) recovered: Arc<RecoveryArea>,
    handles: handle::Table,
    /// Uploads ahead of a commit that may be under way at a time.
    ahead_slots: Arc<Semaphore>,
    files: Mutex<Files>,
    /// Taken before any other lock, and for a moment.
    beside: Mutex<beside::Beside>,
    passthrough: passthrough::Passthrough,
    giving: given::Giving,
    /// What tells the server of files that an earlier daemon made; held by who tells.
    left_over: tokio::sync::Mutex<Vec<v1::CommitReq>>,
    me: Weak<Content>,
}

#[derive(Debug)]
struct Files {
    known: HashMap<Ino, Arc<File>>,
    /// Files that have a lease, unsaved bytes or a promise to look after: `Tick` is for them.
    active: BTreeSet<Ino>,
    /// What the kernel may have of files that are not `known`.
    pages: pages::Remembered,
    /// Files whose unsaved bytes are in the recovery area, with the names of the entries there.
    conflicts: HashMap<Ino, String>,
    /// Number of known files at which the idle ones are looked for.
    sweep_at: usize,
}

impl Content {
    /// The content layer over a cache.
    fn new(client: Arc<Client>, cache: Arc<Cache>, recovered: Arc<RecoveryArea>) -> Arc<Content> {
        let passthrough = passthrough::Passthrough::new(&client.config);
        Arc::new_cyclic(|me| Content {
            client,
            cache,
            recovered,
            handles: handle::Table::default(),
            ahead_slots: Arc::new(Semaphore::new(AHEAD_OF_ALL)),
            files: Mutex::new(Files {
                known: HashMap::new(),
                active: BTreeSet::new(),
                pages: pages::Remembered::new(),
                conflicts: HashMap::new(),
                sweep_at: IDLE_FILES_MAX,
            }),
            beside: Mutex::new(beside::Beside::new()),
            passthrough,
            giving: given::Giving::default(),
            left_over: tokio::sync::Mutex::default(),
            me: me.clone(),
        })
    }

    /// The recovery entry that holds unsaved bytes of the file, if there is one (the value of the
    /// attribute `user.dfs.conflict`).
    pub fn conflict_of(&self, ino: Ino) -> Option<String> {
        self.files().conflicts.get(&ino).cloned()
    }

    /// Whether there are writes here that no version holds yet.
    pub(crate) fn is_written(&self, ino: Ino) -> bool {
        self.find(ino).is_some_and(|file| file.lock().written_at.is_some())
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beside(&self) -> MutexGuard<'_, beside::Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reference that a task can keep.
    fn arc(&self) -> Arc<Content> {
        self.me.upgrade().expect("a method runs on a living value")
    }

    fn now(&self) -> BootTime {
        self.client.clock.now()
    }

    /// The file, if it is known here.
    fn find(&self, ino: Ino) -> Option<Arc<File>> {
        self.files().known.get(&ino).cloned()
    }

    /// The file; one that is not known starts with version `ver` of `size` bytes, or with unsaved work.
    fn file(&self, ino: Ino, ver: u64, size: u64) -> Result<Arc<File>> {
        if let Some(file) = self.find(ino) {
            return Ok(file);
        }
        // The file is opened without the lock; of two that race here the first one wins.
        let working = self.cache.open_file(ino, ver, size)?;
        let mut files = self.files();
        if let Some(file) = files.known.get(&ino) {
            return Ok(Arc::clone(file));
        }
        // Nobody uses what the cache has of a file that is not known, or will before the lock is free.
        working.begin_with(ver, size)?;
        let file = Arc::new(File::new(working, None));
        file.lock().pages = files.pages.take(ino, ver);
        files.known.insert(ino, Arc::clone(&file));
        files.limit();
        Ok(file)
    }

    /// Steps the machine of a file's write lease and carries out what it says.
    fn step(&self, file: &Arc<File>, event: Event) {
        self.step_locked(file, &mut file.lock(), event);
    }

    /// As [`step`](Content::step), by a caller who looks at the state in the same moment.
    fn step_locked(&self, file: &Arc<File>, state: &mut State, event: Event) {
        let was_dirty = state.machine.is_dirty();
        let effect = state.machine.step(self.now(), event);
        if effect == Some(Effect::SaveAside) {
            state.lose();
        }
        if event == Event::Wrote && was_dirty {
            return;
        }
        if state.machine.next_deadline().is_some() || state.machine.is_dirty() {
            self.watch(file.ino);
        }
        file.changed.notify_waiters();
        if let Some(effect) = effect {
            self.carry_out(file, effect);
        }
    }

    /// Carries out an effect in the background. `Request` is the caller's own business.
    fn carry_out(&self, file: &Arc<File>, effect: Effect) {
        let (content, file) = (self.arc(), Arc::clone(file));
        let task = async move {
            match effect {
                Effect::Request => {}
                Effect::Return => content.return_lease(&file).await,
                Effect::Disown(grant, fence) => content.disown(file.ino, grant, fence).await,
                Effect::Commit => content.commit_in_background(&file).await,
                Effect::SaveAside => content.save_aside(&file).await,
                Effect::Rescue(fence) => content.rescue(&file, fence).await,
                Effect::Advance => content.follow(&file).await,
            }
        };
        self.client.runtime.spawn(task);
    }

    /// Looks after the file's deadlines from now on.
    fn watch(&self, ino: Ino) {
        self.files().active.insert(ino);
    }
}

impl Files {
    /// Forgets files that nobody uses, if there are many.
    fn limit(&mut self) {
        if self.known.len() <= self.sweep_at {
            return;
        }
        let idle = |file: &Arc<File>| Arc::strong_count(file) == 1 && file.lock().is_idle();
        let surplus = self.known.len() - IDLE_FILES_MAX / 2;
        let gone: Vec<Ino> = self
            .known
            .iter()
            .filter(|(_, file)| idle(file))
            .map(|(ino, _)| *ino)
            .take(surplus)
            .collect();
        for ino in gone {
            let Some(file) = self.known.remove(&ino) else { continue };
            let pages = file.lock().pages;
            self.pages.put(ino, pages);
        }
        // Those that are in use were looked at in vain: not again before there are half as many more.
        self.sweep_at = self.known.len() + self.known.len().max(IDLE_FILES_MAX) / 2;
    }
}
