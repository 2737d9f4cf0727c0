//! Bringing bytes here: extents first, then what they name; each byte is fetched once, however many
//! readers want it.

use super::Content;
use super::inode::File;
use super::manifest::Manifest;
use super::remote::{Wanted, system};
use super::view::{Claim, View, base_size};
use crate::interrupt;
use bytes::Bytes;
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::limits::REPLY_DATA_MAX;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Most bytes of one request to a file store; requests do not cross its multiples.
pub(super) const PIECE: u64 = 2 * 1024 * 1024;
/// Requests to file stores that one fetch has under way.
const AT_ONCE: usize = 4;
/// Rounds after which a fetch gives up: each means that the version moved, or that the bytes were
/// evicted before they were read.
pub(crate) const ROUNDS: usize = 16;
/// Pages of extents of one manifest that are asked for before the server is taken for confused.
const PAGES_MAX: usize = 100_000;

impl Content {
    /// Makes `range` of `view` local. It may be outdated when this returns, or evicted: who reads
    /// looks again.
    pub(crate) async fn ensure(
        &self,
        file: &Arc<File>,
        view: &Arc<View>,
        range: Range,
    ) -> Result<()> {
        let mut fresh = false;
        let passed = file.lock().is_passed();
        // What the kernel reads by itself is filled as a whole, in order.
        let range = if passed { Range::ALL } else { range };
        for _ in 0..ROUNDS {
            let missing = view.working.missing(range);
            if missing.is_empty() {
                return Ok(());
            }
            let Some(claim) = view.claim(&missing) else {
                interrupt::wait(view.wait_for_fetch(&missing)).await?;
                continue;
            };
            let fetched = interrupt::wait(Box::pin(self.fetch(file, view, &claim))).await?;
            match fetched {
                Ok(()) => {}
                // The objects may have been replaced or collected: the newest extents know.
                Err(e) if !fresh && matches!(e.code, Code::NotFound | Code::BadChecksum) => {
                    fresh = true;
                    self.refetch_extents(file, view).await?;
                }
                Err(e) if matches!(e.code, Code::NotFound | Code::BadChecksum) => {
                    return Err(FsError::new(Code::Io, e.message));
                }
                Err(e) => return Err(e),
            }
            if !Arc::ptr_eq(view, &file.view()) && !self.is_kept(file, view) {
                return Ok(());
            }
        }
        let text = format!("{range:?} of inode {} does not stay in the cache", file.ino);
        Err(FsError::new(Code::Io, text))
    }

    /// Whether a handle stays on `view`, which is not the current one any more.
    fn is_kept(&self, file: &File, view: &View) -> bool {
        file.lock().pins.contains_key(&view.working.version())
    }

    /// Makes what was claimed local.
    pub(super) async fn fetch(
        &self,
        file: &Arc<File>,
        view: &Arc<View>,
        claim: &Claim,
    ) -> Result<()> {
        let mut pieces = Vec::new();
        for range in claim.ranges() {
            let ver = view.working.version();
            self.know_extents(file, view, *range).await?;
            let manifest = view.manifest();
            // The version moved, or all came with the extents.
            if manifest.ver() != ver || view.working.version() != ver {
                return Ok(());
            }
            for gap in view.working.missing(*range) {
                pieces.extend(manifest.sources(gap).into_iter().map(|extent| (ver, extent)));
            }
        }
        if file.lock().is_passed() {
            // Most of it goes where older bytes are.
            let grown = view.working.size().saturating_sub(view.working.disk_bytes());
            self.make_room(grown).await?;
            return self.fill_in_order(file, view, claim, pieces).await;
        }
        let bytes =
            pieces.iter().filter(|(_, e)| e.source != Source::Hole).map(|(_, e)| e.range.len());
        self.make_room(bytes.sum()).await?;
        self.fill_all(file, view, claim, pieces).await
    }

    /// Fills what needs no request at once, and the rest with some requests at a time.
    async fn fill_all(
        &self,
        file: &File,
        view: &Arc<View>,
        claim: &Claim,
        pieces: Vec<(u64, Extent)>,
    ) -> Result<()> {
        let rewritten = file.lock().machine.writers() > 0;
        let mut parts = Vec::new();
        for (ver, extent) in pieces {
            match extent.source {
                Source::Hole => {
                    view.working.fill_hole(ver, extent.range)?;
                }
                Source::Inline(bytes) => {
                    view.working.fill(ver, extent.range.start, &bytes)?;
                }
                Source::Object(name, off) => {
                    for part in super::plan::cut(extent.range, PIECE) {
                        let part_off = off + (part.start - extent.range.start);
                        parts.push(Part { ver, range: part, name, off: part_off, rewritten });
                    }
                }
            }
        }
        if let [part] = parts.as_slice() {
            return self.fetch_part(view, *part).await;
        }
        // Who waits for a part that is here goes on.
        let done = |claim: &Claim, ended| {
            joined(ended).map(|range| range.into_iter().for_each(|range| claim.filled(range)))
        };
        let mut running: JoinSet<Result<Range>> = JoinSet::new();
        for part in parts {
            if running.len() >= AT_ONCE {
                done(claim, running.join_next().await)?;
            }
            let (content, view) = (self.arc(), Arc::clone(view));
            let task = async move { content.fetch_part(&view, part).await.map(|()| part.range) };
            running.spawn_on(task, &self.client.runtime);
        }
        while let Some(ended) = running.join_next().await {
            done(claim, Some(ended))?;
        }
        Ok(())
    }

    async fn fetch_part(&self, view: &View, part: Part) -> Result<()> {
        part.fill(view, &self.read_part(part).await?)
    }

    async fn read_part(&self, part: Part) -> Result<Vec<Bytes>> {
        let Part { name, off, range, .. } = part;
        self.client.rpc.read_object_in_pieces(&system(), name, off, range.len()).await
    }

    /// As [`fill_all`](Content::fill_all), from the first byte to the last: nobody shall see a file
    /// that grows with a gap in it.
    async fn fill_in_order(
        &self,
        file: &File,
        view: &Arc<View>,
        claim: &Claim,
        pieces: Vec<(u64, Extent)>,
    ) -> Result<()> {
        let rewritten = file.lock().machine.writers() > 0;
        let mut parts = Vec::new();
        for (ver, extent) in pieces {
            let Source::Object(name, off) = extent.source else {
                self.fill_parts(view, &mut parts).await?;
                self.fill_all(file, view, claim, vec![(ver, extent)]).await?;
                continue;
            };
            for range in super::plan::cut(extent.range, PIECE) {
                let off = off + (range.start - extent.range.start);
                parts.push(Part { ver, range, name, off, rewritten });
                if parts.len() == AT_ONCE {
                    self.fill_parts(view, &mut parts).await?;
                }
            }
        }
        self.fill_parts(view, &mut parts).await
    }

    /// Fetches parts at a time, and fills them in one after the other.
    async fn fill_parts(&self, view: &Arc<View>, parts: &mut Vec<Part>) -> Result<()> {
        let mut running = Vec::new();
        for part in parts.drain(..) {
            let content = self.arc();
            let fetch = async move { Ok((part, content.read_part(part).await?)) };
            running.push(self.client.runtime.spawn(fetch));
        }
        for fetched in running {
            if let Some((part, pieces)) = joined(Some(fetched.await))? {
                part.fill(view, &pieces)?;
            }
        }
        Ok(())
    }

    /// Asks for the extents of `range` as far as they are not known. The file may move on to the
    /// version that the answer is about.
    pub(crate) async fn know_extents(
        &self,
        file: &Arc<File>,
        view: &Arc<View>,
        range: Range,
    ) -> Result<()> {
        let mut outlasted = None;
        for _ in 0..PAGES_MAX {
            let ver = view.working.version();
            let (unknown, size) = {
                let mut manifest = view.manifest();
                if manifest.ver() != ver {
                    *manifest = Manifest::new(ver, base_size(&view.working));
                }
                (manifest.unknown(range), manifest.size())
            };
            let Some(unknown) = unknown else { return Ok(()) };
            // Small files come whole, unless a part is here already.
            let whole = size <= u64::from(REPLY_DATA_MAX) && view.working.present().is_empty();
            let wanted = Wanted {
                have_ver: 0,
                data_max: if whole { REPLY_DATA_MAX } else { 0 },
                from: if whole { 0 } else { unknown.start },
                opened: true,
            };
            let update = self.get_content(&system(), file.ino, wanted).await?;
            let there = update.attr.content_ver;
            let gone = || {
                let text = format!("version {ver} of inode {} is gone", file.ino);
                Err(FsError::new(Code::Stale, text))
            };
            if there != ver && !Arc::ptr_eq(view, &file.view()) {
                return gone();
            }
            self.adopt(file, update).await?;
            if !Arc::ptr_eq(view, &file.view()) {
                return Ok(());
            }
            if there != ver && view.working.version() == ver {
                if outlasted == Some(ver) {
                    return gone();
                }
                self.outlast_work(file).await?;
                outlasted = Some(ver);
            }
        }
        Err(FsError::new(Code::Io, format!("extents of inode {} never end", file.ino)))
    }

    /// The server has another version than the one the file stays on: that of a commit of ours whose
    /// answer is still on its way, or, while the lease goes back or is lost, that of the next holder.
    async fn outlast_work(&self, file: &File) -> Result<()> {
        drop(interrupt::wait(file.commit_queue.lock()).await?);
        interrupt::wait(file.wait_until(|state| !state.machine.in_transit())).await
    }

    /// Forgets the extents and asks for them again.
    pub(crate) async fn refetch_extents(&self, file: &Arc<File>, view: &Arc<View>) -> Result<()> {
        let ver = view.working.version();
        *view.manifest() = Manifest::new(ver, base_size(&view.working));
        self.know_extents(file, view, Range::ALL).await
    }
}

/// A part of an object.
#[derive(Clone, Copy, Debug)]
struct Part {
    ver: u64,
    range: Range,
    name: ObjectName,
    off: u64,
    /// The file is open for writing.
    rewritten: bool,
}

impl Part {
    /// Takes over what was read of it.
    fn fill(&self, view: &View, pieces: &[Bytes]) -> Result<()> {
        let pieces: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
        let (ver, start) = (self.ver, self.range.start);
        match self.rewritten {
            true => view.working.fill_pieces(ver, start, &pieces)?,
            false => view.working.fill_for_readers(ver, start, &pieces)?,
        };
        Ok(())
    }
}

/// The result of a task; one that ended otherwise met a bug, which was reported by its panic.
pub(crate) fn joined<T>(
    result: Option<std::result::Result<Result<T>, tokio::task::JoinError>>,
) -> Result<Option<T>> {
    match result {
        None => Ok(None),
        Some(Ok(result)) => result.map(Some),
        Some(Err(e)) => Err(FsError::new(Code::Io, format!("a task failed: {e}"))),
    }
}
