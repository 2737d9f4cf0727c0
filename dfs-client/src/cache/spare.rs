//! Journals without work, kept for the next work: a file system takes longer to make and remove a
//! file than to write a journal into it, and every small write would need one.
//!
//! A spare journal is a file without header under the name of the inode it was for. A crash leaves it
//! there; without header it means no work. It is handed out under this lock together with its name, so
//! no two files ever go by the same one.

use super::disk::{self, io_error};
use super::folder::Folder;
use super::journal;
use dfs_core::limits::AHEAD_CALLS;
use dfs_core::{Ino, Result};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most spare journals; each is an open file. More than files whose commits are under way at a time.
const SPARES_MAX: usize = 2 * AHEAD_CALLS;
/// Larger ones give their room back.
const SPARE_BYTES: u64 = 128 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Spares(Mutex<VecDeque<Spare>>);

#[derive(Debug)]
struct Spare {
    ino: Ino,
    path: PathBuf,
    file: File,
}

impl Spares {
    /// A journal without work for an inode that has none, under its name.
    pub fn take(&self, folder: &Folder, ino: Ino) -> Result<File> {
        let path = folder.unsaved(ino);
        let mut spares = self.lock();
        let own = spares.iter().position(|spare| spare.ino == ino);
        if let Some(own) = own.and_then(|at| spares.remove(at)) {
            return Ok(own.file);
        }
        if let Some(other) = spares.pop_back() {
            match std::fs::rename(&other.path, &path) {
                Ok(()) => return Ok(other.file),
                Err(error) => tracing::debug!(path = %other.path.display(), %error, "not reused"),
            }
        }
        let options =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        options.open(&path).map_err(|e| io_error("make", &path, &e))
    }

    /// The work of this journal of `len` bytes is saved or given up: keeps it without header, or
    /// removes it.
    pub fn keep(&self, ino: Ino, (path, file, len): (PathBuf, File, u64)) -> Result<()> {
        let emptied = if len > SPARE_BYTES { file.set_len(0) } else { journal::void(&file) };
        if emptied.is_err() {
            return disk::remove(&path);
        }
        let mut spares = self.lock();
        spares.push_back(Spare { ino, path, file });
        if spares.len() <= SPARES_MAX {
            return Ok(());
        }
        let oldest = spares.pop_front().expect("there are too many");
        disk::remove(&oldest.path)
    }

    /// A journal under the name of `ino` replaces what was there.
    pub fn replaced(&self, ino: Ino) {
        self.lock().retain(|spare| spare.ino != ino);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Spare>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        for spare in self.lock().drain(..) {
            if let Err(error) = disk::remove(&spare.path) {
                tracing::debug!(%error, "an empty journal stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn spare_journal_goes_on_under_the_next_name_and_two_never_share_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let spares = Spares::default();
        let number = |ino| std::fs::metadata(folder.unsaved(Ino(ino))).unwrap().ino();
        let give = |ino, file| spares.keep(Ino(ino), (folder.unsaved(Ino(ino)), file, 0)).unwrap();
        let (one, two) = (spares.take(&folder, Ino(1)).unwrap(), spares.take(&folder, Ino(2)));
        let (first, second) = (number(1), number(2));
        give(1, one);
        give(2, two.unwrap());
        // Its own, although another was given back later.
        let one = spares.take(&folder, Ino(1)).unwrap();
        assert_eq!((one.metadata().unwrap().ino(), number(1)), (first, first));
        let three = spares.take(&folder, Ino(3)).unwrap();
        assert_eq!((three.metadata().unwrap().ino(), number(3)), (second, second));
        assert!(!folder.unsaved(Ino(2)).exists());
        give(1, one);
        spares.replaced(Ino(1));
        std::fs::remove_file(folder.unsaved(Ino(1))).unwrap();
        assert_eq!(spares.take(&folder, Ino(1)).unwrap().metadata().unwrap().nlink(), 1);
        give(3, three);
        drop(spares);
        assert!(!folder.unsaved(Ino(3)).exists());
    }

    #[test]
    fn spare_journals_are_bounded_and_hold_no_work() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let spares = Spares::default();
        let inos = 1..=2 * SPARES_MAX as u64;
        let files: Vec<File> =
            inos.clone().map(|ino| spares.take(&folder, Ino(ino)).unwrap()).collect();
        for (ino, file) in inos.zip(files) {
            let len = if ino % 2 == 0 { 10_000 } else { 2 * SPARE_BYTES };
            let work = vec![ino as u8; len as usize];
            std::os::unix::fs::FileExt::write_all_at(&file, &work, 0).unwrap();
            spares.keep(Ino(ino), (folder.unsaved(Ino(ino)), file, len)).unwrap();
        }
        let mut left = 0;
        for entry in std::fs::read_dir(folder.unsaved_dir()).unwrap() {
            let entry = entry.unwrap();
            assert!(journal::Found::read(&entry.path()).unwrap().is_none());
            assert!(entry.metadata().unwrap().len() <= SPARE_BYTES);
            left += 1;
        }
        assert_eq!(left, SPARES_MAX);
    }
}
