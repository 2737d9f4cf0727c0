//! Workloads that know what a local file system would answer: run as processes of their own by
//! `dfs-test-load`, so that the kernel sees different callers.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Names that all processes fight over.
const SHARED_NAMES: u32 = 12;
/// Names that belong to one process.
const OWN_NAMES: u32 = 6;

/// One process in a fight over one folder: names of its own must behave as if it were alone, shared
/// names may only fail in the ways a race explains.
pub struct Contender<'a> {
    folder: &'a Path,
    id: u32,
    random: StdRng,
    own: BTreeSet<String>,
    operations: u64,
}

impl<'a> Contender<'a> {
    /// Number `id` of the fight in `folder`.
    pub fn new(folder: &'a Path, id: u32, seed: u64) -> Contender<'a> {
        let random = StdRng::seed_from_u64(seed.wrapping_add(u64::from(id)));
        Contender { folder, id, random, own: BTreeSet::new(), operations: 0 }
    }

    /// Works for `time`; gives the number of operations, or the first thing that was wrong.
    pub fn run(mut self, time: Duration) -> Result<u64, String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            match self.random.random_range(0..10) {
                0..4 => self.own_name()?,
                4..9 => self.shared_name()?,
                _ => self.list()?,
            }
            self.operations += 1;
        }
        self.list()?;
        Ok(self.operations)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn own_name(&mut self) -> Result<(), String> {
        let name = format!("own-{}-{}", self.id, self.random.random_range(0..OWN_NAMES));
        let path = self.path(&name);
        if !self.own.contains(&name) {
            expect(&format!("create {name}"), std::fs::File::create_new(&path), &[])?;
            self.own.insert(name);
        } else if self.random.random_bool(0.5) {
            expect(&format!("unlink {name}"), std::fs::remove_file(&path), &[])?;
            self.own.remove(&name);
        } else {
            let to = format!("own-{}-{}", self.id, self.random.random_range(0..OWN_NAMES));
            expect(&format!("rename {name} {to}"), std::fs::rename(&path, self.path(&to)), &[])?;
            self.own.remove(&name);
            self.own.insert(to);
        }
        Ok(())
    }

    fn shared_name(&mut self) -> Result<(), String> {
        let name = format!("shared-{}", self.random.random_range(0..SHARED_NAMES));
        let path = self.path(&name);
        let (gone, exists) = (ErrorKind::NotFound, ErrorKind::AlreadyExists);
        match self.random.random_range(0..4) {
            0 => {
                let made = std::fs::File::create_new(&path);
                expect(&format!("create {name}"), made, &[exists])
            }
            1 => expect(&format!("unlink {name}"), std::fs::remove_file(&path), &[gone]),
            2 => {
                let to = format!("shared-{}", self.random.random_range(0..SHARED_NAMES));
                let renamed = std::fs::rename(&path, self.path(&to));
                expect(&format!("rename {name} {to}"), renamed, &[gone])
            }
            _ => expect(&format!("stat {name}"), std::fs::symlink_metadata(&path), &[gone]),
        }
    }

    /// A listing shows exactly our own names, whatever it shows of the others'.
    fn list(&mut self) -> Result<(), String> {
        let names = crate::sys::names(self.folder).map_err(|e| format!("list: {e}"))?;
        let unique: BTreeSet<&String> = names.iter().collect();
        if unique.len() != names.len() {
            return Err(format!("a name is listed twice: {names:?}"));
        }
        let prefix = format!("own-{}-", self.id);
        let mine: BTreeSet<String> =
            names.iter().filter(|name| name.starts_with(&prefix)).cloned().collect();
        match mine == self.own {
            true => Ok(()),
            false => Err(format!("listed {mine:?}, but there are {:?}", self.own)),
        }
    }
}

fn expect<T>(what: &str, got: std::io::Result<T>, allowed: &[ErrorKind]) -> Result<(), String> {
    match got {
        Ok(_) => Ok(()),
        Err(error) if allowed.contains(&error.kind()) => Ok(()),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

/// Appends whole lines `TAG NUMBER ...` to a file, opening it once or for each line.
pub fn append_lines(path: &Path, tag: &str, count: usize, reopen: bool) -> Result<(), String> {
    use std::io::Write;
    let open = || {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.map_err(|e| format!("open {}: {e}", path.display()))
    };
    let mut file = open()?;
    for number in 0..count {
        if reopen && number > 0 {
            file = open()?;
        }
        let line = format!("{tag} {number} {}\n", "x".repeat(number % 61));
        let written = file.write(line.as_bytes()).map_err(|e| format!("append {number}: {e}"))?;
        if written != line.len() {
            return Err(format!("append {number}: {written} of {} bytes", line.len()));
        }
    }
    Ok(())
}

/// Checks a file written by several [`append_lines`]: every line of every tag, whole and in order.
pub fn check_lines(path: &Path, tags: &[&str], count: usize) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("read: {e}"))?;
    let mut next = vec![0; tags.len()];
    for (at, line) in text.lines().enumerate() {
        let tag = tags.iter().position(|tag| line.split(' ').next() == Some(tag));
        let tag = tag.ok_or_else(|| format!("line {at} belongs to nobody: {line:?}"))?;
        let number = next[tag];
        let want = format!("{} {number} {}", tags[tag], "x".repeat(number % 61));
        if line != want {
            return Err(format!("line {at} is {line:?}, must be {want:?}"));
        }
        next[tag] += 1;
    }
    match next.iter().all(|lines| *lines == count) {
        true => Ok(()),
        false => Err(format!("lines {next:?}, {count} wanted of each of {tags:?}")),
    }
}
