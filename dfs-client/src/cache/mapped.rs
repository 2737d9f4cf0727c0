//! Files that somebody could store into past a daemon that was killed.

use super::disk::{self, io_error};
use super::folder::ino_of;
use super::{Cache, WorkingFile};
use dfs_core::Result;
use std::sync::Arc;

impl Cache {
    /// The files that somebody could store into past the daemon when an earlier life of it ended: what
    /// is not as it was is unsaved work. To be called once. After a restart of the machine nobody knows
    /// what of it reached the disk: those are as any other.
    ///
    /// Errors: those of the cache's file system.
    pub fn mapped_before(&self) -> Result<Vec<Arc<WorkingFile>>> {
        let folder = &self.shared.folder;
        let dir = folder.mapped_dir();
        let list = std::fs::read_dir(&dir).map_err(|e| io_error("list", &dir, &e))?;
        let mut mapped = Vec::new();
        for name in list {
            let name = name.map_err(|e| io_error("list", &dir, &e))?.file_name();
            let path = dir.join(&name);
            let boot = std::fs::read(&path).map_err(|e| io_error("read", &path, &e))?;
            disk::remove(&path)?;
            if let Some(ino) = ino_of(&name).filter(|_| boot == folder.boot())
                && let Some(file) = self.get(ino)?
            {
                file.expect_stores()?;
                mapped.push(file);
            }
        }
        Ok(mapped)
    }
}
