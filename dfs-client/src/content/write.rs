//! Writing an open file: bytes are staged in the working file under the write lease.

use super::Content;
use super::handle::Handle;
use super::inode::File;
use super::lease::Ask;
use dfs_core::inode_state::{Effect, Event};
use dfs_core::limits::FILE_SIZE_MAX;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Result};
use std::sync::Arc;

/// A file with more unsaved bytes than this part of the cache is committed in the background; with
/// twice as many its writers wait for that.
const DIRTY_PART: u64 = 4;

impl Content {
    /// Writes all of `data` at `off`; a handle that appends writes at the end of the file instead.
    /// `kill_suid`: the writer is unprivileged, set-user-id and set-group-id go.
    ///
    /// Errors: `BadHandle` if the file is not open for writing; `FileTooBig`; `NoSpace` if the cache
    /// is full; `Io` after unsaved bytes were lost; those of waiting for the lease.
    pub async fn write(&self, fh: u64, off: u64, data: &[u8], kill_suid: bool) -> Result<usize> {
        let handle = self.writer(fh)?;
        let file = &handle.file;
        if data.is_empty() {
            return Ok(0);
        }
        self.throttle(file).await?;
        self.make_room(data.len() as u64).await?;
        let ask = Ask::by(&handle);
        loop {
            self.lease(file, &ask).await?;
            handle.usable(true)?;
            let staged = match handle.flags.append {
                true => {
                    let _gate = file.gate.write().await;
                    self.stage(file, file.view().working.size(), data, kill_suid)?
                }
                false => {
                    let _gate = file.gate.read().await;
                    self.stage(file, off, data, kill_suid)?
                }
            };
            let Some(at) = staged else { continue };
            self.forget_wrong_pages(&handle, at).await;
            break;
        }
        if handle.flags.sync {
            let committed = self.commit(file).await;
            handle.reported();
            committed?;
        }
        Ok(data.len())
    }

    /// The handle, if it may write.
    pub(crate) fn writer(&self, fh: u64) -> Result<Arc<Handle>> {
        let handle = self.handles.get(fh)?;
        if !handle.flags.write {
            return Err(FsError::new(Code::BadHandle, "not open for writing"));
        }
        handle.usable(true)?;
        Ok(handle)
    }

    /// Stages bytes behind the gate; none if the lease is gone again. Answers where they are.
    fn stage(
        &self,
        file: &Arc<File>,
        at: u64,
        data: &[u8],
        kill_suid: bool,
    ) -> Result<Option<u64>> {
        if at.checked_add(data.len() as u64).is_none_or(|end| end > FILE_SIZE_MAX) {
            return Err(FsError::from(Code::FileTooBig));
        }
        if !self.begin_change(file, kill_suid) {
            return Ok(None);
        }
        file.view().working.write(at, data)?;
        Ok(Some(at))
    }

    /// Notes that the content changes now, before it does: from here on the file counts as dirty.
    /// False: the lease is gone.
    pub(crate) fn begin_change(&self, file: &Arc<File>, kill_suid: bool) -> bool {
        let now = self.server_time();
        let mut state = file.lock();
        if state.machine.writable().is_none() {
            return false;
        }
        state.written_at = Some(now);
        // The time of this change is later than one set before.
        state.staged.mtime = None;
        state.staged.drop_suid |= kill_suid;
        self.step_locked(file, &mut state, Event::Wrote);
        true
    }

    /// The server's wall clock, as far as renewals tell (PROTOCOL 4.6, "file times").
    pub(crate) fn server_time(&self) -> Timestamp {
        self.client.session.server_time()
    }

    /// The kernel put what a direct handle wrote where it believed the end to be, if anywhere. It
    /// locks no page during such a write, so that dropping them can be waited for.
    async fn forget_wrong_pages(&self, handle: &Handle, at: u64) {
        let direct = handle.flags.append || handle.flags.direct;
        if direct && handle.file.lock().open > 1 {
            self.tell_kernel(&handle.file, at);
            self.told(&handle.file).await;
        }
    }

    /// Commits as we go, so that files larger than the cache can be written.
    async fn throttle(&self, file: &Arc<File>) -> Result<()> {
        let dirty = file.view().working.dirty_bytes();
        let bound = self.client.config.cache_bytes / DIRTY_PART;
        if dirty > 2 * bound {
            return self.commit(file).await;
        }
        if dirty > bound && file.commit_queue.try_lock().is_ok() {
            self.carry_out(file, Effect::Commit);
        }
        Ok(())
    }
}
