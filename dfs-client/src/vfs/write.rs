//! Writing files.

use super::Vfs;
use dfs_core::Result;
use dfs_core::access::Credentials;

impl Vfs {
    /// Writes all of `data` at `off`, or at the end of the file if the handle appends. Returns the
    /// number of bytes. `unprivileged`: set-user-id and set-group-id go (HANDLE_KILLPRIV_V2); it says
    /// who writes, and is asked only if the latter depends on that.
    ///
    /// Errors: `BadHandle`; `FileTooBig`; `NoSpace` if the cache is full; `Io` after unsaved bytes of
    /// this handle had to be put aside; those of waiting for the lease.
    pub async fn write(
        &self,
        fh: u64,
        off: u64,
        data: &[u8],
        unprivileged: Option<impl FnOnce() -> Credentials>,
    ) -> Result<usize> {
        let kill_suid = unprivileged.is_some();
        if let Some(who) = unprivileged {
            let ino = self.content.writer(fh)?.file.ino;
            self.content.leave_group(ino, who).await?;
        }
        self.content.write(fh, off, data, kill_suid).await
    }

    /// As [`write`](Vfs::write), if that can be done without waiting for anything; none: it was not. When
    /// it is answered, [`wrote`](Vfs::wrote) is to be called.
    pub fn write_now(
        &self,
        fh: u64,
        off: u64,
        data: &[u8],
        unprivileged: bool,
    ) -> Option<Result<usize>> {
        if unprivileged && self.content.may_leave_group(fh) {
            return None;
        }
        self.content.write_now(fh, off, data, unprivileged)
    }

    /// Carries out what [`write_now`](Vfs::write_now) left for after the answer.
    pub fn wrote(&self, fh: u64) {
        self.content.wrote(fh);
    }

    /// Copies up to `len` bytes between open files without moving data (copy_file_range(2)).
    ///
    /// Errors: `BadHandle`; `Invalid` if the ranges overlap; those of a commit.
    pub async fn copy_file_range(
        &self,
        src: u64,
        src_off: u64,
        dst: u64,
        dst_off: u64,
        len: u64,
    ) -> Result<u64> {
        self.content.copy_file_range(src, src_off, dst, dst_off, len).await
    }
}
