//! Freeing what nobody refers to: inodes without names, and objects without extents.

use super::NameServer;
use super::committer::Work;
use super::op::FreeOrphan;
use crate::collect::{Collector, Report};
use dfs_core::access::Credentials;
use dfs_core::{Code, FsError, Ino, Result};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time between two sweeps of the object store.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl NameServer {
    /// Removes an inode that has no name and no open handle left. If that fails it is tried again
    /// at the next start.
    pub(super) fn free_orphan(&self, ino: Ino) {
        let work =
            Work::Op { op: Arc::new(FreeOrphan { ino }), who: Credentials::root(), answer: None };
        self.committer.submit(work, move |done| {
            if let Err(error) = done {
                tracing::error!(inode = %ino, %error, "an unlinked inode could not be freed");
            }
        });
    }

    /// Removes objects that nothing refers to. Blocks on the disk.
    pub fn sweep(&self, collector: &Mutex<Collector>) -> Result<Report> {
        if self.lock().sessions.in_grace() {
            let after = Duration::from_secs(1);
            return Err(FsError::new(Code::Grace(after), "clients still restate their uploads"));
        }
        let live = || self.lock().uploads.protected_from();
        let pinned = |name| self.lock().uploads.is_pinned(name);
        let mut collector = collector.lock().expect("no panic under this lock");
        collector.sweep(self.clock.now(), &*self.store, &self.objects, live, pinned)
    }

    /// Sweeps now and then until the server is dropped.
    pub async fn keep_clean(self: Arc<Self>, collector: Arc<Mutex<Collector>>) {
        let me = Arc::downgrade(&self);
        drop(self);
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let Some(server) = me.upgrade() else { return };
            let collector = collector.clone();
            let sweep = tokio::task::spawn_blocking(move || server.sweep(&collector)).await;
            match sweep {
                Ok(Ok(report)) => tracing::debug!(?report, "objects swept"),
                Ok(Err(error)) if matches!(error.code, Code::Grace(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "objects could not be swept"),
                Err(_) => return,
            }
        }
    }
}
