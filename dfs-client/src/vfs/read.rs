//! Reading files, and finding data in them.

use super::{Seek, Vfs};
use dfs_core::Result;

impl Vfs {
    /// Reads up to `len` bytes at `off`; fewer only at the end of the file. All are of one version.
    ///
    /// Errors: `BadHandle`; `Io` if the bytes cannot be had, or if record locks were lost.
    pub async fn read(&self, fh: u64, off: u64, len: u32) -> Result<Vec<u8>> {
        self.content.read(fh, off, len).await
    }

    /// The next byte from `off` on that is in data, or in a hole (lseek(2)).
    ///
    /// Errors: `NoDevice` (ENXIO) behind the end, or if no data follows.
    pub async fn lseek(&self, fh: u64, off: u64, seek: Seek) -> Result<u64> {
        self.content.lseek(fh, off, seek).await
    }
}
