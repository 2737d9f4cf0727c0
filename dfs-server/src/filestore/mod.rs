//! Objects on disk: written once, verified on every read, never changed (PROTOCOL 6.3, 9.5).
//!
//! ```text
//! DIR/tmp/N              an object being written; N is of no meaning; emptied at start
//! DIR/aa/bb/INO.BORN.N   a sealed object; numbers in decimal
//! ```
//!
//! `aa` and `bb` are two hexadecimal digits each, 00 to 3f: the top and the next 6 bits of the
//! CRC-32C of the inode number (8 bytes, little-endian). So the objects of a file share a folder,
//! and 4096 folders hold some millions of objects comfortably. Folders are made when needed. What
//! an object's bytes are stands in [`format`].
//!
//! A sealed object is durable: its bytes are synced before the name appears, the name before
//! `finish` returns. Nothing groups these syncs here, for the journal of the file system below
//! already does: syncs that wait at the same time share one journal commit.
//!
//! Large objects are written past the page cache, and read past it the first time: they must be on
//! disk before anybody is told, and who reads them keeps them ([`direct`], docs/design/0021).
//!
//! Every method may block on the disk. A read never trusts the disk: footer, checksum table and
//! every touched block are verified each time, so a damaged object is refused (`BadChecksum`), not
//! served. [`ObjectStore::check`] finds damage before a reader does.
//!
//! Lock order: `sealing`, `folders` and `unsynced` are never held together; `flushing` is taken
//! before `unsynced`.

mod direct;
mod format;
mod list;
mod name;
mod once;
mod read;
#[cfg(test)]
mod tests;
mod writer;

pub use list::{Checked, Depth, Entry, Listing};
pub use writer::Writer;

use crate::disk::{self, Space};
use crate::metastore::Durability;
use dfs_core::extent::ObjectName;
use dfs_core::{Code, FsError, Result};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest object in bytes: 16 times the usual stripe unit. Reads hold as much in memory.
pub const OBJECT_MAX: u64 = 16 * dfs_core::limits::STRIPE_UNIT;
/// Bytes of the disk that objects leave free by default. The metadata store lives beside them and
/// needs room for the very commits that remove files.
pub const RESERVE: u64 = 64 * 1024 * 1024;
/// Objects that `Relaxed` mode leaves unsynced at most; each holds a file descriptor.
pub const UNSYNCED_MAX: usize = 256;

const TEMP: &str = "tmp";

/// How a store behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `Strict`: a sealed object survives a power loss. `Relaxed`: only after `flush`.
    pub durability: Durability,
    /// A create that would leave fewer bytes than this available is refused.
    pub reserve: u64,
}

/// What opening a store found and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Objects that were being written when the last process ended.
    pub temps_removed: u64,
    /// Their bytes.
    pub bytes_freed: u64,
}

/// A folder of objects. Clones are the same store.
#[derive(Clone)]
pub struct ObjectStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    options: Options,
    next_temp: AtomicU64,
    /// Memory for what goes past the page cache.
    buffers: direct::Pool,
    /// What was read lately.
    read_once: once::ReadOnce,
    /// Held from "does the name exist" to "now it does".
    sealing: Mutex<()>,
    /// Leaf folders known to exist durably.
    folders: Mutex<Vec<bool>>,
    /// One flush at a time: a second must not return before the first.
    flushing: Mutex<()>,
    /// Sealed but not synced objects, with their leaf folder.
    unsynced: Mutex<Vec<(File, u16)>>,
    /// Whether a flush has failed: nobody knows what reached the disk.
    broken: AtomicBool,
}

impl ObjectStore {
    /// Opens the store in `dir`, which must exist and be locked by the caller, and removes what an
    /// earlier process left half-written. Fails with `NoSpace` or `Io`.
    pub fn open(dir: &Path, options: Options) -> Result<(ObjectStore, Repair)> {
        let temp = dir.join(TEMP);
        make_folder(&temp)?;
        let repair = remove_temps(&temp)?;
        disk::sync_folder(dir)?;
        let inner = Inner {
            dir: dir.to_path_buf(),
            options,
            next_temp: AtomicU64::new(0),
            buffers: direct::Pool::default(),
            read_once: once::ReadOnce::new(),
            sealing: Mutex::new(()),
            folders: Mutex::new(vec![false; usize::from(name::LEAVES)]),
            flushing: Mutex::new(()),
            unsynced: Mutex::new(Vec::new()),
            broken: AtomicBool::new(false),
        };
        Ok((ObjectStore { inner: Arc::new(inner) }, repair))
    }

    /// Starts an object of `len` bytes, 1 to [`OBJECT_MAX`]. Fails with `Invalid` (length),
    /// `NoSpace` (it would eat into the reserve) or `Io`.
    pub fn create(&self, name: ObjectName, len: u64) -> Result<Writer> {
        Writer::new(self.clone(), name, len)
    }

    /// Removes an object; whether it was there. Not synced: if a power loss brings it back, it is
    /// collected again. Fails with `Io`.
    pub fn remove(&self, name: ObjectName) -> Result<bool> {
        match fs::remove_file(self.path_of(name)) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(disk::failed(format_args!("remove {}", name::text(name)), &err)),
        }
    }

    /// Makes every sealed object survive a power loss. In `Strict` mode there is nothing to do.
    /// In `Relaxed` mode flush objects before the metadata that refers to them. Fails with `Io`,
    /// then forever: what was lost is unknown.
    pub fn flush(&self) -> Result<()> {
        let _one = self.inner.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner.broken.load(Ordering::Acquire) {
            return Err(FsError::new(Code::Io, "file store stopped after a failed sync"));
        }
        let unsynced = {
            let mut list = self.inner.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *list)
        };
        let result = self.sync_all(&unsynced);
        if result.is_err() {
            self.inner.broken.store(true, Ordering::Release);
        }
        result
    }

    fn sync_all(&self, unsynced: &[(File, u16)]) -> Result<()> {
        let mut leaves = Vec::with_capacity(unsynced.len());
        for (file, leaf) in unsynced {
            file.sync_data().map_err(|e| disk::failed("sync an object", &e))?;
            leaves.push(*leaf);
        }
        leaves.sort_unstable();
        leaves.dedup();
        leaves.into_iter().try_for_each(|leaf| disk::sync_folder(&self.leaf_path(leaf)))
    }

    /// Bytes of the file system the objects are on. Fails with `Io`.
    pub fn statfs(&self) -> Result<Space> {
        Space::of(&self.inner.dir)
    }

    fn leaf_path(&self, leaf: u16) -> PathBuf {
        self.inner.dir.join(name::leaf_folder(leaf))
    }

    fn path_of(&self, name: ObjectName) -> PathBuf {
        self.leaf_path(name::leaf(name.ino)).join(name::text(name))
    }

    /// Makes sure that a leaf folder exists and survives a power loss. Checked once per process: a
    /// folder that is there may still be unsynced by the process that made it.
    fn ensure_leaf(&self, leaf: u16) -> Result<()> {
        let mut folders = self.inner.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if folders[usize::from(leaf)] {
            return Ok(());
        }
        let path = self.leaf_path(leaf);
        let above = path.parent().expect("a leaf is two levels down");
        if !folders[name::beside(leaf)].contains(&true) {
            make_folder(above)?;
            disk::sync_folder(&self.inner.dir)?;
        }
        make_folder(&path)?;
        disk::sync_folder(above)?;
        folders[usize::from(leaf)] = true;
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            Err(disk::failed(format_args!("create {}", path.display()), &err))
        }
        _ => Ok(()),
    }
}

fn remove_temps(temp: &Path) -> Result<Repair> {
    let fail = |err| disk::failed(format_args!("empty {}", temp.display()), &err);
    let mut repair = Repair::default();
    for entry in fs::read_dir(temp).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let len = entry.metadata().map_err(fail)?.len();
        fs::remove_file(entry.path()).map_err(fail)?;
        repair.temps_removed += 1;
        repair.bytes_freed += len;
    }
    Ok(repair)
}
