//! One working file: the local bytes of one inode, shared by all its handles (PROTOCOL 4.2).
//!
//! A sparse file with the bytes at their own offsets, a map that says which are here and which are
//! unsaved, and a journal as long as there is unsaved work. Everything is done under one lock per
//! file, held over reads and writes of the cache's file system and never over the network. Clean
//! bytes are checked against their checksum whenever they are read from disk. Unsaved work is never
//! reverted in place: it is committed, or the working file is replaced.
//!
//! Lock order: the lock of the cache, then that of one file.

mod commit;
mod content;
mod huge;
#[cfg(test)]
mod kept;
mod left;
mod lent;
mod shared;
mod soon;
pub(super) mod store;
mod stores;
#[cfg(test)]
mod tests;

use super::disk::{self, io_error};
use super::folder::{DATA_FOLDERS, make_dir};
use super::index::{Listed, Row};
use super::journal::{Found, Header, Journal, Owner, Record, Unsaved};
use super::map::FileMap;
use dfs_core::range::RangeSet;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};
use lent::Lent;
use soon::{Locked, Soon, Terms};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{SMALL_MAX, Store};

pub(crate) use commit::PutAside;
pub use commit::{Sent, Snapshot};
pub use content::ReadOutcome;
pub use shared::Shared;

/// The local content of one inode.
#[derive(Debug)]
pub struct WorkingFile {
    ino: Ino,
    shared: Arc<Shared>,
    /// Unsaved bytes, at least 1 while there is unsaved work; for those who may not take the lock.
    dirty_bytes: AtomicU64,
    /// Bytes on disk, likewise.
    disk_bytes: AtomicU64,
    /// Those of them that are in memory only, yet.
    held_bytes: AtomicU64,
    /// Writes that are answered already.
    soon: Soon,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    file: Store,
    map: FileMap,
    /// Version and size are known; what else there is of it is in the index, where nobody looked yet:
    /// who only opens a file may find what he reads in the kernel's memory.
    in_index: bool,
    /// The map came from the index: a daemon that was killed may have given room back since that was
    /// written.
    from_index: bool,
    journal: Option<Journal>,
    owner: Owner,
    /// When the present work began.
    since: Timestamp,
    /// Daemon and boot it belongs to.
    verifier: [u8; 16],
    boot: [u8; 16],
    /// Number of the last snapshot; an older one cannot be committed.
    snapshot: u64,
    /// What was written since then.
    rewritten: RangeSet,
    /// Smallest size since then.
    min_since: u64,
    /// What was read for uploads ahead of the next commit and is the same now.
    ahead: Vec<Sent>,
    /// Number of the last of them.
    last_ahead: u64,
    /// Where the last read ended.
    read_at: u64,
    /// What is known for those who read the file past the daemon.
    lent: Lent,
    /// The index row is out of date.
    row_changed: bool,
    /// All of it, also what is not known to have changed.
    whole_row: bool,
    /// Removed from the cache: nothing is accounted or journaled any more.
    gone: bool,
    /// Which writes may be answered before they are carried out, as the queue has it.
    terms: Terms,
}

/// How a working file starts.
pub(super) enum Start {
    /// Empty, for this version and size. Nothing is on disk; nothing is made there yet for a small
    /// file.
    New(u64, u64),
    /// The same, and what is on disk is void.
    Void(u64, u64),
    /// With clean content as the index has it.
    Known(FileMap),
    /// With clean content of this version and size that is in the index itself, and in no file.
    Kept(u64, u64),
    /// With clean content as the index has it, and unsaved work on it; and with the bytes of that
    /// content, if they are in no file.
    Unsaved(FileMap, Box<Found>, Option<Vec<u8>>),
}

impl WorkingFile {
    /// Opens the file on disk, if there shall be one. `counted` are the bytes already counted as used
    /// for it.
    pub(super) fn open(
        shared: &Arc<Shared>,
        ino: Ino,
        counted: u64,
        start: Start,
    ) -> Result<WorkingFile> {
        let path = shared.folder.data(ino);
        let (mut verifier, mut boot) = (shared.folder.verifier(), shared.folder.boot());
        let (mut owner, mut since, mut journal) = (Owner::default(), Timestamp::default(), None);
        let new = matches!(start, Start::New(..) | Start::Void(..));
        let in_index = matches!(start, Start::Kept(..));
        let from_index = matches!(start, Start::Known(..) | Start::Unsaved(..));
        let (map, file) = match start {
            Start::New(ver, size) if size <= SMALL_MAX => {
                (FileMap::new(ver, size), Store::Memory(Vec::new()))
            }
            Start::Kept(ver, size) => (FileMap::new(ver, size), Store::Memory(Vec::new())),
            start => {
                let file = open_or_make(shared, ino, &path, new)?;
                let map = match start {
                    Start::New(ver, size) | Start::Void(ver, size) | Start::Kept(ver, size) => {
                        FileMap::new(ver, size)
                    }
                    Start::Known(map) => map,
                    Start::Unsaved(mut map, found, kept) => {
                        let kept = kept.as_deref().unwrap_or_default();
                        file.write_all_at(kept, 0).map_err(|e| io_error("fill", &path, &e))?;
                        journal = Some(found.resume(&mut map, &file)?);
                        (owner, since) = (found.header.owner, found.header.time);
                        (verifier, boot) = (found.header.verifier, found.header.boot);
                        map
                    }
                };
                set_size(&file, &path, map.size)?;
                (map, Store::Disk(file))
            }
        };
        if file.on_disk().is_some() {
            shared.open.fetch_add(1, Ordering::Relaxed);
        }
        let state = State {
            path,
            file,
            owner,
            since,
            verifier,
            boot,
            snapshot: 0,
            rewritten: RangeSet::new(),
            min_since: map.min_size,
            ahead: Vec::new(),
            last_ahead: 0,
            read_at: 0,
            lent: Lent::unread(&map),
            row_changed: new,
            whole_row: new,
            gone: false,
            terms: Terms::default(),
            map,
            in_index,
            from_index,
            journal,
        };
        let working = WorkingFile::with(state, shared, ino, counted);
        working.drop_idle_journal(&mut working.look())?;
        working.count_first(new)?;
        Ok(working)
    }

    /// Takes over what the file takes on disk when it is opened. `new`: it was made or emptied.
    fn count_first(&self, new: bool) -> Result<()> {
        let state = self.look();
        if new {
            self.count_disk(0);
        } else if !state.in_index {
            self.account(&state)?;
        }
        Ok(())
    }

    fn with(state: State, shared: &Arc<Shared>, ino: Ino, counted: u64) -> WorkingFile {
        WorkingFile {
            ino,
            shared: Arc::clone(shared),
            dirty_bytes: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(counted),
            held_bytes: AtomicU64::new(0),
            soon: Soon::default(),
            state: Mutex::new(state),
        }
    }

    /// The inode.
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// Committed version that the content builds on.
    pub fn version(&self) -> u64 {
        self.look().map.base_ver
    }

    /// Size, unsaved work included.
    pub fn size(&self) -> u64 {
        self.look().map.size
    }

    /// Whether anything waits to be committed: bytes, or a size.
    pub fn has_work(&self) -> bool {
        self.dirty_bytes() > 0 || self.soon.is_waiting()
    }

    /// Unsaved bytes, at least 1 while there is unsaved work. Takes no lock.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// Bytes on disk. Takes no lock.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.lock().path.clone()
    }

    /// The local bytes, unsaved ones included.
    pub fn present(&self) -> RangeSet {
        self.lock().map.present.clone()
    }

    /// Names who works on the file from now on, and under which fence; known to the journal.
    pub fn set_owner(&self, owner: Owner) -> Result<()> {
        let mut state = self.lock();
        if state.owner != owner {
            state.owner = owner;
            self.adopt(&mut state);
            if state.journal.is_some() {
                self.restate(&mut state)?;
            }
        }
        Ok(())
    }

    /// The unsaved work, if there is any.
    pub fn unsaved(&self) -> Option<Unsaved> {
        let state = self.look();
        let boot = self.shared.folder.boot();
        state.map.has_work().then(|| Unsaved::of(self.header(&state), &state.map, boot))
    }

    /// The state, with what the index knows.
    fn lock(&self) -> Locked<'_> {
        let mut state = self.look();
        if std::mem::take(&mut state.in_index) {
            self.load(&mut state);
        }
        state
    }

    /// The state as far as it is here: for version, size, and whatever is not so of clean content in
    /// the index.
    fn look(&self) -> Locked<'_> {
        self.locked(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings the content from the index. Without it, it is fetched again.
    fn load(&self, state: &mut State) {
        let (ver, size) = (state.map.base_ver, state.map.base_size);
        if let Some((map, Some(bytes))) = self.shared.known(self.ino, ver, size) {
            (state.lent, state.file) = (Lent::unread(&map), Store::Memory(bytes));
            state.map = map;
        } else {
            (state.row_changed, state.whole_row) = (true, true);
        }
        self.account(state).expect("what is in memory is counted without asking the disk");
    }

    /// Whether there is clean content that nobody asked for since it went to the index.
    pub fn is_in_index(&self) -> bool {
        self.look().in_index
    }

    /// Takes over how much is unsaved now. Enough after a change that took no room on disk.
    fn count_unsaved(&self, state: &State) {
        let dirty = if state.map.has_work() { state.map.dirty_bytes.max(1) } else { 0 };
        self.dirty_bytes.store(dirty, Ordering::Relaxed);
    }

    /// Takes over what the file takes on disk now. Call after every change.
    fn account(&self, state: &State) -> Result<()> {
        self.count_unsaved(state);
        let now = state.file.allocated().map_err(|e| state.err("look at", &e))?;
        self.hold(if state.file.on_disk().is_some() { 0 } else { now });
        if !state.gone {
            self.count_disk(now);
        }
        Ok(())
    }

    fn count_disk(&self, now: u64) {
        let before = self.disk_bytes.swap(now, Ordering::Relaxed);
        self.shared.used.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    fn header(&self, state: &State) -> Header {
        Header {
            ino: self.ino,
            base_ver: state.map.base_ver,
            base_size: state.map.base_size,
            owner: state.owner.clone(),
            time: state.since,
            uuid: self.shared.folder.uuid(),
            verifier: state.verifier,
            boot: state.boot,
        }
    }

    /// The work is this daemon's from now on.
    fn adopt(&self, state: &mut State) {
        let folder = &self.shared.folder;
        (state.verifier, state.boot) = (folder.verifier(), folder.boot());
    }

    /// Puts records into the journal, which is started if there is none; `bytes` belong to the last
    /// one.
    fn record(&self, state: &mut State, records: &[Record], bytes: &[u8]) -> Result<()> {
        if state.gone {
            return Ok(());
        }
        if let Some(journal) = &mut state.journal {
            return journal.append(records, bytes);
        }
        state.since = wall_time();
        self.adopt(state);
        let path = self.shared.folder.unsaved(self.ino);
        let file = self.shared.spares.take(&self.shared.folder, self.ino)?;
        let header = self.header(state);
        let first: Vec<Record>;
        let records = match state.file.on_disk() {
            Some(_) => records,
            None => {
                first = [&[Record::InMemory], records].concat();
                &first
            }
        };
        state.journal = Some(Journal::start(path, file, &header, records, bytes)?);
        Ok(())
    }

    /// Writes the journal anew from what is unsaved now, or removes it.
    fn restate(&self, state: &mut State) -> Result<()> {
        if state.map.has_work() && !state.gone {
            // The new one would not have the bytes.
            self.to_disk(state)?;
            let path = self.shared.folder.unsaved(self.ino);
            let mut records = state.all_kept()?;
            records.extend(Record::restate(&state.map));
            self.shared.spares.replaced(self.ino);
            state.journal = Some(Journal::create(&path, &self.header(state), &records)?);
        }
        self.drop_idle_journal(state)
    }

    fn drop_idle_journal(&self, state: &mut State) -> Result<()> {
        if !state.map.has_work()
            && let Some(journal) = state.journal.take()
        {
            self.shared.spares.keep(self.ino, journal.end())?;
        }
        Ok(())
    }

    /// What changed for the index since this was asked last: of a file in memory with its content, as
    /// soon as that is clean.
    pub(super) fn take_row(&self, used: u64) -> Option<Row> {
        let mut state = self.look();
        if !state.row_changed || state.gone || state.is_blank() {
            return None;
        }
        let content = match &state.file {
            Store::Disk(_) => None,
            Store::Memory(_) if state.map.has_work() => return None,
            Store::Memory(bytes) => Some(bytes.clone()),
        };
        let (whole, map) = (state.whole_row, &mut state.map);
        let (ver, size, disk) = (map.base_ver, map.base_size, self.disk_bytes());
        let listed = Listed { ino: self.ino, ver, size, disk, used, kept: content.is_some() };
        let (holes, chunks) = (map.base_holes(), map.sums.take_changed());
        let row = Row { listed, holes, chunks, whole, content };
        (state.row_changed, state.whole_row) = (false, false);
        Some(row)
    }

    /// The last row was not saved: all of it is due again.
    pub(super) fn row_not_saved(&self) {
        let mut state = self.lock();
        (state.row_changed, state.whole_row) = (true, true);
        state.map.sums.mark_changed();
    }

    /// Whether the file can be closed: no work, and the index has all there is to know. A journal of
    /// work that was undone, say by truncating again, is removed.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.look();
        if state.lent.mapped {
            return false;
        }
        let known = !state.row_changed || state.is_blank();
        !state.map.has_work() && known && self.drop_idle_journal(&mut state).is_ok()
    }

    /// Takes the file and its journal off the disk. Whoever still has it may read and write, but
    /// nothing of that survives.
    pub(super) fn retire(&self) -> Result<()> {
        let mut state = self.look();
        disk::remove(&state.path)?;
        if let Some(journal) = state.journal.take() {
            disk::remove(&journal.end().0)?;
        }
        if state.lent.mapped {
            disk::remove(&self.shared.folder.mapped(self.ino))?;
        }
        state.gone = true;
        self.drop_waiting();
        let counted = self.disk_bytes.swap(0, Ordering::Relaxed);
        self.shared.used.fetch_sub(counted, Ordering::Relaxed);
        Ok(())
    }
}

impl State {
    fn err(&self, what: &str, e: &std::io::Error) -> FsError {
        io_error(what, &self.path, e)
    }
}

/// The folder is made when its first file is. `empty`: whatever was in the file goes.
fn open_or_make(shared: &Shared, ino: Ino, path: &Path, empty: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(empty).mode(0o600);
    let opened = match options.open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            make_dir(&shared.folder.data_dir(ino.0 % DATA_FOLDERS))?;
            options.open(path)
        }
        other => other,
    };
    opened.map_err(|e| io_error("open", path, &e))
}

fn set_size(file: &File, path: &Path, size: u64) -> Result<()> {
    let len = file.metadata().map_err(|e| io_error("look at", path, &e))?.len();
    if len == size {
        return Ok(());
    }
    file.set_len(size).map_err(|e| io_error("set the size of", path, &e))
}

fn wall_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_unix(since)
}

/// Refuses what may only be done to a file without unsaved work.
fn busy(path: &Path) -> FsError {
    FsError::new(Code::Busy, format!("{} has unsaved work", path.display()))
}
