//! Reading an open file (PROTOCOL 4.3).

use super::Content;
use super::fetch::{PIECE, ROUNDS};
use super::handle::Handle;
use super::inode::File;
use super::remote::system;
use super::view::View;
use crate::cache::ReadOutcome;
use dfs_core::extent::Source;
use dfs_core::limits::{CHUNK, REPLY_DATA_MAX};
use dfs_core::open_mode::OpenKind;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is read ahead for one reader takes at most this part of the cache.
const AHEAD_PART: u64 = 8;

impl Content {
    /// Reads up to `len` bytes at `off`; fewer only at the end of the file. All bytes are of one
    /// version (G4).
    ///
    /// Errors: `BadHandle` if the file is not open for reading; `Io` if bytes cannot be had.
    pub async fn read(&self, fh: u64, off: u64, len: u32) -> Result<Vec<u8>> {
        let handle = self.handles.get(fh)?;
        self.giving.read();
        if handle.kind() != OpenKind::Direct {
            handle.file.asked_for_pages();
        }
        self.read_through(&handle, off, len).await
    }

    /// As [`read`](Content::read), for others than the kernel.
    pub(super) async fn read_through(
        &self,
        handle: &Handle,
        off: u64,
        len: u32,
    ) -> Result<Vec<u8>> {
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
                if handle.kind() != OpenKind::Direct {
                    handle.file.gave_pages.store(true, Ordering::SeqCst);
                }
                let view = handle.view();
                if let ReadOutcome::Bytes(_) = view.working.read(range, &mut bytes)? {
                    self.read_ahead(handle, &view, off, off + bytes.len() as u64);
                    self.drop_behind(handle, off, off + bytes.len() as u64);
                    return Ok(bytes);
                }
                view
            };
            match self.ensure(&handle.file, &view, whole_pieces(&view, range)).await {
                Err(e) if e.code == Code::NoSpace => {
                    tracing::debug!(ino = %handle.file.ino, error = %e, "read past the cache");
                    if let Some(bytes) = self.past_the_cache(&handle.file, &view, range).await? {
                        return Ok(bytes);
                    }
                }
                ensured => ensured?,
            }
        }
        let text = format!("{range:?} of inode {} does not stay in the cache", handle.file.ino);
        Err(FsError::new(Code::Io, text))
    }

    /// Fetches in the background what a sequential reader will want next.
    fn read_ahead(&self, handle: &Handle, view: &Arc<View>, off: u64, end: u64) {
        let window = handle.ahead(off, end).min(self.cache.limit() / AHEAD_PART);
        if window == 0 {
            return;
        }
        let next = whole_requests(end, window);
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

    /// What is asked for, past a cache whose disk has no room: from the server, with what is unsaved
    /// here laid over it. Nothing if the version moved meanwhile.
    async fn past_the_cache(
        &self,
        file: &Arc<File>,
        view: &Arc<View>,
        range: Range,
    ) -> Result<Option<Vec<u8>>> {
        match self.read_uncached(file, view, range).await {
            // The objects may have been replaced or collected: the newest extents know.
            Err(e) if matches!(e.code, Code::NotFound | Code::BadChecksum) => {
                self.refetch_extents(file, view).await?;
                self.read_uncached(file, view, range).await
            }
            read => read,
        }
    }

    async fn read_uncached(
        &self,
        file: &Arc<File>,
        view: &Arc<View>,
        range: Range,
    ) -> Result<Option<Vec<u8>>> {
        let range = range.intersect(Range::new(0, view.working.size()));
        self.know_extents(file, view, range).await?;
        let (ver, sources) = {
            let manifest = view.manifest();
            (manifest.ver(), manifest.sources(range.intersect(Range::new(0, manifest.size()))))
        };
        let mut bytes = Vec::new();
        for extent in sources {
            match extent.source {
                Source::Hole => bytes.resize(bytes.len() + extent.range.len() as usize, 0),
                Source::Inline(part) => bytes.extend(part),
                Source::Object(name, off) => {
                    let len = extent.range.len();
                    bytes.extend(self.client.rpc.read_object(&system(), name, off, len).await?);
                }
            }
        }
        let _gate = file.gate.read().await;
        Ok(view.working.overlay(ver, range, &mut bytes)?.then_some(bytes))
    }
}

/// What is fetched ahead of a reader that has come to `end`: whole requests to a file store, as soon as
/// `window` is as long as one.
fn whole_requests(end: u64, window: u64) -> Range {
    let unit = if window < PIECE { CHUNK as u64 } else { PIECE };
    Range::of_len(end, window).align_out(unit)
}

/// A small file as a whole, else whole chunks.
fn whole_pieces(view: &View, range: Range) -> Range {
    let size = view.working.size();
    if size <= u64::from(REPLY_DATA_MAX) {
        return Range::new(0, size);
    }
    range.align_out(CHUNK as u64).intersect(Range::new(0, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::plan::cut;

    #[test]
    fn requests_ahead_are_whole_once_the_window_is_as_long_as_one() {
        const CHUNK: u64 = super::CHUNK as u64;
        assert_eq!(whole_requests(5, 3), Range::new(0, CHUNK));
        assert_eq!(whole_requests(CHUNK, 2 * CHUNK), Range::of_len(CHUNK, 2 * CHUNK));
        // A reader by chunks fetches, as three of its windows tell:
        let mut here = 4 * CHUNK;
        for read in [4, 8, 20].map(|chunks| chunks * CHUNK) {
            let next = whole_requests(read, 2 * read);
            let missing = Range::new(here, next.end);
            here = next.end;
            assert!(cut(missing, PIECE).skip(1).all(|part| part.len() == PIECE), "{missing:?}");
            assert!(here.is_multiple_of(PIECE) && here >= 3 * read);
        }
    }
}
