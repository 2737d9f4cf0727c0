//! Walking all objects: listing and checking them.

use super::read::Sealed;
use super::{ObjectStore, name};
use crate::disk;
use dfs_core::extent::ObjectName;
use dfs_core::{Code, FsError, Result};
use std::fs::{self, DirEntry, ReadDir};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Something in a folder of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A sealed object, not looked into.
    Object {
        /// Its name.
        name: ObjectName,
        /// Bytes of its file.
        bytes: u64,
        /// Wall time since it was written; 0 if the clock went back.
        age: Duration,
    },
    /// A file nobody here has made. Left alone.
    Foreign(PathBuf),
}

/// How closely to look at objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Length, footer and checksum table: one small read per object.
    Footers,
    /// All of the content.
    Content,
}

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Objects found, damaged ones too.
    pub objects: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Objects that cannot be served.
    pub damaged: u64,
    /// Files that are no objects.
    pub foreign: u64,
}

impl ObjectStore {
    /// Everything in the folders, one folder at a time. Objects sealed or removed meanwhile may or
    /// may not appear. Items fail with `Io`.
    pub fn list(&self) -> Listing {
        Listing { store: self.clone(), next_leaf: 0, folder: None }
    }

    /// Verifies all objects and calls `bad` for each that cannot be served (the message names it),
    /// and for each foreign file. Slow: run it in the background. Fails with `Io` if a folder
    /// cannot be read.
    pub fn check(&self, depth: Depth, bad: &mut dyn FnMut(&FsError)) -> Result<Checked> {
        let mut checked = Checked::default();
        for entry in self.list() {
            let (name, bytes) = match entry? {
                Entry::Object { name, bytes, .. } => (name, bytes),
                Entry::Foreign(path) => {
                    checked.foreign += 1;
                    let text = format!("{} is not an object", path.display());
                    bad(&FsError::new(Code::Invalid, text));
                    continue;
                }
            };
            let sealed = Sealed::open(&self.path_of(name), name);
            let result = match depth {
                Depth::Footers => sealed.map(drop),
                Depth::Content => sealed.and_then(|object| object.verify()),
            };
            match result {
                // Removed since it was listed.
                Err(err) if err.code == Code::NotFound => continue,
                Err(err) => {
                    checked.damaged += 1;
                    bad(&err);
                }
                Ok(()) => {}
            }
            checked.objects += 1;
            checked.bytes += bytes;
        }
        Ok(checked)
    }
}

/// See [`ObjectStore::list`].
pub struct Listing {
    store: ObjectStore,
    next_leaf: u16,
    folder: Option<(u16, ReadDir)>,
}

impl Iterator for Listing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            if let Some((leaf, folder)) = &mut self.folder {
                match folder.next() {
                    Some(item) => match item.and_then(|item| entry_of(*leaf, &item)) {
                        Ok(entry) => return Some(Ok(entry)),
                        // Removed since the folder was read.
                        Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                        Err(err) => return Some(Err(disk::failed("list objects", &err))),
                    },
                    None => self.folder = None,
                }
            }
            if self.next_leaf == name::LEAVES {
                return None;
            }
            let leaf = self.next_leaf;
            self.next_leaf += 1;
            match fs::read_dir(self.store.leaf_path(leaf)) {
                Ok(folder) => self.folder = Some((leaf, folder)),
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Some(Err(disk::failed("list objects", &err))),
            }
        }
    }
}

fn entry_of(leaf: u16, item: &DirEntry) -> io::Result<Entry> {
    let meta = item.metadata()?;
    let name = item.file_name().to_str().and_then(name::parse);
    Ok(match name {
        Some(name) if meta.is_file() && name::leaf(name.ino) == leaf => Entry::Object {
            name,
            bytes: meta.len(),
            age: SystemTime::now().duration_since(meta.modified()?).unwrap_or_default(),
        },
        _ => Entry::Foreign(item.path()),
    })
}
