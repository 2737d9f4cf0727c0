//! Pages before attributes (PROTOCOL 4.3, follow).
//!
//! The kernel keeps the last page of a file, filled up with zeros behind the end, when it learns of a
//! new size; a reader at the old end would be served those zeros. So attributes of a version are
//! shown to the kernel only when it has dropped what differs from it, as far as a handle is open.

use super::Content;
use super::inode::{File, State};
use crate::interrupt;
use dfs_core::Ino;
use dfs_core::attr::Attr;
use dfs_core::inode_state::Effect;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Attributes are shown after this time in any case: the pages wait for a read that does not end.
const PATIENCE: Duration = Duration::from_secs(3);

impl Content {
    /// Whether the kernel may have pages, read through a handle that is still open, that do not fit
    /// `attr`.
    pub(super) fn is_settled(&self, attr: &Attr) -> bool {
        self.find(attr.ino).is_none_or(|file| fits(&file.lock(), attr.content_ver))
    }

    /// Waits until the kernel has dropped them.
    pub(super) async fn await_pages(&self, ino: Ino, ver: u64) {
        let Some(file) = self.find(ino) else { return };
        if file.lock().view.working.version() < ver {
            self.carry_out(&file, Effect::Advance);
        }
        let settled = interrupt::wait(file.wait_until(|state| fits(state, ver)));
        if timeout(PATIENCE, settled).await.is_err() {
            tracing::warn!(%ino, "pages of an older version are still in use");
        }
    }

    /// Lets the kernel drop pages from `off` on, because they belong to an older version.
    pub(super) fn drop_pages(&self, file: &Arc<File>, off: u64) {
        file.lock().dropping += 1;
        let dropped = Arc::clone(file);
        let done = move || {
            dropped.lock().dropping -= 1;
            dropped.changed.notify_waiters();
        };
        self.client.kernel.forget_pages(file.ino, off, Box::new(done));
    }
}

fn fits(state: &State, ver: u64) -> bool {
    // Who holds the lease has the newest bytes, and its pages are its own.
    state.open == 0
        || state.machine.committable().is_some()
        || (state.view.working.version() >= ver && state.dropping == 0)
}
