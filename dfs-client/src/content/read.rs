//! Reading an open file (PROTOCOL 4.3).

use super::Content;
use super::fetch::ROUNDS;
use super::handle::Handle;
use super::view::View;
use crate::cache::ReadOutcome;
use dfs_core::limits::{CHUNK, REPLY_DATA_MAX};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};
use std::sync::Arc;

impl Content {
    /// Reads up to `len` bytes at `off`; fewer only at the end of the file. All bytes are of one
    /// version (G4).
    ///
    /// Errors: `BadHandle` if the file is not open for reading; `Io` if bytes cannot be had.
    pub async fn read(&self, fh: u64, off: u64, len: u32) -> Result<Vec<u8>> {
        let handle = self.handles.get(fh)?;
        if !handle.flags.read {
            return Err(FsError::new(Code::BadHandle, "not open for reading"));
        }
        handle.usable(false)?;
        if handle.snapshot.is_none() {
            self.catch_up(&handle.file).await?;
        }
        let range = Range::of_len(off, len.into());
        let mut bytes = Vec::new();
        for _ in 0..ROUNDS {
            let view = {
                let _gate = handle.file.gate.read().await;
                let view = handle.view();
                if let ReadOutcome::Bytes(_) = view.working.read(range, &mut bytes)? {
                    self.read_ahead(&handle, &view, off, off + bytes.len() as u64);
                    return Ok(bytes);
                }
                view
            };
            self.ensure(&handle.file, &view, whole_pieces(&view, range)).await?;
        }
        let text = format!("{range:?} of inode {} does not stay in the cache", handle.file.ino);
        Err(FsError::new(Code::Io, text))
    }

    /// Fetches in the background what a sequential reader will want next.
    fn read_ahead(&self, handle: &Handle, view: &Arc<View>, off: u64, end: u64) {
        let window = handle.ahead(off, end);
        if window == 0 {
            return;
        }
        let next = Range::of_len(end, window).align_out(CHUNK as u64);
        let missing = view.working.missing(next);
        let Some(first) = missing.first() else { return };
        // Half of the window is still to come: one bigger request later is cheaper.
        if first.start > end + window / 2 {
            return;
        }
        let (content, file, view) = (self.arc(), Arc::clone(&handle.file), Arc::clone(view));
        self.client.runtime.spawn(async move {
            if let Err(error) = content.ensure(&file, &view, next).await {
                // The reader asks again and hears of it.
                tracing::debug!(ino = %file.ino, %error, "cannot read ahead");
            }
        });
    }

    /// Makes room for `bytes` more in the cache, waiting for commits if nothing else can. Errors as
    /// [`room`](Content::room), and those of the commits.
    pub(crate) async fn make_room(&self, bytes: u64) -> Result<()> {
        let outcome = self.cache.make_room(bytes)?;
        if outcome.ok {
            return Ok(());
        }
        for ino in &outcome.flush {
            if let Some(file) = self.find(*ino) {
                self.commit(&file).await?;
            }
        }
        self.room(bytes)
    }

    /// Makes room for `bytes` more in the cache, at once. What only a commit can free is committed.
    ///
    /// Errors: `NoSpace` if there is no room and nothing to commit.
    pub(crate) fn room(&self, bytes: u64) -> Result<()> {
        let outcome = self.cache.make_room(bytes)?;
        for ino in &outcome.flush {
            if let Some(file) = self.find(*ino) {
                self.carry_out(&file, dfs_core::inode_state::Effect::Commit);
            }
        }
        if outcome.ok || !outcome.flush.is_empty() {
            return Ok(());
        }
        Err(FsError::new(Code::NoSpace, "the cache is full"))
    }
}

/// A small file as a whole, else whole chunks.
fn whole_pieces(view: &View, range: Range) -> Range {
    let size = view.working.size();
    if size <= u64::from(REPLY_DATA_MAX) {
        return Range::new(0, size);
    }
    range.align_out(CHUNK as u64).intersect(Range::new(0, size))
}
