//! Making what was written durable.

use super::Vfs;
use dfs_core::Result;

impl Vfs {
    /// close(2): commits what is unsaved and returns what became of it.
    ///
    /// Errors: `NoSpace`, `QuotaExceeded`: the bytes stay here and are tried again; `Io`: they are in
    /// the recovery area; `Interrupted`: the commit goes on.
    pub async fn flush(&self, fh: u64) -> Result<()> {
        self.content.flush(fh).await
    }

    /// fsync(2) and fdatasync(2): returns when the servers hold everything. Errors as
    /// [`flush`](Vfs::flush); each failure in the background is reported once per handle.
    pub async fn fsync(&self, fh: u64) -> Result<()> {
        self.content.fsync(fh).await
    }

    /// fsync(2) of a directory: returns when every change of names answered so far is durable.
    pub async fn fsyncdir(&self) -> Result<()> {
        self.client.flush().await
    }
}
