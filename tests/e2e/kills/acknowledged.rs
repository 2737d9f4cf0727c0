//! A worker that remembers what it was told is done.

use dfs_tests::sys;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const NAMES: u32 = 30;

/// What must be in one folder, because the answer to the change has arrived.
pub struct Acknowledged {
    folder: PathBuf,
    random: StdRng,
    /// Content of files; `None` for folders.
    known: BTreeMap<String, Option<Vec<u8>>>,
    changes: u64,
}

impl Acknowledged {
    /// Makes the folder.
    pub fn new(folder: PathBuf, random: StdRng) -> Acknowledged {
        std::fs::create_dir(&folder).unwrap();
        Acknowledged { folder, random, known: BTreeMap::new(), changes: 0 }
    }

    /// Changes acknowledged so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// One change. Every error is a failure: the server is expected to come back, and each call to
    /// have its effect once (G9).
    pub fn change(&mut self) {
        let name = format!("n{}", self.random.random_range(0..NAMES));
        let path = self.folder.join(&name);
        match (self.known.get(&name), self.random.random_range(0..4)) {
            (None, 0) => {
                std::fs::create_dir(&path).unwrap_or_else(|e| panic!("mkdir {name}: {e}"));
                self.known.insert(name, None);
            }
            (None, _) => self.write(&name, true),
            (Some(Some(_)), 0) => self.write(&name, false),
            (Some(None), 0..2) => {
                std::fs::remove_dir(&path).unwrap_or_else(|e| panic!("rmdir {name}: {e}"));
                self.known.remove(&name);
            }
            (Some(Some(_)), 1) => {
                std::fs::remove_file(&path).unwrap_or_else(|e| panic!("unlink {name}: {e}"));
                self.known.remove(&name);
            }
            (Some(_), _) => self.rename(&name),
        }
        self.changes += 1;
    }

    fn write(&mut self, name: &str, new: bool) {
        let length = self.random.random_range(1..60_000);
        let bytes = dfs_tests::tree::random_bytes(&mut self.random, length);
        let path = self.folder.join(name);
        let opened = if new { File::create_new(&path) } else { File::create(&path) };
        let mut file = opened.unwrap_or_else(|e| panic!("create {name}: {e}"));
        file.write_all(&bytes).unwrap_or_else(|e| panic!("write {name}: {e}"));
        file.sync_all().unwrap_or_else(|e| panic!("fsync {name}: {e}"));
        self.known.insert(name.to_owned(), Some(bytes));
    }

    fn rename(&mut self, name: &str) {
        let to = format!("n{}", self.random.random_range(0..NAMES));
        if self.known.contains_key(&to) {
            return;
        }
        let (from, onto) = (self.folder.join(name), self.folder.join(&to));
        std::fs::rename(from, onto).unwrap_or_else(|e| panic!("rename {name} {to}: {e}"));
        let moved = self.known.remove(name).expect("only known names are renamed");
        self.known.insert(to, moved);
    }

    /// Checks that a mount at `root` shows exactly this.
    pub fn check(&self, root: &Path) {
        let folder = root.join(self.folder.file_name().expect("a folder has a name"));
        let names: Vec<String> = self.known.keys().cloned().collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sys::names(&folder).unwrap(), sorted, "{}", folder.display());
        for (name, content) in &self.known {
            match content {
                None => assert!(folder.join(name).is_dir(), "{name}"),
                Some(bytes) => {
                    let read = std::fs::read(folder.join(name)).unwrap();
                    assert!(&read == bytes, "{name}: {} bytes, other content", read.len());
                }
            }
        }
    }
}
