//! Moving to a newer version (PROTOCOL 4.3): what is the same in both stays local.

use super::inode::{File, State};
use super::manifest::Manifest;
use super::pages::Pages;
use super::remote::{Update, Wanted, system};
use super::view::View;
use super::{Content, Ino};
use crate::cache::WorkingFile;
use crate::interrupt;
use dfs_core::access::Credentials;
use dfs_core::attr::Attr;
use dfs_core::inode_state::Event;
use dfs_core::range::{Range, RangeSet};
use dfs_core::{Code, Result};
use std::sync::Arc;
use std::time::Duration;

/// First and longest pause before a push is looked after again, while the server does not promise.
const FOLLOW_PAUSE_MIN: Duration = Duration::from_millis(20);
const FOLLOW_PAUSE_MAX: Duration = Duration::from_secs(1);

impl Content {
    /// The file at its current version, asking the server if that is not known; with the bytes if
    /// there are at most `data_max`, or if the kernel reads them by itself. `opened`: permission to
    /// read was checked before.
    pub(crate) async fn current(
        &self,
        who: &Credentials,
        ino: Ino,
        opened: bool,
        data_max: u32,
    ) -> Result<Arc<File>> {
        let file = self.at_current(who, ino, opened, data_max).await?;
        self.refill(&file).await?;
        Ok(file)
    }

    async fn at_current(
        &self,
        who: &Credentials,
        ino: Ino,
        opened: bool,
        data_max: u32,
    ) -> Result<Arc<File>> {
        loop {
            let attr = self.client.metadata.attr(ino);
            let file = match &attr {
                Some(attr) => Some(self.file(ino, attr.content_ver, attr.size)?),
                None => self.find(ino),
            };
            match (&attr, &file) {
                (Some(attr), Some(file)) if self.is_current(file, attr) => {
                    return Ok(Arc::clone(file));
                }
                // Nobody else can commit while we hold the lease.
                (None, Some(file)) if file.lock().machine.writable().is_some() => {
                    return Ok(Arc::clone(file));
                }
                _ => {}
            }
            let working = match &file {
                Some(file) => Some(Arc::clone(&file.view().working)),
                None => self.cache.get(ino)?,
            };
            let have_ver = working.map_or(0, |working| have_ver(&working, data_max));
            let wanted = Wanted { have_ver, data_max, from: 0, opened };
            let update = self.get_content(who, ino, wanted).await?;
            let file = self.file(ino, update.attr.content_ver, update.attr.size)?;
            let returning = file.lock().machine.is_returning();
            if self.adopt(&file, update).await? || !returning {
                return Ok(file);
            }
            // The server has the lease, and the next holder may have committed: the answer is due.
            interrupt::wait(file.wait_until(|state| !state.machine.is_returning())).await?;
        }
    }

    /// Whether the file is on the version of `attr`, or the lease keeps it where it is: one that is on
    /// its way back may be another's already.
    pub(crate) fn is_current(&self, file: &File, attr: &Attr) -> bool {
        let state = file.lock();
        state.machine.writable().is_some() || state.view.working.version() == attr.content_ver
    }

    /// Takes over what the server said. Older news, and news about our own commits under way, change
    /// nothing; a version that was undone is left. False: it is newer than what is here, but the lease
    /// or unsaved work keeps the file on its version.
    pub(crate) async fn adopt(&self, file: &Arc<File>, update: Update) -> Result<bool> {
        let gate = file.gate.write().await;
        let view = file.view();
        let (here, there) = (view.working.version(), update.attr.content_ver);
        let replaced = update.replaces(here);
        if replaced {
            if !self.may_move(file) {
                return Ok(false);
            }
            let manifest = match update.page {
                Some(_) => update.manifest(),
                None => Manifest::new(there, update.attr.size),
            };
            self.move_to(file, &view, manifest)?;
        } else if let Some((part, extents)) = update.page.filter(|_| there == here) {
            view.manifest().learn(part, extents);
        }
        if let Some(data) = update.data.filter(|_| there == here || replaced) {
            let working = Arc::clone(&file.view().working);
            match self.room(data.len() as u64).and_then(|()| working.fill(there, 0, &data)) {
                // Whoever reads asks for the bytes again, and gets them past the cache.
                Err(error) if error.code == Code::NoSpace => {
                    tracing::debug!(ino = %file.ino, %error, "content that came along is not kept");
                }
                filled => drop(filled?),
            }
        }
        drop(gate);
        Ok(true)
    }

    /// Whether the file may leave its version: not while the lease is held or work is unsaved.
    fn may_move(&self, file: &Arc<File>) -> bool {
        let state = file.lock();
        state.machine.committable().is_none() && !state.machine.is_dirty()
    }

    /// Puts the file on the version of `manifest`. Called with the gate closed.
    pub(crate) fn move_to(
        &self,
        file: &Arc<File>,
        view: &Arc<View>,
        manifest: Manifest,
    ) -> Result<()> {
        let (ver, size) = (manifest.ver(), manifest.size());
        let old_size = view.working.size();
        let same = view.manifest().same_as(&manifest);
        let changed = same.gaps(Range::new(0, size.max(old_size)));
        if file.lock().snapshots > 0 {
            // The old working file lives on in the handles that stay on it.
            self.cache.remove(file.ino)?;
            let working = self.cache.open_file(file.ino, ver, size)?;
            self.cache.set_open(file.ino, true);
            let mut state = file.lock();
            state.view = View::new(working, manifest);
            state.snapshots = 0;
        } else {
            advance_in_place(view, &same, manifest, &changed)?;
        }
        let mut state = file.lock();
        let drop_from = changed.first().map(|r| r.start).filter(|_| state.open > 0);
        match drop_from {
            Some(off) => {
                state.pages = Pages::Mixed;
                drop(state);
                self.tell_kernel(file, off);
            }
            None if changed.is_empty() => state.pages = state.pages.move_to(ver),
            None => state.pages = Pages::Mixed,
        }
        Ok(())
    }

    /// Looks after a push in the background until the server promises again, so that open handles
    /// follow and hear of the next change (PROTOCOL 4.3).
    pub(crate) async fn follow(&self, file: &Arc<File>) {
        let mut pause = FOLLOW_PAUSE_MIN;
        while begin_refresh(file) {
            let asked = self.current(&system(), file.ino, true, 0).await;
            file.lock().refreshing = false;
            if let Err(error) = asked {
                tracing::debug!(ino = %file.ino, %error, "cannot look after a changed file");
                if matches!(error.code, Code::NotFound | Code::Stale) {
                    return;
                }
            }
            // Looked at after the end of the refresh: a push from now on starts another one.
            if self.client.metadata.attr(file.ino).is_some() && !file.lock().lags() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(FOLLOW_PAUSE_MAX);
        }
    }

    /// Waits for the version that a record lock promised its owner.
    pub(crate) async fn catch_up(&self, file: &Arc<File>) -> Result<()> {
        let behind = {
            let state = file.lock();
            state.machine.writable().is_none() && state.view.working.version() < state.must_reach
        };
        if behind {
            self.current(&system(), file.ino, true, 0).await?;
        }
        Ok(())
    }

    /// A newer version was announced (row I11, I12).
    pub(crate) fn announce(&self, file: &Arc<File>, state: &mut State) {
        self.step_locked(file, state, Event::Moved);
    }
}

/// Whether a refresh shall begin now: somebody has the file open, and no other one is under way.
fn begin_refresh(file: &File) -> bool {
    let mut state = file.lock();
    let begin = state.open > 0 && !state.refreshing;
    state.refreshing |= begin;
    begin
}

/// The version to name as here: with bytes wanted only if nothing of it is missing, because a
/// server leaves out what is here already.
pub(crate) fn have_ver(working: &WorkingFile, data_max: u32) -> u64 {
    let whole = data_max == 0 || working.missing(Range::ALL).is_empty();
    if whole { working.version() } else { 0 }
}

fn advance_in_place(
    view: &View,
    same: &RangeSet,
    manifest: Manifest,
    changed: &[Range],
) -> Result<()> {
    let (ver, size) = (manifest.ver(), manifest.size());
    if same.is_empty() {
        view.working.reset(ver, size)?;
    } else {
        view.working.advance(ver, size, changed)?;
    }
    *view.manifest() = manifest;
    Ok(())
}

/// A version to go on with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Its number; 0: any other one is newer.
    pub(crate) ver: u64,
    /// Its size in bytes.
    pub(crate) size: u64,
}
