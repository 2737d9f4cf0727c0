//! Handles that the kernel serves from the working file by itself (`docs/design/0016`).
//!
//! Which they are `dfs_core::open_mode` decides, under the lock of the file's state; this file finds
//! out what it must know, and keeps what such readers see whole: a newer version is written over the
//! one they have.

use super::Content;
use super::handle::Handle;
use super::inode::{File, State};
use super::lease::Ask;
use super::pages::Pages;
use super::remote::system;
use crate::config::{Config, Reads};
use crate::vfs::{OpenFlags, Opened};
use dfs_core::inode_state::Effect;
use dfs_core::limits::{PASSTHROUGH_MIN, PASSTHROUGH_PART, PASSTHROUGH_WAIT};
use dfs_core::open_mode::{Env, Mode, OpenAs, OpenKind};
use dfs_core::range::Range;
use dfs_core::{Code, Ino, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all files share.
#[derive(Debug)]
pub(crate) struct Passthrough {
    /// Whether there is any.
    on: AtomicBool,
    /// Most bytes that files with such handles take together.
    most: u64,
    /// What they take.
    lent: AtomicU64,
    /// Files into which somebody may store through a mapping.
    mapped: Mutex<BTreeSet<Ino>>,
}

impl Passthrough {
    /// As the options of the mount have it. Readers that stay on a version, or hold a lease, are
    /// served by the daemon.
    pub(crate) fn new(config: &Config) -> Passthrough {
        let on = config.passthrough && config.reads == Reads::Follow && !config.rwlock;
        Passthrough {
            on: AtomicBool::new(on),
            most: config.cache_bytes / PASSTHROUGH_PART,
            lent: AtomicU64::new(0),
            mapped: Mutex::default(),
        }
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeSet<Ino>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `bytes` more as lent, if there may be so many.
    fn take(&self, bytes: u64) -> bool {
        let more = |lent: u64| lent.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Whether `bytes` more could be lent now.
    fn has_room(&self, bytes: u64) -> bool {
        let sum = self.lent.load(Ordering::Relaxed).checked_add(bytes);
        self.on.load(Ordering::Relaxed) && sum.is_some_and(|sum| sum <= self.most)
    }

    fn give_back(&self, bytes: u64) {
        self.lent.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Content {
    /// Decides how the kernel opens a handle, and counts it.
    pub(super) fn decide(&self, (fh, handle): (u64, Arc<Handle>)) -> Opened {
        let (kind, flags) = (handle.kind(), handle.flags);
        let gate = handle.file.gate.try_read();
        let state = &mut *handle.file.lock();
        let is_first = state.mode.handles() == 0;
        let (mode, size) = (state.mode.mode(), state.view.working.size());
        let available = mode == Mode::Idle
            && kind == OpenKind::Read
            && self.passthrough.on.load(Ordering::Relaxed)
            && size >= PASSTHROUGH_MIN
            && self.passthrough.take(size);
        let asked = available || mode == Mode::Passthrough && kind == OpenKind::Read;
        let whole = asked && lend(state);
        let opened_as = state.mode.open(kind, Env { available, whole });
        match (available, state.mode.mode()) {
            (true, Mode::Passthrough) => state.lent = size,
            (true, _) => self.passthrough.give_back(size),
            (false, _) => {}
        }
        if opened_as == OpenAs::PassthroughDirect && flags.read && flags.write {
            if let Err(error) = state.view.working.expect_stores() {
                tracing::warn!(%error, "stores of a mapping may be lost if this daemon is killed");
            }
            state.mapped_by = Some(handle.who.clone());
            self.passthrough.mapped().insert(handle.file.ino);
        }
        if opened_as == OpenAs::Cached && flags.write {
            // What is lent takes no write after its answer.
            state.view.working.take_back();
        }
        let opened = self.answer(state, (fh, flags), opened_as);
        // What moves the bytes has closed the gate.
        if is_first && gate.is_ok() && kind == OpenKind::Read && opened.keep_cache {
            self.give(&handle.file, state);
        }
        opened
    }

    /// Waits a moment for handles that are being closed, if a reader would be passthrough without them:
    /// the end of a handle (RELEASE) follows close(2), and the next open may be served before it.
    pub(super) async fn outlast_closing(&self, file: &File) {
        let waits = |state: &State| {
            let size = || state.view.working.size();
            state.mode.ends_soon() && size() >= PASSTHROUGH_MIN && self.passthrough.has_room(size())
        };
        if !waits(&file.lock()) {
            return;
        }
        let gone = file.wait_until(|state| !waits(state));
        if tokio::time::timeout(PASSTHROUGH_WAIT, gone).await.is_err() {
            file.lock().mode.lasts();
        }
    }

    /// The only reader of a file that comes here, on its way to passthrough, has read up to `end`: the
    /// kernel forgets the pages far behind it. The next `open` would have to wait for that, and the
    /// pages of the working file hold the same bytes.
    pub(super) fn drop_behind(&self, handle: &Handle, off: u64, end: u64) {
        if handle.kind() != OpenKind::Read {
            return;
        }
        let Some(range) = handle.leaves_behind(off, end) else { return };
        let comes = {
            let state = handle.file.lock();
            let alone = state.mode.mode() == Mode::Cached && state.mode.handles() == 1;
            alone && self.passthrough.has_room(state.view.working.size())
        };
        if comes {
            self.client.kernel.forget_pages(handle.file.ino, range, Box::new(|| {}));
        }
    }

    fn answer(
        &self,
        state: &mut State,
        (fh, flags): (u64, OpenFlags),
        opened_as: OpenAs,
    ) -> Opened {
        let backing = match opened_as {
            OpenAs::Passthrough | OpenAs::PassthroughDirect => backing(state),
            OpenAs::Cached | OpenAs::Direct => None,
        };
        let keep_cache = match opened_as {
            OpenAs::Cached => {
                let ver = state.view.working.version();
                let keep = state.pages.show(ver);
                if !keep {
                    // Without leave to keep them the kernel drops its pages now.
                    state.pages = Pages::Of(ver);
                }
                keep
            }
            OpenAs::Direct => false,
            // What they change the kernel does not see in the pages it had.
            OpenAs::Passthrough | OpenAs::PassthroughDirect => {
                state.pages = Pages::Mixed;
                false
            }
        };
        if flags.write {
            state.pages = state.pages.some();
        }
        let direct_io = matches!(opened_as, OpenAs::Direct | OpenAs::PassthroughDirect);
        // Who only reads has nothing to save. Of large files every end is awaited (`outlast_closing`).
        let flush = flags.write || state.view.working.size() >= PASSTHROUGH_MIN;
        Opened { fh, keep_cache, direct_io, flush, backing }
    }

    /// The kernel did not take the file that backs a handle, which it does not know yet.
    pub(crate) fn open_without_passthrough(&self, fh: u64) -> Result<Opened> {
        self.stop_passthrough();
        let handle = self.handles.get(fh)?;
        let mut state = handle.file.lock();
        let opened_as = state.mode.fall_back(handle.kind());
        self.passthrough.give_back(std::mem::take(&mut state.lent));
        Ok(self.answer(&mut state, (fh, handle.flags), opened_as))
    }

    /// No handle is backed by a file any more, but for those of inodes that have such handles.
    pub(crate) fn stop_passthrough(&self) {
        self.passthrough.on.store(false, Ordering::Relaxed);
    }

    /// The handle `fh`, which was counted, is closed.
    pub(super) fn closed_one(&self, file: &File, fh: u64) {
        let state = &mut *file.lock();
        state.mode.close(fh);
        // What may be mapped for stores stays in the cache.
        if state.mode.mode() == Mode::Idle && state.mapped_by.is_none() {
            self.passthrough.give_back(std::mem::take(&mut state.lent));
        }
        file.changed.notify_waiters();
    }

    /// Looks after files into which somebody could store past a daemon that was killed. What was stored
    /// is committed like that of this life: unless the file has a newer version by now, as a whole.
    pub(super) fn recover_mapped(&self) -> Result<()> {
        for working in self.cache.mapped_before()? {
            let (ver, size) = (working.version(), working.size());
            let file = self.file(working.ino(), ver, size)?;
            file.lock().mapped_by = Some(system());
            self.passthrough.mapped().insert(file.ino);
        }
        Ok(())
    }

    /// Commits what was stored into mapped files, in the background.
    pub(super) fn commit_mapped(&self) {
        let mapped: Vec<Ino> = self.passthrough.mapped().iter().copied().collect();
        for ino in mapped {
            let Some(file) = self.find(ino) else {
                self.passthrough.mapped().remove(&ino);
                continue;
            };
            // One that still runs took longer than the time between two.
            if file.commit_queue.try_lock().is_ok() {
                self.carry_out(&file, Effect::Commit);
            }
        }
    }

    /// Makes what was stored into a mapped file unsaved work, under the lease like a write. Also while
    /// the lease is on its way back.
    ///
    /// Errors: those of waiting for the lease, and of the cache's file system.
    pub(crate) async fn collect_stores(&self, file: &Arc<File>) -> Result<()> {
        let Some(who) = file.lock().mapped_by.clone() else { return Ok(()) };
        let view = file.view();
        let found = self.off_thread(move || view.working.find_stores()).await?;
        let Some(first) = found.first() else { return Ok(()) };
        let ask = Ask { who, nonblock: false, append: false, opened: true, with_data: false };
        loop {
            {
                let _gate = file.gate.write().await;
                if self.begin_found(file) {
                    file.view().working.take_stores(&found)?;
                    break;
                }
            }
            self.lease(file, &ask).await?;
        }
        // Whoever reads through the page cache does not know of them.
        self.tell_kernel(file, first.start);
        Ok(())
    }

    /// Brings here what a newer version changed in a file that the kernel reads by itself. Without
    /// room for it its readers keep what they see, and the next ones ask the daemon.
    ///
    /// Errors: those of fetching.
    pub(crate) async fn refill(&self, file: &Arc<File>) -> Result<()> {
        if !file.lock().is_passed() {
            return Ok(());
        }
        let view = file.view();
        match self.ensure(file, &view, Range::ALL).await {
            Err(error) if error.code == Code::NoSpace => {
                tracing::debug!(ino = %file.ino, %error, "open readers stay on an older version");
                Ok(())
            }
            filled => filled,
        }
    }
}

impl State {
    /// Whether the kernel reads the working file by itself.
    pub(crate) fn is_passed(&self) -> bool {
        self.mode.mode() == Mode::Passthrough
    }

    /// Whether another small reader has nothing to wait for.
    pub(crate) fn is_quiet(&self) -> bool {
        let small = self.view.working.size() < PASSTHROUGH_MIN;
        small && !self.is_passed() && self.telling == 0
    }

    /// Whether such readers see parts of an older version.
    pub(crate) fn lags(&self) -> bool {
        self.is_passed() && !self.view.working.missing(Range::ALL).is_empty()
    }

    /// Whether the kernel shows version `ver` to every reader: it keeps nothing of its own.
    pub(crate) fn shows(&self, ver: u64) -> bool {
        self.is_passed() && self.view.working.version() == ver && !self.lags()
    }
}

/// Whether the file is lent now.
fn lend(state: &State) -> bool {
    state.view.working.lend().unwrap_or_else(|error| {
        tracing::warn!(%error, "a file of the cache cannot be read past the daemon");
        false
    })
}

fn backing(state: &State) -> Option<std::fs::File> {
    state.view.working.on_disk().unwrap_or_else(|error| {
        tracing::warn!(%error, "a file of the cache cannot be read past the daemon");
        None
    })
}
