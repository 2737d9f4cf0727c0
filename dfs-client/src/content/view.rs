//! One version of a file as far as it is here: its local bytes, its extents, and who is fetching.

use super::manifest::Manifest;
use crate::cache::WorkingFile;
use dfs_core::range::{Range, RangeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Local bytes and extents of one version.
///
/// Usually it is the current version of its inode and moves on with it; a view that is set aside
/// for handles with `reads=snapshot` stays as it is.
#[derive(Debug)]
pub(crate) struct View {
    /// The bytes.
    pub(crate) working: Arc<WorkingFile>,
    manifest: Mutex<Manifest>,
    /// Being fetched now.
    claimed: Mutex<RangeSet>,
    /// Something was fetched, or given up.
    fetched: Notify,
}

impl View {
    /// A view whose extents are known as far as `manifest` says.
    pub(crate) fn new(working: Arc<WorkingFile>, manifest: Manifest) -> Arc<View> {
        Arc::new(View {
            working,
            manifest: Mutex::new(manifest),
            claimed: Mutex::default(),
            fetched: Notify::new(),
        })
    }

    /// The extents. Never held across a wait.
    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the parts of `wanted` that nobody is fetching; none if all are being fetched.
    pub(crate) fn claim(self: &Arc<View>, wanted: &[Range]) -> Option<Claim> {
        let mut claimed = self.claimed();
        let mine: Vec<Range> = wanted.iter().flat_map(|r| claimed.gaps(*r)).collect();
        if mine.is_empty() {
            return None;
        }
        mine.iter().for_each(|r| claimed.insert(*r));
        drop(claimed);
        let left = Mutex::new(mine.iter().copied().collect());
        Some(Claim { view: Arc::clone(self), ranges: mine, left })
    }

    /// Waits until nobody fetches anything of `wanted` any more.
    pub(crate) async fn wait_for_fetch(&self, wanted: &[Range]) {
        loop {
            let fetched = self.fetched.notified();
            tokio::pin!(fetched);
            fetched.as_mut().enable();
            if !wanted.iter().any(|r| self.claimed().overlaps(*r)) {
                return;
            }
            fetched.await;
        }
    }

    fn claimed(&self) -> MutexGuard<'_, RangeSet> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Size of the committed version that a working file builds on.
pub(crate) fn base_size(working: &WorkingFile) -> u64 {
    working.unsaved().map_or_else(|| working.size(), |unsaved| unsaved.header.base_size)
}

/// Ranges that one task fetches; given up when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    view: Arc<View>,
    ranges: Vec<Range>,
    /// What of them was not filled yet.
    left: Mutex<RangeSet>,
}

impl Claim {
    /// What is to be fetched, in order.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// A part of it is here: nobody needs to wait for the rest.
    pub(crate) fn filled(&self, part: Range) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
        self.view.claimed().remove(part);
        self.view.fetched.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let left = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut claimed = self.view.claimed();
        left.iter().for_each(|r| claimed.remove(r));
        drop(claimed);
        self.view.fetched.notify_waiters();
    }
}
