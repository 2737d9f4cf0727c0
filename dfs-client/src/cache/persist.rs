//! Writing the index, and closing files that nobody uses.

use super::index::Batch;
use super::working::WorkingFile;
use super::working::store::HELD_MAX;
use super::{Cache, Files};
use dfs_core::{Ino, Result};
use nix::sys::resource::{Resource, getrlimit};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use tokio::sync::Notify;

/// With so many bytes of content in memory the index is to be written soon.
pub(super) const HELD_MANY: u64 = HELD_MAX / 2;
/// Bytes of content that stay in memory although the index has them.
pub(super) const HELD_IDLE: u64 = HELD_MAX / 4;

/// How many working files may be open on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Warmth {
    /// Though nobody uses them.
    idle: usize,
    /// From so many on the index is to be written soon, which closes idle ones.
    pub(super) many: usize,
    /// With so many it is written before the next one is opened: bounds the descriptors of a burst of
    /// opens.
    pub(super) most: usize,
    /// So many more may be opened before that is tried again, if it left too many open because they are
    /// in use: looking at all of them for each one would cost more than the opens.
    step: usize,
}

impl Warmth {
    /// For a process that may open so many files.
    fn of(allowed: u64) -> Warmth {
        let most = usize::try_from(allowed / 4).unwrap_or(usize::MAX).min(4096);
        Warmth { idle: 256.min(most / 2), many: 1024.min(most), most, step: 256.min(most / 2) }
    }

    /// For this process.
    pub(super) fn of_this_process() -> Warmth {
        Warmth::of(getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(now, _)| now))
    }
}

impl Cache {
    /// Writes what changed since the last time into the index, with the content that is in memory. To
    /// be called every second and before the program ends; what is lost by not calling it is fetched
    /// again.
    ///
    /// Errors: those of the index; the changes are kept for the next time.
    pub fn persist(&self) -> Result<()> {
        self.look_again();
        self.save()
    }

    /// Writes what changed since the last time into the index, in one transaction, and closes files
    /// that are not used. The list of files is locked for moments only.
    pub(super) fn save(&self) -> Result<()> {
        let _one = self.persisting.lock().unwrap_or_else(PoisonError::into_inner);
        let (batch, warm) = self.changes();
        let nothing = batch.gone.is_empty() && batch.rows.is_empty() && batch.used.is_empty();
        let saved = if nothing { Ok(()) } else { self.shared.index.save(&batch) };
        if saved.is_ok() {
            self.let_go(warm);
        }
        let mut files = self.lock();
        match saved {
            Ok(()) => files.cool(self.warmth.idle),
            Err(_) => files.put_back(batch),
        }
        files.rest(self.shared.open.load(Ordering::Relaxed), &self.warmth);
        saved
    }

    /// What changed for the index, and all warm files.
    fn changes(&self) -> (Batch, Vec<Warm>) {
        let (gone, mut touched, warm) = self.lock().take_changes();
        let mut batch = Batch { gone: gone.into_iter().collect(), ..Batch::default() };
        for Warm { ino, file, used, .. } in &warm {
            if let Some(row) = file.upgrade().and_then(|file| file.take_row(*used)) {
                touched.remove(ino);
                batch.rows.push(row);
            }
        }
        batch.used = touched.into_iter().collect();
        (batch, warm)
    }

    /// A file is about to be opened: closes idle ones, or has that done soon, if the burst of opens has
    /// grown enough.
    pub(super) fn make_way(&self) {
        let open = self.shared.open.load(Ordering::Relaxed);
        {
            let mut files = self.lock();
            if open < files.crowd {
                return;
            }
            files.crowd = open + self.warmth.step;
        }
        if open < self.warmth.most {
            self.shared.full.notify_one();
        } else if let Err(error) = self.save() {
            tracing::warn!(%error, "cannot write the cache index");
        }
    }

    /// Told when [`persist`](Cache::persist) is to be called before its time: much is in memory, or
    /// open.
    pub fn full(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.full)
    }

    /// Leaves content that the index has to it, of the files without handle used least recently, if
    /// much of it is in memory: also of files that somebody may use again, say under a lease.
    fn let_go(&self, mut warm: Vec<Warm>) {
        if self.shared.held() <= HELD_IDLE {
            return;
        }
        warm.retain(|warm| !warm.open);
        warm.sort_unstable_by_key(|warm| warm.used);
        for Warm { file, .. } in warm {
            if self.shared.held() <= HELD_IDLE {
                return;
            }
            if let Some(file) = file.upgrade() {
                file.leave_to_index();
            }
        }
    }
}

/// A file of [`Files::warm`], with what the list knew of it a moment ago. Does not count as a use.
struct Warm {
    ino: Ino,
    file: Weak<WorkingFile>,
    used: u64,
    open: bool,
}

impl Files {
    /// Idle files were looked for: not again before the burst of opens has grown. `open`: files that
    /// are open on disk.
    fn rest(&mut self, open: usize, warmth: &Warmth) {
        self.crowd = warmth.many.max(open + warmth.step);
    }

    /// Files that went, those used since the last time and when, and all warm ones.
    fn take_changes(&mut self) -> (BTreeSet<Ino>, BTreeMap<Ino, u64>, Vec<Warm>) {
        let touched = std::mem::take(&mut self.touched);
        let used = |ino: Ino| Some((ino, self.entries.peek(&ino)?.used));
        let touched = touched.into_iter().filter_map(used).collect();
        let warm = self.warm.iter().map(|(ino, file)| {
            let entry = self.entries.peek(ino);
            let (used, open) = entry.map_or((0, false), |entry| (entry.used, entry.open));
            Warm { ino: *ino, file: Arc::downgrade(file), used, open }
        });
        (std::mem::take(&mut self.gone), touched, warm.collect())
    }

    fn put_back(&mut self, batch: Batch) {
        let still_gone = batch.gone.into_iter().filter(|ino| !self.entries.contains(ino));
        self.gone.extend(still_gone);
        self.touched.extend(batch.used.into_iter().map(|(ino, _)| ino));
        for row in batch.rows {
            if let Some(file) = self.warm.get(&row.listed.ino) {
                file.row_not_saved();
            }
        }
    }

    /// Closes the idle working files used least recently, if there are more than `most`.
    fn cool(&mut self, most: usize) {
        let mut idle: Vec<(u64, Ino)> = Vec::new();
        for (ino, file) in &self.warm {
            let Some(entry) = self.entries.peek(ino) else { continue };
            // Only this list can hand out new references, and it is locked.
            let unused = !entry.open && Arc::strong_count(file) == 1;
            if unused && file.settle() {
                idle.push((entry.used, *ino));
            }
        }
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(most);
        for (_, ino) in idle.into_iter().take(surplus) {
            let Some(file) = self.warm.remove(&ino) else { continue };
            if file.is_blank() {
                self.entries.pop(&ino);
                self.touched.remove(&ino);
                self.gone.insert(ino);
            }
            if let Some(entry) = self.entries.peek_mut(&ino) {
                (entry.ver, entry.size) = (file.version(), file.size());
                (entry.disk, entry.kept) = (file.disk_bytes(), file.is_kept());
                entry.lent = file.is_lent();
            }
        }
    }
}
