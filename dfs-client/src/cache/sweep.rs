//! Looking for what a crash left behind: files without a row, rows without a file.

use super::folder::{DATA_FOLDERS, ino_of};
use super::{Cache, disk, io_error};
use dfs_core::{Ino, Result};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files on disk that nothing knew; they were deleted.
    pub strays: usize,
    /// Files known that were not on disk; they were forgotten.
    pub lost: usize,
}

impl Cache {
    /// Compares the folders with the list of files once. For a thread of its own after the cache was
    /// opened: the list is locked for one file at a time, and it ends early when `stop` is set.
    pub fn sweep(&self, stop: &AtomicBool) -> Result<Swept> {
        let before = self.lock().clock;
        let mut swept = Swept::default();
        let mut on_disk: HashSet<Ino> = HashSet::new();
        for n in 0..DATA_FOLDERS {
            if stop.load(Ordering::Relaxed) {
                return Ok(swept);
            }
            swept.strays += self.sweep_folder(n, &mut on_disk)?;
        }
        let mut files = self.lock();
        let lost = |(ino, entry): (&Ino, &super::Entry)| {
            let has_file = entry.disk > 0 && !entry.kept;
            let is_lost = entry.used <= before && has_file && !on_disk.contains(ino);
            is_lost.then_some((*ino, *entry))
        };
        let lost: Vec<_> = files.entries.iter().filter_map(lost).collect();
        for (ino, entry) in lost {
            if !files.warm.contains_key(&ino) {
                self.drop_file(&mut files, ino, entry)?;
                swept.lost += 1;
            }
        }
        Ok(swept)
    }

    /// Deletes the strays of one folder and notes the files that belong there.
    fn sweep_folder(&self, n: u64, on_disk: &mut HashSet<Ino>) -> Result<usize> {
        let dir = self.shared.folder.data_dir(n);
        let list = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            list => list.map_err(|e| io_error("list", &dir, &e))?,
        };
        let mut strays = 0;
        for name in list {
            let name = name.map_err(|e| io_error("list", &dir, &e))?.file_name();
            // Working files are made and listed under this lock.
            let files = self.lock();
            match ino_of(&name) {
                Some(ino) if files.entries.contains(&ino) => {
                    on_disk.insert(ino);
                }
                _ => {
                    disk::remove(&dir.join(&name))?;
                    strays += 1;
                }
            }
        }
        Ok(strays)
    }
}
