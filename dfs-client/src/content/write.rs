//! Writing an open file: bytes are staged in the working file under the write lease.

use super::Content;
use super::handle::Handle;
use super::inode::{File, State};
use super::lease::Ask;
use super::room::JOURNAL_ROOM;
use crate::cache::WorkingFile;
use dfs_core::inode_state::{Effect, Event};
use dfs_core::limits::{CHECKSUM_BLOCK, FILE_SIZE_MAX};
use dfs_core::open_mode::OpenKind;
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file with more unsaved bytes than this part of the cache is committed in the background; with
/// twice as many its writers wait for that.
const DIRTY_PART: u64 = 4;
/// A write is not parted below this many bytes.
const PART_MIN: usize = CHECKSUM_BLOCK as usize;

/// How the working file takes bytes.
type Write = fn(&WorkingFile, u64, &[u8]) -> Result<()>;

impl Content {
    /// Writes `data` at `off`; a handle that appends writes at the end of the file instead. Answers
    /// the bytes written: less than all only if the cache has no room for the rest. `kill_suid`: the
    /// writer is unprivileged, set-user-id and set-group-id go.
    ///
    /// Errors: `BadHandle` if the file is not open for writing; `FileTooBig`; `NoSpace` if the cache
    /// is full of what cannot be saved; `Io` after unsaved bytes were lost; those of waiting for the
    /// lease.
    pub async fn write(&self, fh: u64, off: u64, data: &[u8], kill_suid: bool) -> Result<usize> {
        let handle = self.writer(fh)?;
        let file = &handle.file;
        if data.is_empty() {
            return Ok(0);
        }
        let written = self.write_parts(&handle, off, data, kill_suid).await?;
        if handle.flags.sync {
            let synced = self.sync(file).await;
            handle.reported();
            synced?;
        }
        Ok(written)
    }

    /// As [`write`](Content::write), if that can be done without waiting for anything; none: it was
    /// not. It may be carried out later: [`wrote`](Content::wrote) is to be called when it is answered.
    pub fn write_now(
        &self,
        fh: u64,
        off: u64,
        data: &[u8],
        kill_suid: bool,
    ) -> Option<Result<usize>> {
        let handle = self.writer(fh).ok()?;
        let (file, flags) = (&handle.file, handle.flags);
        if data.is_empty() || flags.sync || flags.append {
            return None;
        }
        self.client.session.lease_left()?;
        let len = data.len() as u64;
        if file.view().working.dirty_bytes() > self.dirty_bound() || !self.cache.has_room(len) {
            return None;
        }
        let (_shared, _alone);
        if flags.direct {
            // Nobody reads meanwhile, and the kernel has nothing to forget.
            _alone = file.gate.try_write().ok()?;
            if file.gave_pages.load(Ordering::SeqCst) {
                return None;
            }
        } else {
            _shared = file.gate.try_read().ok()?;
        }
        match self.stage(file, off, (data, WorkingFile::write_soon), kill_suid) {
            Ok(Some(_)) => Some(Ok(data.len())),
            Ok(None) => None,
            Err(e) if e.code == Code::NoSpace => None,
            Err(e) => Some(Err(e)),
        }
    }

    /// Carries out what [`write_now`](Content::write_now) left for after the answer.
    pub fn wrote(&self, fh: u64) {
        let Ok(handle) = self.handles.get(fh) else { return };
        let working = Arc::clone(&handle.file.view().working);
        let Err(error) = working.settle_soon() else { return };
        // Whoever looks at the file tries again; reads and commits say why they fail.
        tracing::warn!(ino = %handle.file.ino, %error, "a write that was answered has to wait");
        if error.code == Code::NoSpace {
            let content = self.arc();
            self.client.runtime.spawn(async move {
                let room = content.squeeze(JOURNAL_ROOM).await;
                if let Err(error) = room.and_then(|()| working.settle_soon()) {
                    tracing::warn!(ino = %working.ino(), %error, "a write cannot be carried out");
                }
            });
        }
    }

    /// Writes all of `data`, in smaller parts if the cache has no room for all of it at once: what
    /// is committed in between makes room for the rest. What appends is never parted (P18). Answers
    /// how much is written, less than all if the room ran out on the way.
    async fn write_parts(
        &self,
        handle: &Handle,
        off: u64,
        data: &[u8],
        kill_suid: bool,
    ) -> Result<usize> {
        let (mut done, mut part) = (0, data.len());
        while done < data.len() {
            let next = &data[done..data.len().min(done + part)];
            match self.write_part(handle, off + done as u64, next, kill_suid).await {
                Ok(()) => done += next.len(),
                Err(e) if e.code == Code::NoSpace && !handle.flags.append && part > PART_MIN => {
                    part = (part / 2).max(PART_MIN);
                }
                Err(e) if e.code == Code::NoSpace && done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    async fn write_part(
        &self,
        handle: &Handle,
        off: u64,
        data: &[u8],
        kill_suid: bool,
    ) -> Result<()> {
        let file = &handle.file;
        self.throttle(file).await?;
        self.make_room(data.len() as u64).await?;
        let ask = Ask::by(handle);
        let mut squeezed = false;
        loop {
            self.lease(file, &ask).await?;
            handle.usable(true)?;
            let staged = match handle.flags.append {
                true => {
                    let _gate = file.gate.write().await;
                    let end = file.view().working.size();
                    self.stage(file, end, (data, WorkingFile::write), kill_suid)
                }
                false => {
                    let _gate = file.gate.read().await;
                    self.stage(file, off, (data, WorkingFile::write), kill_suid)
                }
            };
            match staged {
                Ok(Some(at)) => {
                    self.forget_wrong_pages(handle, at).await;
                    return Ok(());
                }
                Ok(None) => {}
                Err(e) if e.code == Code::NoSpace && !squeezed => {
                    squeezed = true;
                    self.squeeze(data.len() as u64 + JOURNAL_ROOM).await?;
                }
                Err(e) => return Err(e),
            }
        }
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
        (data, write): (&[u8], Write),
        kill_suid: bool,
    ) -> Result<Option<u64>> {
        if at.checked_add(data.len() as u64).is_none_or(|end| end > FILE_SIZE_MAX) {
            return Err(FsError::from(Code::FileTooBig));
        }
        if !self.begin_change(file, kill_suid) {
            return Ok(None);
        }
        write(&file.view().working, at, data)?;
        self.upload_ahead(file, Range::of_len(at, data.len() as u64));
        Ok(Some(at))
    }

    /// Notes that the content changes now, before it does: from here on the file counts as dirty.
    /// False: the lease is gone.
    pub(crate) fn begin_change(&self, file: &Arc<File>, kill_suid: bool) -> bool {
        let mut state = file.lock();
        if state.machine.writable().is_none() {
            return false;
        }
        state.staged.drop_suid |= kill_suid;
        self.changes_now(file, &mut state);
        true
    }

    /// As [`begin_change`](Content::begin_change) for what was stored past us, also while the lease is
    /// on its way back.
    pub(crate) fn begin_found(&self, file: &Arc<File>) -> bool {
        let mut state = file.lock();
        if state.machine.committable().is_none() {
            return false;
        }
        self.changes_now(file, &mut state);
        true
    }

    fn changes_now(&self, file: &Arc<File>, state: &mut State) {
        state.written_at = Some(self.server_time());
        // The time of this change is later than one set before.
        state.staged.mtime = None;
        self.step_locked(file, state, Event::Wrote);
    }

    /// The server's wall clock, as far as renewals tell (PROTOCOL 4.6, "file times").
    pub(crate) fn server_time(&self) -> Timestamp {
        self.client.session.server_time()
    }

    /// Before the kernel sends what a direct handle writes it drops the pages where it believes that to
    /// go; a reader may have had them filled again before it was written. The kernel locks no page
    /// during such a write, so that dropping them can be waited for.
    async fn forget_wrong_pages(&self, handle: &Handle, at: u64) {
        let direct = handle.kind() == OpenKind::Direct;
        if direct && handle.file.gave_pages.swap(false, Ordering::SeqCst) {
            self.tell_kernel(&handle.file, at);
            self.told(&handle.file).await;
        }
    }

    /// Unsaved bytes of a file from which on they are committed.
    fn dirty_bound(&self) -> u64 {
        self.client.config.cache_bytes / DIRTY_PART
    }

    /// Commits as we go, so that files larger than the cache can be written.
    async fn throttle(&self, file: &Arc<File>) -> Result<()> {
        let dirty = file.view().working.dirty_bytes();
        let bound = self.dirty_bound();
        if dirty > 2 * bound {
            return self.commit(file).await;
        }
        if dirty > bound && file.commit_queue.try_lock().is_ok() {
            self.carry_out(file, Effect::Commit);
        }
        Ok(())
    }
}
