//! Compaction in the background (PROTOCOL 4.2): a stripe that many small commits have cut into
//! pieces is rewritten as one object. It changes no byte and no version, so nobody is told.

use super::NameServer;
use super::committer::Work;
use super::op::Compact;
use crate::metastore::Stripe;
use dfs_core::access::Credentials;
use dfs_core::extent::{Extent, ObjectName, Source, needs_compaction, part_to_compact};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result, SessionId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Stripes that may wait for compaction. What does not fit is noted again by the next commit.
const NOTES_MAX: usize = 4096;
/// How often the stripes of new commits are looked at. Every commit writes the inline bytes of its
/// stripe again, so a writer that commits many small changes must not get far in that time.
const EVERY: Duration = Duration::from_millis(250);

/// Stripes to look at.
#[derive(Default)]
pub struct Notes(Mutex<BTreeSet<(Ino, u64)>>);

impl Notes {
    /// A commit has touched these extents of a file.
    pub fn touched(&self, ino: Ino, unit: u64, extents: &[Extent]) {
        let mut notes = self.0.lock().expect("no panic under this lock");
        for extent in extents {
            if notes.len() < NOTES_MAX {
                notes.insert((ino, extent.range.start / unit));
            }
        }
    }

    fn take(&self) -> BTreeSet<(Ino, u64)> {
        std::mem::take(&mut *self.0.lock().expect("no panic under this lock"))
    }
}

impl NameServer {
    /// Compacts what was noted until the server is dropped.
    pub async fn keep_compact(self: Arc<Self>) {
        let me = Arc::downgrade(&self);
        drop(self);
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let Some(server) = me.upgrade() else { return };
            for (ino, index) in server.notes.take() {
                match server.compact(ino, index).await {
                    Ok(()) => {}
                    // Written again or removed meanwhile: the next commit notes it again.
                    Err(e)
                        if matches!(e.code, Code::StaleVersion | Code::NotFound | Code::Stale) => {}
                    Err(error) => tracing::warn!(inode = %ino, index, %error, "compaction failed"),
                }
            }
        }
    }

    async fn compact(self: &Arc<Self>, ino: Ino, index: u64) -> Result<()> {
        let mut found = self.store.stripes(ino, index, index)?;
        let Some((_, stripe)) = found.pop() else { return Ok(()) };
        if !needs_compaction(&stripe) {
            return Ok(());
        }
        let born = self.reserve_version(SessionId::default(), None).await?;
        let object = ObjectName { ino, born, n: 0 };
        let part = part_to_compact(&stripe).to_vec();
        let result = self.rewrite(object, ino, index, part).await;
        self.upload_done(born);
        result
    }

    async fn rewrite(
        self: &Arc<Self>,
        object: ObjectName,
        ino: Ino,
        index: u64,
        stripe: Stripe,
    ) -> Result<()> {
        let (server, read) = (self.clone(), stripe.clone());
        let write = tokio::task::spawn_blocking(move || {
            let bytes = server.stripe_bytes(&read)?;
            let mut writer = server.objects.create(object, bytes.len() as u64)?;
            writer.write(&bytes, crc32c::crc32c(&bytes))?;
            writer.finish()
        });
        write.await.map_err(|_| FsError::new(Code::Io, "the disk task was cut off"))??;
        let work = Work::Op {
            op: Arc::new(Compact { ino, index, read: stripe, object }),
            who: Credentials::root(),
            answer: None,
        };
        self.commit_work(work).await.map(|_| ())
    }

    /// The bytes from the first extent to the end of the last, holes between them as zeros.
    fn stripe_bytes(&self, stripe: &Stripe) -> Result<Vec<u8>> {
        let (Some(first), Some(last)) = (stripe.first(), stripe.last()) else {
            return Ok(Vec::new());
        };
        let all = Range::new(first.range.start, last.range.end);
        let mut bytes = vec![0; all.len() as usize];
        for extent in stripe {
            let at = (extent.range.start - all.start) as usize;
            let to = &mut bytes[at..at + extent.range.len() as usize];
            match &extent.source {
                Source::Inline(inline) => to.copy_from_slice(inline),
                Source::Object(name, off) => {
                    to.copy_from_slice(&self.objects.read(*name, *off, extent.range.len())?);
                }
                Source::Hole => {}
            }
        }
        Ok(bytes)
    }
}
