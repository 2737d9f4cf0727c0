//! Writing changed bytes as new objects, some at a time.

use super::Content;
use super::commit::Job;
use super::fetch::joined;
use super::inode::File;
use super::plan::Piece;
use super::remote::system;
use super::view::View;
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::range::Range;
use dfs_core::{GrantId, Result};
use dfs_proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Objects written at a time; each is in memory as a whole meanwhile.
const AT_ONCE: usize = 3;
/// How often a recalled holder says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Content {
    /// Writes the objects of a commit. Answers their version number and the extents they make.
    pub(crate) async fn upload(&self, file: &Arc<File>, job: &Job) -> Result<(u64, Vec<Extent>)> {
        let request = v1::NewUploadReq {
            caller: None,
            ino: file.ino.0,
            grant: job.held.grant.0,
            fence: job.held.fence.0,
            size_hint_bytes: job.pieces.iter().map(Piece::bytes).sum(),
        };
        let ver = self.client.call(&system(), request).await?.ver;
        file.lock().uploading = Some(ver);
        let sent = Arc::new(AtomicU64::new(0));
        let progress = self.report_progress(job.held.grant, Arc::clone(&sent));
        let result = self.upload_all(file, job, ver, &sent).await;
        progress.abort();
        if result.is_err() {
            file.lock().uploading = None;
        }
        Ok((ver, result?))
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
        let mut n = 0;
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
            let task = async move { content.upload_one(&view, name, &ranges, &sent).await };
            running.spawn_on(task, &self.client.runtime);
        }
        while let Some(result) = running.join_next().await {
            joined(Some(result))?;
        }
        Ok(extents)
    }

    async fn upload_one(
        &self,
        view: &View,
        name: ObjectName,
        ranges: &[Range],
        sent: &AtomicU64,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.extend(view.working.read_dirty(*range)?);
        }
        let len = bytes.len() as u64;
        self.client.rpc.create_object(&system(), name, bytes.into()).await?;
        sent.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the server every second how many bytes were sent: only a recall makes it listen.
    fn report_progress(&self, grant: GrantId, sent: Arc<AtomicU64>) -> tokio::task::AbortHandle {
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
