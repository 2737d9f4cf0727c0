//! The whole-file cache on the client's disk (PROTOCOL 4.2, 4.3, 5.6).
//!
//! One sparse working file per inode, an index of what is known about their clean content, and a
//! journal for each file with unsaved work. The cache never asks a server: callers fetch what a file
//! says is missing, commit what it says is unsaved, and ask for room before they write.
//!
//! Lock order: writer of the index, list of files, one file, reader of the index. A method of a
//! [`WorkingFile`] never calls the [`Cache`].

mod alone;
mod disk;
mod evict;
mod folder;
mod index;
mod journal;
mod map;
mod mapped;
mod pack;
mod persist;
mod slots;
mod spare;
mod sums;
mod sweep;
#[cfg(test)]
mod tests;
mod working;

pub use evict::RoomOutcome;
pub use journal::{Header, Owner, Unsaved};
pub use sweep::Swept;
pub use working::{ReadOutcome, Sent, Snapshot, WorkingFile};

pub(crate) use disk::{allocated, io_error, remove as remove_file, replace};
pub(crate) use folder::make_dir;
pub(crate) use working::PutAside;

use dfs_core::{Code, Ino, Result};
use folder::{Folder, ino_of};
use index::Index;
use journal::Found;
use lru::LruCache;
use map::FileMap;
use persist::Warmth;
use slots::{Answered, Slots};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use working::{Shared, Start};

/// Clean bytes given up on a full disk so that one more working file can be made.
const OPEN_ROOM: u64 = 1024 * 1024;

/// The cache of one mount.
#[derive(Debug)]
pub struct Cache {
    shared: Arc<Shared>,
    limit: u64,
    /// How many files may be open on disk.
    warmth: Warmth,
    /// Room that was there when somebody looked and was not asked for since.
    seen: AtomicU64,
    files: Mutex<Files>,
    /// Held by whoever writes the index.
    persisting: Mutex<()>,
}

/// All files of the cache.
#[derive(Debug)]
struct Files {
    /// Every file, in order of last use.
    entries: LruCache<Ino, Entry>,
    /// Those whose working file is open, or is in memory only.
    warm: BTreeMap<Ino, Arc<WorkingFile>>,
    /// With so many files open on disk the next open has idle ones looked for.
    crowd: usize,
    /// Files whose row in the index has an old `used`.
    touched: BTreeSet<Ino>,
    /// Files whose row in the index is void.
    gone: BTreeSet<Ino>,
    /// Files whose journal was found at start.
    found: Vec<Ino>,
    /// The last `used` that was given out.
    clock: u64,
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Version and size of the clean content; while the file is warm, it knows better.
    ver: u64,
    size: u64,
    /// Bytes on disk; while the file is warm, it knows better.
    disk: u64,
    /// When it was used last, in uses of any file.
    used: u64,
    /// Its content is in the index and in no file; while the file is warm, it knows better.
    kept: bool,
    /// Whether a handle is open.
    open: bool,
    /// Whether its working file is lent; while the file is warm, it knows better.
    lent: bool,
}

/// Counts for people and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files in the cache.
    pub files: usize,
    /// Files that are open on disk in this process.
    pub warm: usize,
    /// Files with unsaved work.
    pub unsaved: usize,
    /// Bytes not committed yet.
    pub dirty_bytes: u64,
    /// Bytes on disk.
    pub used_bytes: u64,
    /// Most bytes on disk.
    pub limit_bytes: u64,
}

impl Cache {
    /// Opens the cache in a folder, which is made if it is not there, for at most `limit_bytes` of
    /// file content on disk. Returns before stray files are looked for: see
    /// [`sweep`](Cache::sweep).
    ///
    /// Errors: `Busy` if another daemon uses the folder. A damaged index costs the clean content
    /// but no unsaved work.
    pub fn open(dir: &Path, limit_bytes: u64) -> Result<Cache> {
        let folder = Folder::open(dir)?;
        let (index, listed) = Index::open(&folder)?;
        let (slots, answered) = Slots::open(&folder)?;
        let mut entries = LruCache::unbounded();
        let (mut used, mut clock) = (0u64, 0);
        for file in listed {
            let entry = Entry {
                ver: file.ver,
                size: file.size,
                disk: file.disk,
                used: file.used,
                kept: file.kept,
                open: false,
                lent: false,
            };
            entries.push(file.ino, entry);
            used = used.saturating_add(file.disk);
            clock = file.used;
        }
        let warmth = Warmth::of_this_process();
        let files = Files {
            entries,
            warm: BTreeMap::new(),
            crowd: warmth.many,
            touched: BTreeSet::new(),
            gone: BTreeSet::new(),
            found: Vec::new(),
            clock,
        };
        let cache = Cache {
            shared: Arc::new(Shared::new(folder, index, slots, used)),
            limit: limit_bytes,
            warmth,
            seen: AtomicU64::new(0),
            files: Mutex::new(files),
            persisting: Mutex::new(()),
        };
        cache.find_unsaved()?;
        cache.take_answered(answered);
        Ok(cache)
    }

    /// The mount's number (`EstablishReq.uuid`), the same after a restart.
    pub fn uuid(&self) -> [u8; 16] {
        self.shared.folder.uuid()
    }

    /// This daemon's number (`EstablishReq.verifier`), new with every start; journals name it.
    pub fn verifier(&self) -> [u8; 16] {
        self.shared.folder.verifier()
    }

    /// The folder of the recovery area.
    pub fn recovered_dir(&self) -> PathBuf {
        self.shared.folder.recovered()
    }

    /// The file that lists what the server has not heard of.
    pub fn deferred_file(&self) -> PathBuf {
        self.shared.folder.deferred()
    }

    /// The working file of an inode, if there is one; counts as a use.
    pub fn get(&self, ino: Ino) -> Result<Option<Arc<WorkingFile>>> {
        let mut files = self.lock();
        match files.touch(ino) {
            Some(entry) => self.warm_up(&mut files, ino, entry).map(Some),
            None => Ok(None),
        }
    }

    /// The working file of an inode; one that is not there begins with version `ver` of `size` bytes.
    /// One that is there may have another version, which somebody may be about to use or to commit.
    pub fn open_file(&self, ino: Ino, ver: u64, size: u64) -> Result<Arc<WorkingFile>> {
        self.make_way();
        match self.try_open_file(ino, ver, size) {
            Err(e) if e.code == Code::NoSpace => {
                self.squeeze(OPEN_ROOM)?;
                self.try_open_file(ino, ver, size)
            }
            result => result,
        }
    }

    fn try_open_file(&self, ino: Ino, ver: u64, size: u64) -> Result<Arc<WorkingFile>> {
        let mut files = self.lock();
        if let Some(entry) = files.touch(ino) {
            return self.warm_up(&mut files, ino, entry);
        }
        let file = WorkingFile::open(&self.shared, ino, 0, Start::New(ver, size))?;
        let file = Arc::new(file);
        files
            .add(ino, Entry { ver, size, disk: 0, used: 0, kept: false, open: false, lent: false });
        files.warm.insert(ino, Arc::clone(&file));
        Ok(file)
    }

    /// Says whether a handle is open: such a file keeps its place, but not all of its clean bytes.
    /// Counts as a use.
    pub fn set_open(&self, ino: Ino, open: bool) {
        let mut files = self.lock();
        files.touch(ino);
        if let Some(entry) = files.entries.peek_mut(&ino) {
            entry.open = open;
        }
    }

    /// Drops a file with all its content, unsaved work included: for an inode that is gone.
    pub fn remove(&self, ino: Ino) -> Result<()> {
        let mut files = self.lock();
        match files.entries.peek(&ino).copied() {
            Some(entry) => self.drop_file(&mut files, ino, entry),
            None => Ok(()),
        }
    }

    /// Whether there is a working file of an inode, of whatever version.
    pub fn knows(&self, ino: Ino) -> bool {
        self.lock().entries.contains(&ino)
    }

    /// Most bytes on disk.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The unsaved work that was found when the cache was opened and is still unsaved.
    pub fn unsaved(&self) -> Result<Vec<Unsaved>> {
        let found = self.lock().found.clone();
        let mut work = Vec::new();
        for ino in found {
            work.extend(self.get(ino)?.and_then(|file| file.unsaved()));
        }
        Ok(work)
    }

    /// What is in the cache now.
    pub fn stats(&self) -> Stats {
        let files = self.lock();
        let dirty = files.warm.values().map(|file| file.dirty_bytes());
        Stats {
            files: files.entries.len(),
            warm: self.shared.open.load(Ordering::Relaxed),
            unsaved: dirty.clone().filter(|bytes| *bytes > 0).count(),
            dirty_bytes: dirty.sum(),
            used_bytes: self.shared.used.load(Ordering::Relaxed),
            limit_bytes: self.limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the working file of a known inode, if it is not open.
    fn warm_up(&self, files: &mut Files, ino: Ino, entry: Entry) -> Result<Arc<WorkingFile>> {
        if let Some(file) = files.warm.get(&ino) {
            return Ok(Arc::clone(file));
        }
        let exists = || self.shared.folder.data(ino).exists();
        let start = if entry.kept {
            Start::Kept(entry.ver, entry.size)
        } else {
            match self.shared.known(ino, entry.ver, entry.size) {
                Some((map, None)) if exists() => Start::Known(map),
                _ if exists() => Start::Void(entry.ver, entry.size),
                _ => Start::New(entry.ver, entry.size),
            }
        };
        let file = Arc::new(WorkingFile::open(&self.shared, ino, entry.disk, start)?);
        if entry.lent {
            file.stay_lent();
        }
        files.warm.insert(ino, Arc::clone(&file));
        Ok(file)
    }

    /// Takes a file out of the cache and off the disk.
    fn drop_file(&self, files: &mut Files, ino: Ino, entry: Entry) -> Result<()> {
        match files.warm.remove(&ino) {
            Some(file) => file.retire()?,
            None => {
                disk::remove(&self.shared.folder.data(ino))?;
                self.shared.used.fetch_sub(entry.disk, Ordering::Relaxed);
            }
        }
        files.entries.pop(&ino);
        files.touched.remove(&ino);
        files.gone.insert(ino);
        Ok(())
    }

    /// Opens every file that has a journal, and clears the folder of journals of anything else.
    fn find_unsaved(&self) -> Result<()> {
        let dir = self.shared.folder.unsaved_dir();
        let list = std::fs::read_dir(&dir).map_err(|e| io_error("list", &dir, &e))?;
        let mut files = self.lock();
        for name in list {
            let name = name.map_err(|e| io_error("list", &dir, &e))?.file_name();
            let path = dir.join(&name);
            match (ino_of(&name), Found::read(&path)?) {
                (Some(ino), Some(found)) if found.header.ino == ino => {
                    self.take_up(&mut files, ino, found)?;
                }
                // The daemon died before it journaled anything, or while it replaced a journal.
                _ => disk::remove(&path)?,
            }
        }
        Ok(())
    }

    /// Hands what was answered before to the files with unsaved work.
    fn take_answered(&self, answered: Vec<Answered>) {
        let files = self.lock();
        for write in answered {
            let ino = write.ino;
            let refused = match files.warm.get(&ino) {
                Some(file) => file.take_answered(write),
                None => Some(write),
            };
            if let Some(write) = refused {
                tracing::error!(%ino, "a write that was answered is of work that is gone");
                self.shared.slots.free(&write.slot);
            }
        }
    }

    fn take_up(&self, files: &mut Files, ino: Ino, found: Found) -> Result<()> {
        let (ver, size) = (found.header.base_ver, found.header.base_size);
        match self.shared.folder.data(ino).metadata() {
            Ok(working) if found.is_void(&working) => {
                return disk::remove(&self.shared.folder.unsaved(ino));
            }
            Err(_) if !found.has_its_bytes() => {
                tracing::error!(%ino, "the working file is gone, and with it unsaved work");
                return disk::remove(&self.shared.folder.unsaved(ino));
            }
            _ => {}
        }
        let counted = files.entries.peek(&ino).map_or(0, |entry| entry.disk);
        let (map, kept) =
            self.shared.known(ino, ver, size).unwrap_or_else(|| (FileMap::new(ver, size), None));
        let kept = kept.filter(|_| found.has_its_bytes());
        let start = Start::Unsaved(map, Box::new(found), kept);
        let file = Arc::new(WorkingFile::open(&self.shared, ino, counted, start)?);
        files.add(
            ino,
            Entry { ver, size, disk: counted, used: 0, kept: false, open: false, lent: false },
        );
        if file.has_work() {
            files.found.push(ino);
        }
        // What the index says may be of another version than the journal.
        file.row_not_saved();
        files.warm.insert(ino, file);
        Ok(())
    }
}

impl Files {
    /// Marks a file as used now.
    fn touch(&mut self, ino: Ino) -> Option<Entry> {
        let entry = self.entries.get_mut(&ino)?;
        self.clock += 1;
        entry.used = self.clock;
        self.touched.insert(ino);
        Some(*entry)
    }

    /// Puts a file into the list as the one used last.
    fn add(&mut self, ino: Ino, entry: Entry) {
        self.clock += 1;
        self.entries.push(ino, Entry { used: self.clock, ..entry });
        self.gone.remove(&ino);
    }
}
