//! Listing directories.
//!
//! A handle shows the directory at one moment: a complete listing from the cache, or the pages of
//! one stream from the server, which fills the window of its connection with the pages ahead while
//! the caller looks at the present one.

use super::walk::Walk;
use super::{Listed, Vfs};
use crate::metadata::Item;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::Kind;
use dfs_core::dir_mode::{DirMode, DirOpen};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Cookies of `.` and `..`.
const SELF: u64 = 1;
const PARENT: u64 = 2;

/// Directories of which it is known what the kernel keeps, but for those that are open.
const MODES_MAX: usize = 16_384;

/// An open directory.
struct Handle {
    dir: Ino,
    who: Credentials,
    /// Whether the kernel keeps what is read.
    kept: bool,
    /// Requests on one handle run one after the other.
    walk: tokio::sync::Mutex<Walk>,
}

/// All open directories of a client.
#[derive(Default)]
pub(super) struct Handles {
    open: Mutex<HashMap<u64, Arc<Handle>>>,
    last: AtomicU64,
    /// What the kernel keeps by itself.
    modes: Mutex<HashMap<Ino, DirMode>>,
}

impl Handles {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.open.lock().expect("a panic under this lock is a bug already reported")
    }

    fn mode<T>(&self, dir: Ino, act: impl FnOnce(&mut DirMode) -> T) -> T {
        let mut modes =
            self.modes.lock().expect("a panic under this lock is a bug already reported");
        if modes.len() >= MODES_MAX && !modes.contains_key(&dir) {
            modes.retain(|_, mode| mode.is_open());
        }
        let mode = modes.entry(dir).or_default();
        let result = act(mode);
        if mode.is_idle() {
            modes.remove(&dir);
        }
        result
    }
}

impl Vfs {
    /// Opens a directory, and says what the kernel may keep of what is read. Errors: `NotDirectory`,
    /// `AccessDenied`.
    pub async fn opendir(&self, who: &Credentials, ino: Ino) -> Result<(u64, DirOpen)> {
        self.client.session.gate().await?;
        // Else the server checks when it is asked for the first page.
        let attr = self.client.metadata.attr(ino);
        let checked = attr.is_some() && !self.client.ttl().is_zero();
        if let Some(attr) = attr {
            if attr.kind != Kind::Directory {
                return Err(FsError::new(
                    Code::NotDirectory,
                    format!("inode {ino} is no directory"),
                ));
            }
            let permitted = self.permits(who, &attr, access::READ);
            if permitted.is_none() {
                self.access(who, ino, access::READ).await?;
            } else if permitted == Some(false) {
                let text = format!("no permission to list directory {ino}");
                return Err(FsError::new(Code::AccessDenied, text));
            }
        }
        let fh = self.dirs.last.fetch_add(1, Ordering::Relaxed) + 1;
        let listing = self.client.metadata.listing(ino).filter(|_| checked);
        let open = self.dirs.mode(ino, |mode| mode.open(listing.as_ref().map(|l| l.id)));
        let kept = open != DirOpen::Plain;
        // What the kernel keeps is all of one listing.
        let walk = listing.filter(|_| kept).map(|listing| Walk::of(&self.client, listing));
        let walk = walk.unwrap_or_default();
        let handle = Handle { dir: ino, who: who.clone(), kept, walk: walk.into() };
        self.dirs.open().insert(fh, Arc::new(handle));
        Ok((fh, open))
    }

    /// Up to `max` entries behind the one with cookie `after` (0: from the start, as of now). An
    /// empty answer is the end. `want_attrs`: with attributes where both they and the name are
    /// promised. Errors: `BadHandle`, `AccessDenied`, `Stale`.
    pub async fn readdir(
        &self,
        fh: u64,
        after: u64,
        max: usize,
        want_attrs: bool,
    ) -> Result<Vec<Listed>> {
        let handle = self.dirs.open().get(&fh).cloned();
        let handle = handle.ok_or_else(|| FsError::from(Code::BadHandle))?;
        self.client.session.gate().await?;
        let mut walk = handle.walk.lock().await;
        if walk.seek(&self.client, handle.dir, after) && handle.kept {
            self.dirs.mode(handle.dir, DirMode::restarted);
        }
        let mut out = Vec::new();
        for (cookie, name) in [(SELF, &b"."[..]), (PARENT, b"..")] {
            if after < cookie && out.len() < max {
                let ino = if cookie == SELF { handle.dir } else { self.parent(handle.dir).await? };
                let name = name.to_vec();
                out.push(Listed { name, ino, kind: Kind::Directory, cookie, entry: None });
            }
        }
        // Items are added until at least one is there, or the end is: an answer of fewer than `max`
        // is no end.
        while out.len() < max {
            let from = out.last().map_or(after, |last: &Listed| last.cookie);
            let items = walk.after(from, max - out.len());
            if items.is_empty() {
                let real = out.iter().any(|listed: &Listed| listed.cookie > PARENT);
                if real || !walk.more(&self.client, &handle.who, handle.dir, want_attrs).await? {
                    break;
                }
                continue;
            }
            out.extend(items.iter().map(|item| self.listed(handle.dir, item, want_attrs)));
        }
        if out.is_empty() && handle.kept {
            self.ended(handle.dir, walk.listing());
        }
        Ok(out)
    }

    /// The kernel has read a directory to its end: a complete listing, or none.
    fn ended(&self, dir: Ino, listing: Option<u64>) {
        let listing = listing.filter(|id| self.client.metadata.lend_listing(dir, *id));
        if !self.dirs.mode(dir, |mode| mode.ended(listing)) {
            self.client.kernel.forget_pages(dir, Range::ALL, Box::new(|| {}));
        }
    }

    fn listed(&self, dir: Ino, item: &Item, want_attrs: bool) -> Listed {
        let attr = want_attrs.then(|| self.client.metadata.attr(item.ino)).flatten();
        let entry = attr.map(|attr| self.entry(dir, &item.name, attr));
        Listed {
            name: item.name.as_bytes().to_vec(),
            ino: item.ino,
            kind: item.kind,
            cookie: item.cookie,
            entry: entry.filter(|entry| !entry.ttl.is_zero()),
        }
    }

    /// Closes a directory.
    pub fn releasedir(&self, fh: u64) {
        let closed = self.dirs.open().remove(&fh);
        if let Some(handle) = closed.filter(|handle| handle.kept) {
            self.dirs.mode(handle.dir, DirMode::close);
        }
    }
}
