//! Uploads before the commit that will name them: `dfs_core::ahead` says of what, a [`Batch`] is what
//! one commit takes over.
//!
//! Nothing depends on them. What was not uploaded, failed, or changed since, the commit uploads; what
//! no commit names the server collects with the grant or the session it belongs to.

use super::Content;
use super::inode::{File, State};
use super::remote::system;
use super::view::View;
use crate::cache::{Sent, Snapshot};
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::inode_state::Held;
use dfs_core::range::Range;
use dfs_core::{Code, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit};

/// Objects of one file for the next commit.
#[derive(Debug)]
pub(crate) struct Batch {
    held: Held,
    view: Arc<View>,
    /// The version number they are written under, asked for with the first.
    ver: OnceCell<u64>,
    /// Bytes stored, for the server that waits for the lease.
    sent: Arc<AtomicU64>,
    progress: Mutex<Progress>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Progress {
    running: usize,
    next: u32,
    done: Vec<Uploaded>,
    /// The server does not know the version number, or may not.
    void: bool,
}

/// An object of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uploaded {
    /// What it holds.
    pub(crate) sent: Sent,
    /// Its name.
    pub(crate) name: ObjectName,
}

/// What a commit takes over of a batch.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The lease they were written under.
    pub(crate) held: Held,
    /// The version number of the objects, good for further ones.
    pub(crate) ver: u64,
    /// The number of the next one.
    pub(crate) next: u32,
    /// Those that are stored.
    pub(crate) done: Vec<Uploaded>,
    /// Their bytes; counts on.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Batch {
    fn new(held: Held, view: Arc<View>) -> Batch {
        Batch {
            held,
            view,
            ver: OnceCell::new(),
            sent: Arc::default(),
            progress: Mutex::default(),
            ended: Notify::new(),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when no upload is under way.
    async fn wait(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.progress().running == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Content {
    /// Bytes were written: uploads what is not going to change any more, as far as anybody can tell.
    pub(crate) fn upload_ahead(&self, file: &Arc<File>, written: Range) {
        let unit = self.stripe_unit();
        let mut state = file.lock();
        state.ahead.wrote(written, unit);
        self.begin_uploads(file, &mut state, unit);
    }

    fn begin_uploads(&self, file: &Arc<File>, state: &mut State, unit: u64) {
        let Some(held) = state.machine.writable().filter(|_| !state.committing) else { return };
        while let Some(stripe) = state.ahead.take(unit) {
            // Files of which many are written at a time share the memory for that.
            let Ok(slot) = Arc::clone(&self.ahead_slots).try_acquire_owned() else {
                state.ahead.put_back(stripe);
                return;
            };
            let fits = |batch: &Arc<Batch>| {
                batch.held.fence == held.fence && Arc::ptr_eq(&batch.view, &state.view)
            };
            let batch = state.batch.as_ref().filter(|batch| fits(batch)).cloned();
            let batch = batch.unwrap_or_else(|| {
                state.forget_batch();
                Arc::new(Batch::new(held, Arc::clone(&state.view)))
            });
            state.batch = Some(Arc::clone(&batch));
            batch.progress().running += 1;
            let (content, file) = (self.arc(), Arc::clone(file));
            self.client.runtime.spawn(async move {
                content.upload_stripe(&file, &batch, stripe, slot).await;
            });
        }
    }

    async fn upload_stripe(
        &self,
        file: &Arc<File>,
        batch: &Arc<Batch>,
        stripe: Range,
        slot: OwnedSemaphorePermit,
    ) {
        let result = self.try_upload_stripe(file, batch, stripe).await;
        drop(slot);
        let mut state = file.lock();
        {
            let mut progress = batch.progress();
            progress.running -= 1;
            if let Err(error) = &result {
                tracing::debug!(ino = %file.ino, %error, "not uploaded ahead of the commit");
                // The commit finds out, and somebody waits for its answer.
                progress.void |= error.code != Code::NoSpace;
                state.ahead.stop();
            }
        }
        state.ahead.ended();
        batch.ended.notify_waiters();
        self.begin_uploads(file, &mut state, stripe.len());
    }

    async fn try_upload_stripe(
        &self,
        file: &Arc<File>,
        batch: &Arc<Batch>,
        stripe: Range,
    ) -> Result<()> {
        let ver = *batch
            .ver
            .get_or_try_init(|| self.reserve_number(file, batch.held, stripe.len()))
            .await?;
        let view = Arc::clone(&batch.view);
        let read = self.off_thread(move || view.working.read_ahead(stripe)).await?;
        let Some((id, bytes)) = read else { return Ok(()) };
        let n = {
            let mut progress = batch.progress();
            progress.next += 1;
            progress.next - 1
        };
        let name = ObjectName { ino: file.ino, born: ver, n };
        self.client.rpc.create_object(&system(), name, bytes.into()).await?;
        let sent = Sent { range: stripe, id };
        batch.sent.fetch_add(stripe.len(), Ordering::Relaxed);
        batch.progress().done.push(Uploaded { sent, name });
        Ok(())
    }

    /// What was uploaded for a commit that begins now; returns when no upload of the file is under
    /// way. None begins until [`taken_up`](State::taken_up).
    pub(crate) async fn end_uploads(&self, file: &Arc<File>) -> Option<Taken> {
        let batch = {
            let mut state = file.lock();
            state.committing = true;
            state.batch.take()?
        };
        let report = self.report_progress(batch.held.grant, Arc::clone(&batch.sent));
        batch.wait().await;
        report.abort();
        let (ver, held) = (*batch.ver.get()?, batch.held);
        let taken = {
            let progress = batch.progress();
            (!progress.void).then(|| Taken {
                held,
                ver,
                next: progress.next,
                done: progress.done.clone(),
                sent: Arc::clone(&batch.sent),
            })
        };
        let mut state = file.lock();
        if taken.is_some() && Arc::ptr_eq(&batch.view, &state.view) {
            return taken;
        }
        state.uploading.remove(&ver);
        None
    }
}

impl Taken {
    /// What is in `snapshot` as it was uploaded.
    pub(crate) fn unchanged(&self, snapshot: &Snapshot) -> Vec<Extent> {
        let same = self.done.iter().filter(|uploaded| snapshot.ahead.contains(&uploaded.sent));
        same.map(|uploaded| Extent {
            range: uploaded.sent.range,
            source: Source::Object(uploaded.name, 0),
        })
        .collect()
    }
}

impl State {
    /// A commit has looked at what was written: the next uploads are for the next one.
    pub(crate) fn taken_up(&mut self, unit: u64) {
        self.committing = false;
        self.ahead.committed(unit);
    }

    /// The lease of the batch is gone, and with it the right to name what was uploaded.
    fn forget_batch(&mut self) {
        if let Some(ver) = self.batch.take().and_then(|batch| batch.ver.get().copied()) {
            self.uploading.remove(&ver);
        }
    }

    /// Nobody will name what was uploaded.
    pub(crate) fn give_up(&mut self, taken: Option<Taken>) -> Option<Taken> {
        if let Some(taken) = taken {
            self.uploading.remove(&taken.ver);
        }
        None
    }
}
