//! Unsaved bytes whose lease is gone: asking for it again, else putting them aside (PROTOCOL 2.3,
//! 2.4).

use super::Content;
use super::advance::Target;
use super::inode::File;
use super::remote::{Wanted, system};
use crate::cache::Unsaved;
use crate::recovered::Meta;
use dfs_core::attr::Attr;
use dfs_core::inode_state::{Effect, Event};
use dfs_core::limits::REPLY_DATA_MAX;
use dfs_core::range::Range;
use dfs_core::{Code, Fence, FsError, Result};
use std::sync::Arc;
use std::time::Duration;

/// Pause before the server is asked again, or the recovery area is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Content {
    /// Takes up the unsaved work of an earlier life, before anybody opens a file: in the background
    /// each file is committed if its base is still current, else put aside. Whoever wants to write
    /// to such a file waits for that.
    pub(crate) fn recover(&self) -> Result<()> {
        for work in self.cache.unsaved()? {
            let Some(working) = self.cache.get(work.header.ino)? else { continue };
            let file = Arc::new(File::new(working, Some(work.header.owner.fence)));
            self.files().known.insert(file.ino, Arc::clone(&file));
            let content = self.arc();
            self.client.runtime.spawn(async move { content.recover_one(&file, &work).await });
        }
        Ok(())
    }

    async fn recover_one(&self, file: &Arc<File>, work: &Unsaved) {
        // The file itself may not be known to the server.
        self.tell_left_over().await;
        if work.same_boot {
            self.rescue(file, work.header.owner.fence).await;
            return self.commit_in_background(file).await;
        }
        // Bytes that were never flushed may be zero now: only people can tell.
        file.lock().loss_reason = "the machine stopped before the work was committed";
        self.step(file, Event::RescueRefused);
    }

    /// Asks for the lost lease on the same base (rows I9, I10); the server's refusal puts the bytes
    /// aside. Asks until it gets an answer.
    pub(crate) async fn rescue(&self, file: &Arc<File>, fence: Fence) {
        loop {
            if !file.lock().machine.in_transit() {
                return;
            }
            let base_ver = file.view().working.version();
            match self.ask_rescue(file.ino, base_ver, fence).await {
                Ok((held, _)) => {
                    if let Err(error) = self.own(file, &system(), held) {
                        tracing::warn!(ino = %file.ino, %error, "cannot note the new lease");
                    }
                    tracing::info!(ino = %file.ino, "unsaved work is rescued");
                    self.step(file, Event::Rescued(held));
                    return;
                }
                Err(error) if is_refusal(&error) => {
                    tracing::warn!(ino = %file.ino, %error, "unsaved work cannot be committed");
                    self.step(file, Event::RescueRefused);
                    return;
                }
                Err(error) => {
                    tracing::warn!(ino = %file.ino, %error, "cannot ask for a lost lease");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Puts the unsaved bytes into the recovery area and goes on with the newest version. While the
    /// area is full they stay in the cache, and their handles fail all the same.
    pub(crate) async fn save_aside(&self, file: &Arc<File>) {
        loop {
            match self.try_save_aside(file).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(ino = %file.ino, %error, "cannot put unsaved work aside");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        self.tell_kernel(file, 0);
        // Open readers see the newest version as soon as it is here.
        self.carry_out(file, Effect::Advance);
    }

    async fn try_save_aside(&self, file: &Arc<File>) -> Result<()> {
        // Without an answer the old version will do: the next reader learns of the newest.
        let saved = self.saved_as(file).await;
        let target = self.newest(file).await;
        let _gate = file.gate.write().await;
        let view = file.view();
        if let Some(Target { ver, size }) = saved {
            tracing::info!(ino = %file.ino, ver, "unsaved work was saved, and the answer lost");
            *view.manifest() = super::manifest::Manifest::new(ver, size);
            return view.working.abandon(ver, size);
        }
        let Some(work) = view.working.unsaved() else { return Ok(()) };
        let known = self.client.metadata.last_path(file.ino);
        let meta = Meta {
            // This life knows better where the file is, or it knows nothing.
            path: if known.starts_with(b"/") { known } else { work.header.owner.path },
            uid: work.header.owner.uid,
            reason: file.lock().loss_reason.to_owned(),
            time: self.client.clock.wall(),
        };
        let entry = self.recovered.save(&view.working, meta, target.ver, target.size)?;
        *view.manifest() = super::manifest::Manifest::new(target.ver, target.size);
        self.files().conflicts.insert(file.ino, entry.name);
        Ok(())
    }

    /// The newest version of a small file, if it has what is unsaved here: our own commit made it, and
    /// nobody heard the answer.
    async fn saved_as(&self, file: &File) -> Option<Target> {
        let working = Arc::clone(&file.view().working);
        let work = working.dirty_snapshot().ok()?;
        if !working.has_work() || work.size > u64::from(REPLY_DATA_MAX) {
            return None;
        }
        let wanted = Wanted { have_ver: 0, data_max: REPLY_DATA_MAX, from: 0, opened: true };
        let newest = self.get_content(&system(), file.ino, wanted).await.ok()?;
        let data = newest.data.unwrap_or_default();
        let same = |range: &Range| {
            let there = data.get(range.start as usize..range.end as usize);
            there.is_some() && there == working.read_dirty(&[*range]).ok().as_deref()
        };
        let Attr { content_ver: ver, size, .. } = newest.attr;
        (size == work.size && work.ranges.iter().all(same)).then_some(Target { ver, size })
    }

    async fn newest(&self, file: &File) -> Target {
        match self.client.attr(file.ino).await {
            Ok(attr) => Target { ver: attr.content_ver, size: attr.size },
            Err(error) => {
                tracing::debug!(ino = %file.ino, %error, "no newer version is known");
                Target { ver: 0, size: 0 }
            }
        }
    }
}

/// Whether the server has decided.
fn is_refusal(error: &FsError) -> bool {
    matches!(
        error.code,
        Code::Fenced
            | Code::StaleVersion
            | Code::NotFound
            | Code::Stale
            | Code::WouldBlock
            | Code::Busy
            | Code::Invalid
            | Code::IsDirectory
    )
}
