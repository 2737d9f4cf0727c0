//! Writing changed bytes as new objects, some at a time.

use super::Content;
use super::commit::Job;
use super::fetch::joined;
use super::inode::File;
use super::plan::Piece;
use super::remote::system;
use super::view::View;
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::inode_state::Held;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, GrantId, Result};
use dfs_proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Objects written at a time; each is in memory as a whole meanwhile.
const AT_ONCE: usize = 4;
/// How often a recalled holder says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Content {
    /// A version number for the objects of a commit.
    pub(crate) async fn new_upload(&self, file: &Arc<File>, job: &Job) -> Result<u64> {
        let bytes = job.pieces.iter().map(Piece::bytes).sum();
        self.reserve_number(file, job.held, bytes).await
    }

    /// A version number for objects of so many bytes.
    pub(crate) async fn reserve_number(
        &self,
        file: &Arc<File>,
        held: Held,
        bytes: u64,
    ) -> Result<u64> {
        // It grants nothing for a file that it does not know.
        self.tell(file.ino).await?;
        let request = v1::NewUploadReq {
            caller: None,
            ino: file.ino.0,
            grant: held.grant.0,
            fence: held.fence.0,
            size_hint_bytes: bytes,
        };
        let ver = self.client.call_about(&[file.ino], &system(), request).await?.ver;
        file.lock().uploading.insert(ver);
        Ok(ver)
    }

    /// Writes the objects of a commit under the version number `ver`. Answers the extents they make.
    pub(crate) async fn upload(
        &self,
        file: &Arc<File>,
        job: &Job,
        ver: u64,
    ) -> Result<Vec<Extent>> {
        if !job.pieces.iter().any(|piece| matches!(piece, Piece::Object(_))) {
            return Ok(Vec::new());
        }
        let sent = job.ahead.as_ref().map_or_else(Arc::default, |ahead| Arc::clone(&ahead.sent));
        let progress = self.report_progress(job.held.grant, Arc::clone(&sent));
        let result = self.upload_all(file, job, ver, &sent).await;
        progress.abort();
        result
    }

    async fn upload_all(
        &self,
        file: &Arc<File>,
        job: &Job,
        ver: u64,
        sent: &Arc<AtomicU64>,
    ) -> Result<Vec<Extent>> {
        let mut running: JoinSet<Result<()>> = JoinSet::new();
        let mut extents = Vec::new();
        let mut n = job.ahead.as_ref().map_or(0, |ahead| ahead.next);
        for piece in &job.pieces {
            let Piece::Object(ranges) = piece else { continue };
            if running.len() >= AT_ONCE {
                joined(running.join_next().await)?;
            }
            let name = ObjectName { ino: file.ino, born: ver, n };
            n += 1;
            extents.extend(packed(name, ranges));
            let (content, view, sent) = (self.arc(), Arc::clone(&job.view), Arc::clone(sent));
            let ranges = ranges.clone();
            let task = async move { content.upload_one(&view, name, ranges, &sent).await };
            running.spawn_on(task, &self.client.runtime);
        }
        while let Some(result) = running.join_next().await {
            joined(Some(result))?;
        }
        Ok(extents)
    }

    async fn upload_one(
        &self,
        view: &Arc<View>,
        name: ObjectName,
        ranges: Vec<Range>,
        sent: &AtomicU64,
    ) -> Result<()> {
        let view = Arc::clone(view);
        let bytes = self.off_thread(move || view.working.read_dirty(&ranges)).await?;
        let len = bytes.len() as u64;
        self.client.rpc.create_object(&system(), name, bytes.into()).await?;
        sent.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Runs work on many bytes where it keeps no request waiting.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.client.runtime.spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(FsError::new(Code::Io, format!("a task failed: {e}"))),
        }
    }

    /// Tells the server every second how many bytes were sent: only a recall makes it listen.
    pub(crate) fn report_progress(
        &self,
        grant: GrantId,
        sent: Arc<AtomicU64>,
    ) -> tokio::task::AbortHandle {
        let client = Arc::clone(&self.client);
        let report = async move {
            let mut tick = tokio::time::interval(PROGRESS_EVERY);
            tick.tick().await;
            loop {
                tick.tick().await;
                client.progress(grant.0, sent.load(Ordering::Relaxed));
            }
        };
        self.client.runtime.spawn(report).abort_handle()
    }
}

/// The extents of an object that holds `ranges` one behind the other.
fn packed(name: ObjectName, ranges: &[Range]) -> Vec<Extent> {
    let mut off = 0;
    let mut extents = Vec::new();
    for range in ranges {
        extents.push(Extent { range: *range, source: Source::Object(name, off) });
        off += range.len();
    }
    extents
}
