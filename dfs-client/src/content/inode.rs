//! The content of one inode on this machine: its view, its lease, what is unsaved.

use super::ahead::Batch;
use super::manifest::Manifest;
use super::pages::Pages;
use super::view::{View, base_size};
use crate::cache::WorkingFile;
use dfs_core::access::Credentials;
use dfs_core::ahead::Ahead;
use dfs_core::attr::{Attr, SetAttr, SetTime};
use dfs_core::inode_state::InodeState;
use dfs_core::limits::{COMMIT_EVERY, COMMIT_EVERY_APPEND};
use dfs_core::open_mode::OpenMode;
use dfs_core::time::Timestamp;
use dfs_core::{Fence, FsError, Ino};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as Queue, Notify, RwLock};

/// The content of one inode. Order of locks: `lease_queue`, `commit_queue`, `gate`, state; the state
/// is never held across a wait.
#[derive(Debug)]
pub(crate) struct File {
    /// The inode.
    pub(crate) ino: Ino,
    /// Shared: reads and writes at a given place. Exclusive: whatever moves the version, the size
    /// or the end of the file, and the end of the lease.
    pub(crate) gate: RwLock<()>,
    /// Those who ask the server for a lease, one at a time.
    pub(crate) lease_queue: Queue<()>,
    /// Commits, and changes that must not happen while one uploads.
    pub(crate) commit_queue: Queue<()>,
    /// The lease or the error of the file changed, or the kernel was told something.
    pub(crate) changed: Notify,
    /// The kernel was given pages since a direct handle last had it forget some. Set behind the gate.
    pub(crate) gave_pages: AtomicBool,
    state: Mutex<State>,
}

/// What [`File::lock`] protects.
#[derive(Debug)]
pub(crate) struct State {
    /// Write lease and unsaved bytes (PROTOCOL 9.4).
    pub(crate) machine: InodeState,
    /// Read lease under `rwlock`; its "writers" are the handles open for reading.
    pub(crate) readers: InodeState,
    /// The current version here.
    pub(crate) view: Arc<View>,
    /// Open handles.
    pub(crate) open: u32,
    /// Those of them that append.
    pub(crate) appenders: u32,
    /// Those of them that stay on `view`.
    pub(crate) snapshots: u32,
    /// Attributes that ride on the next commit.
    pub(crate) staged: SetAttr,
    /// Time of the last write since the last commit, by the server's clock.
    pub(crate) written_at: Option<Timestamp>,
    /// What the kernel may have.
    pub(crate) pages: Pages,
    /// How the kernel uses the inode, and for how many handles.
    pub(crate) mode: OpenMode,
    /// Bytes counted for it as lent ([`super::passthrough`]).
    pub(crate) lent: u64,
    /// Who may have mapped it so that stores reach the working file past the daemon.
    pub(crate) mapped_by: Option<Credentials>,
    /// Notifications to the kernel that are under way.
    pub(crate) telling: u32,
    /// Readers wait until the file is on this version or a newer one (the acquire fence of a record
    /// lock, PROTOCOL 4.6).
    pub(crate) must_reach: u64,
    /// A background refresh is under way.
    pub(crate) refreshing: bool,
    /// An earlier commit may or may not have happened.
    pub(crate) unsure: bool,
    /// How often unsaved bytes had to be put aside; handles opened before fail.
    pub(crate) losses: u64,
    /// Why the last unsaved bytes were lost, for people.
    pub(crate) loss_reason: &'static str,
    /// How often the record locks were lost; handles opened before fail.
    pub(crate) lock_losses: u64,
    /// Failed commits that no caller has heard of, by count, and the last of them.
    pub(crate) failures: u64,
    /// See `failures`.
    pub(crate) failure: Option<FsError>,
    /// Versions the server keeps for handles that stay on them, with the number of such handles.
    pub(crate) pins: BTreeMap<u64, u32>,
    /// Version numbers reserved for uploads that no commit has named yet.
    pub(crate) uploading: BTreeSet<u64>,
    /// What is uploaded before the next commit, and the objects of that.
    pub(crate) ahead: Ahead,
    pub(crate) batch: Option<Arc<Batch>>,
    /// A commit is about to look at what was written.
    pub(crate) committing: bool,
    /// A commit was answered when it was sent, and its answer is still to come.
    pub(crate) closing: bool,
    /// The commit that gives the lease back is under way, with all that is unsaved.
    pub(crate) leaving: bool,
}

impl File {
    /// A file whose working file holds `working`, clean or with work from an earlier life that was
    /// done under the fence `adrift`.
    pub(crate) fn new(working: Arc<WorkingFile>, adrift: Option<Fence>) -> File {
        let (ver, size) = (working.version(), base_size(&working));
        let machine = match adrift {
            Some(fence) => InodeState::adrift(COMMIT_EVERY, fence),
            None => InodeState::new(COMMIT_EVERY),
        };
        File {
            ino: working.ino(),
            gate: RwLock::new(()),
            lease_queue: Queue::new(()),
            commit_queue: Queue::new(()),
            changed: Notify::new(),
            gave_pages: AtomicBool::new(false),
            state: Mutex::new(State {
                machine,
                readers: InodeState::new(Duration::MAX),
                view: View::new(working, Manifest::new(ver, size)),
                open: 0,
                appenders: 0,
                snapshots: 0,
                staged: SetAttr::default(),
                written_at: None,
                pages: Pages::Of(ver),
                mode: OpenMode::default(),
                lent: 0,
                mapped_by: None,
                telling: 0,
                must_reach: 0,
                refreshing: false,
                unsure: false,
                losses: 0,
                loss_reason: "the write lease was lost, and the file was changed by others",
                lock_losses: 0,
                failures: 0,
                failure: None,
                pins: BTreeMap::new(),
                uploading: BTreeSet::new(),
                ahead: Ahead::default(),
                batch: None,
                committing: false,
                closing: false,
                leaving: false,
            }),
        }
    }

    /// The state, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel asks for some pages: it does not have all of them, or not any more.
    pub(crate) fn asked_for_pages(&self) {
        let mut state = self.lock();
        state.pages = state.pages.some();
    }

    /// The current view.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.lock().view)
    }

    /// Waits for the next change of the lease, unless `done` says there is no need.
    pub(crate) async fn wait_until(&self, mut done: impl FnMut(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(&self.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    /// Whether nothing would be lost by forgetting the file.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0
            && self.machine.is_idle()
            && self.readers.is_idle()
            && self.pins.is_empty()
            && !self.refreshing
            && self.mapped_by.is_none()
    }

    /// The unsaved bytes are about to be put aside: handles opened before fail from now on.
    pub(crate) fn lose(&mut self) {
        self.losses += 1;
        self.staged = SetAttr::default();
        self.written_at = None;
        self.pages = Pages::Mixed;
    }

    /// Whether a commit has anything to do.
    pub(crate) fn has_work(&self) -> bool {
        self.machine.is_dirty()
    }

    /// Commits an appended file more often (PROTOCOL 4.6, "tail -f").
    pub(crate) fn set_pace(&mut self) {
        let every = if self.appenders > 0 { COMMIT_EVERY_APPEND } else { COMMIT_EVERY };
        self.machine.set_commit_every(every);
    }

    /// Lays local changes over attributes of the server. False if there are none. Content below
    /// `first_version` that is newer than the server's was undone.
    pub(crate) fn overlay(&self, attr: &mut Attr, first_version: u64) -> bool {
        let (size, here) = (self.view.working.size(), self.view.working.version());
        let committed = here > attr.content_ver && here >= first_version;
        // Nobody else commits before the lease is back: a newer version is that of the last commit, or has it.
        let taken_over = self.leaving && attr.content_ver > here;
        let newer_here = self.machine.is_dirty() && !taken_over || committed;
        if !newer_here {
            return false;
        }
        // Holes count nothing: programs tell sparse files by this.
        let stored = attr.blocks.saturating_add(self.view.working.dirty_bytes().div_ceil(512));
        attr.size = size;
        attr.blocks = size.div_ceil(512).min(stored);
        if let Some(at) = self.written_at {
            attr.mtime = at;
            attr.ctime = attr.ctime.max(at);
        }
        self.overlay_staged(attr);
        true
    }

    fn overlay_staged(&self, attr: &mut Attr) {
        let staged = &self.staged;
        attr.mode = staged.mode.unwrap_or(attr.mode);
        attr.uid = staged.uid.unwrap_or(attr.uid);
        attr.gid = staged.gid.unwrap_or(attr.gid);
        if let Some(SetTime::To(at)) = staged.atime {
            attr.atime = at;
        }
        if let Some(SetTime::To(at)) = staged.mtime {
            attr.mtime = at;
        }
        if staged.drop_suid {
            attr.mode = without_suid(attr.mode);
        }
    }

    /// Adds attribute changes to those that ride on the next commit; the later one wins.
    pub(crate) fn stage(&mut self, set: &SetAttr) {
        let staged = &mut self.staged;
        staged.mode = set.mode.or(staged.mode);
        staged.uid = set.uid.or(staged.uid);
        staged.gid = set.gid.or(staged.gid);
        staged.atime = set.atime.or(staged.atime);
        staged.mtime = set.mtime.or(staged.mtime);
        // A mode set later says itself which of the two bits stay.
        staged.drop_suid = set.drop_suid || (staged.drop_suid && set.mode.is_none());
    }
}

/// The mode after a write by an unprivileged process (write(2), `inode(7)`): without set-user-id,
/// and without set-group-id if the group may execute.
fn without_suid(mode: u32) -> u32 {
    use dfs_core::attr::{S_ISGID, S_ISUID};
    const GROUP_EXECUTE: u32 = 0o010;
    let mode = mode & !S_ISUID;
    if mode & GROUP_EXECUTE != 0 { mode & !S_ISGID } else { mode }
}
