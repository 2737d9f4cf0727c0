//! What all working files of a cache share.

use super::huge::Huge;
use crate::cache::folder::Folder;
use crate::cache::index::{Index, Known};
use crate::cache::map::FileMap;
use crate::cache::slots::Slots;
use crate::cache::spare::Spares;
use dfs_core::Ino;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    /// Where the files are.
    pub folder: Folder,
    /// What is known of their clean content.
    pub index: Index,
    /// Bytes that all files take on disk.
    pub used: AtomicU64,
    /// Those of them that are in memory only, yet.
    pub(super) held: AtomicU64,
    /// Files that are open on disk.
    pub open: AtomicUsize,
    /// Files that never had a lasting name.
    pub(super) nameless: AtomicUsize,
    /// Told when the index is to be written soon.
    pub(in crate::cache) full: Arc<Notify>,
    /// Writes that are answered and not carried out.
    pub(in crate::cache) slots: Slots,
    /// Journals for the next unsaved work.
    pub(super) spares: Spares,
    /// How fast it is to write huge pieces.
    pub(super) huge: Huge,
}

impl Shared {
    /// For the files of a folder, which take so many bytes now.
    pub fn new(folder: Folder, index: Index, slots: Slots, used: u64) -> Shared {
        Shared {
            folder,
            index,
            used: AtomicU64::new(used),
            held: AtomicU64::default(),
            open: AtomicUsize::default(),
            nameless: AtomicUsize::default(),
            full: Arc::default(),
            slots,
            spares: Spares::default(),
            huge: Huge::default(),
        }
    }

    /// What the index knows about this version, and its bytes if they are in no file; a failure costs
    /// a fetch, no more.
    pub fn known(&self, ino: Ino, ver: u64, size: u64) -> Option<(FileMap, Option<Vec<u8>>)> {
        match self.index.load(ino, ver, size) {
            Ok(known) => known.map(|Known { holes, sums, content }| {
                (FileMap::with_content(ver, size, holes, sums), content)
            }),
            Err(e) => {
                tracing::warn!(%ino, error = %e, "content is fetched again");
                None
            }
        }
    }
}
