//! What the metadata side and the session ask of the content layer.

use super::Content;
use super::inode::File;
use super::pages::Pages;
use super::remote::system;
use crate::client::{ContentHooks, Later, Restated};
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, SetAttr};
use dfs_core::inode_state::{Effect, Event};
use dfs_core::{Code, Fence, GrantId, Ino, Result};
use dfs_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

impl ContentHooks for Content {
    fn is_open(&self, ino: Ino) -> bool {
        self.find(ino).is_some_and(|file| file.lock().open > 0)
    }

    fn data_changed(&self, ino: Ino, old_ver: u64, _unchanged_below: Option<u64>) -> Option<u64> {
        // What is the same is found by comparing extents: it holds over several changes, too.
        let file = self.find(ino)?;
        let mut state = file.lock();
        self.announce(&file, &mut state);
        let keep = state.snapshots > 0 && state.view.working.version() == old_ver;
        if keep {
            let handles = state.snapshots;
            state.pins.insert(old_ver, handles);
        }
        keep.then_some(old_ver)
    }

    fn attr_changed(&self, ino: Ino) {
        // An open handle needs a promise on its inode, or a hold.
        if let Some(file) = self.find(ino).filter(|file| file.lock().open > 0) {
            self.carry_out(&file, Effect::Advance);
        }
    }

    fn overlay(&self, attr: &mut Attr) -> bool {
        let Some(file) = self.find(attr.ino) else { return false };
        file.lock().overlay(attr, self.client.session.first_version())
    }

    fn recall(&self, recall: v1::Recall) {
        let (grant, fence) = (GrantId(recall.grant), Fence(recall.fence));
        let hold = Duration::from_millis(recall.hold_ms.into());
        let Some(file) = self.find(Ino(recall.ino)) else {
            let content = self.arc();
            self.client
                .runtime
                .spawn(async move { content.disown(Ino(recall.ino), grant, fence).await });
            return;
        };
        let event = Event::Recall { grant, fence, hold };
        let is_read = {
            let state = file.lock();
            let held = state.readers.committable().is_some_and(|held| held.fence == fence);
            // One request runs at a time: a grant that nobody knows answers that one.
            held || state.readers.is_waiting()
        };
        match is_read {
            true => self.step_reader(&file, event),
            false => self.step(&file, event),
        }
    }

    fn revoked(&self, revoked: v1::Revoked) {
        self.taken(Ino(revoked.ino), Fence(revoked.fence));
    }

    fn lost(&self, lost: v1::Lost) {
        match lost.what {
            Some(v1::lost::What::Fence(fence)) => self.taken(Ino(lost.ino), Fence(fence)),
            Some(v1::lost::What::Locks(true)) => {
                if let Some(file) = self.find(Ino(lost.ino)) {
                    file.lock().lock_losses += 1;
                }
            }
            Some(v1::lost::What::Locks(false)) | None => {}
        }
    }

    fn session_replaced(&self) {
        for file in self.all() {
            self.step(&file, Event::SessionGone);
            self.step_reader(&file, Event::SessionGone);
            let mut state = file.lock();
            // The new session has no pins; what is read further must be local.
            state.pins.clear();
            state.uploading.clear();
            state.batch = None;
        }
    }

    fn lapsed(&self) {
        // Cached content names its version and never becomes wrong, only old (PROTOCOL 2.3 step 3);
        // opens and writes wait at the gate.
    }

    fn resumed(&self) {
        // Promises are gone: open handles look whether their file changed meanwhile.
        for file in self.all() {
            if file.lock().open > 0 {
                self.carry_out(&file, Effect::Advance);
            }
        }
    }

    fn tell(&self, ino: Ino) -> JoinHandle<Result<()>> {
        self.begin_telling(ino)
    }

    fn restate(&self) -> Restated {
        self.restated()
    }

    fn stage_attrs(&self, ino: Ino, set: &SetAttr) -> bool {
        let Some(file) = self.find(ino) else { return false };
        let mut state = file.lock();
        if state.machine.writable().is_none() || state.machine.writers() == 0 {
            return false;
        }
        state.stage(set);
        self.step_locked(&file, &mut state, Event::Wrote);
        true
    }

    fn truncate<'a>(
        &'a self,
        who: &'a Credentials,
        ino: Ino,
        fh: Option<u64>,
        size: u64,
    ) -> Later<'a, Result<Attr>> {
        Box::pin(self.set_size(who, ino, fh, size))
    }

    fn flush(&self, ino: Ino) -> Later<'_, Result<()>> {
        Box::pin(async move {
            match self.find(ino) {
                Some(file) => self.commit(&file).await,
                None => Ok(()),
            }
        })
    }

    fn rest(&self, ino: Ino) {
        if let Some(file) = self.find(ino) {
            self.step(&file, Event::Rested);
        }
    }

    fn advance(&self, attr: &Attr) -> Later<'_, ()> {
        let Some(file) = self.find(attr.ino) else { return Box::pin(async {}) };
        let mut state = file.lock();
        if state.view.working.version() < attr.content_ver {
            state.must_reach = attr.content_ver;
            // Nobody else can commit under our lease: the answer to a commit of ours is on its way.
            if state.machine.writable().is_none() {
                self.announce(&file, &mut state);
            }
        } else if state.telling == 0
            && (state.pages.show(attr.content_ver) || state.shows(attr.content_ver))
        {
            return Box::pin(async {});
        }
        if state.open == 0 {
            return Box::pin(async {});
        }
        // The kernel may have pages of an older version, or of several: a program that got the lock
        // must not read them.
        state.pages = Pages::Mixed;
        drop(state);
        Box::pin(async move {
            // Whoever reads tries again, and hears of a failure.
            if let Err(error) = self.catch_up(&file).await {
                tracing::debug!(ino = %file.ino, %error, "cannot catch up with a record lock");
            }
            self.tell_kernel(&file, 0);
            self.told(&file).await;
        })
    }

    fn advance_all(&self) -> Later<'_, Result<()>> {
        Box::pin(async move {
            for file in self.all() {
                if file.lock().open == 0 {
                    continue;
                }
                match self.current(&system(), file.ino, true, 0).await {
                    // Nobody commits to what is gone.
                    Err(error) if !matches!(error.code, Code::NotFound | Code::Stale) => {
                        return Err(error);
                    }
                    _ => self.told(&file).await,
                }
            }
            Ok(())
        })
    }

    fn shutdown(&self) -> Later<'_, ()> {
        Box::pin(self.stop())
    }
}

impl Content {
    fn all(&self) -> Vec<Arc<File>> {
        self.files().known.values().cloned().collect()
    }

    /// A grant is gone.
    fn taken(&self, ino: Ino, fence: Fence) {
        if let Some(file) = self.find(ino) {
            self.step(&file, Event::Revoked(fence));
            self.step_reader(&file, Event::Revoked(fence));
        }
    }
}
