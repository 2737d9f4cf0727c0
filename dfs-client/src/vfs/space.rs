//! Room and holes.

use super::{Fallocate, Vfs};
use dfs_core::Result;

impl Vfs {
    /// fallocate(2). Room is not reserved; holes and zeros are.
    ///
    /// Errors: `BadHandle`; `Invalid` for length 0; `NotSupported` for other modes; `FileTooBig`.
    pub async fn fallocate(&self, fh: u64, off: u64, len: u64, how: Fallocate) -> Result<()> {
        self.content.fallocate(fh, off, len, how).await
    }
}
