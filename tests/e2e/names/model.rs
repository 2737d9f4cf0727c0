//! Random changes through one mount, each checked at once through the other against what it must
//! show. The tree of one folder level keeps collisions, and so stale caches, likely.

use dfs_tests::sys::{self, Seen};
use nix::libc::{EEXIST, ENOENT};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const FOLDERS: u32 = 4;
const NAMES: u32 = 12;
/// Changes shown when one is stale.
const HISTORY: usize = 16;
const XATTR: &str = "user.note";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
}

/// A tree changed through one side and watched through the other.
pub struct Tree {
    here: PathBuf,
    there: PathBuf,
    random: StdRng,
    /// What exists, by path relative to the mount.
    known: BTreeMap<String, Kind>,
    checks: u64,
    /// The last changes, for the message of a failure.
    history: VecDeque<String>,
}

type Step = Result<(), String>;

impl Tree {
    /// Starts with a few empty folders.
    pub fn new(here: &Path, there: &Path, random: StdRng) -> Tree {
        for folder in 0..FOLDERS {
            std::fs::create_dir(here.join(format!("d{folder}"))).unwrap();
        }
        let (here, there) = (here.to_path_buf(), there.to_path_buf());
        Tree { here, there, random, known: BTreeMap::new(), checks: 0, history: VecDeque::new() }
    }

    /// The other mount changes from now on.
    pub fn swap_sides(&mut self) {
        std::mem::swap(&mut self.here, &mut self.there);
    }

    /// Checks made so far.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// One change, checked.
    pub fn step(&mut self) -> Step {
        let name = self.any_name();
        self.change(&name).map_err(|stale| format!("{stale}; before: {:?}", self.history))
    }

    fn change(&mut self, name: &str) -> Step {
        match (self.known.get(name).copied(), self.random.random_range(0..10)) {
            (None, 0..4) => self.make_file(name),
            (None, 4..6) => self.make_folder(name),
            (None, 6..8) => self.make_symlink(name),
            (None, _) => self.make_hard_link(name),
            (Some(_), 0..2) => self.remove(name),
            (Some(_), 2..5) => self.rename(name),
            (Some(Kind::Link), _) => self.remove(name),
            (Some(_), 5) => self.chmod(name),
            (Some(_), 6) => self.set_xattr(name),
            (Some(Kind::File), 7) => self.truncate(name),
            (Some(Kind::File), 8) => self.exchange(name),
            (Some(_), _) => self.set_time(name),
        }
    }

    fn any_name(&mut self) -> String {
        let folder = self.random.random_range(0..FOLDERS);
        format!("d{folder}/n{}", self.random.random_range(0..NAMES))
    }

    fn any_file(&mut self) -> Option<String> {
        let files: Vec<&String> =
            self.known.iter().filter(|(_, kind)| **kind == Kind::File).map(|(n, _)| n).collect();
        (!files.is_empty()).then(|| files[self.random.random_range(0..files.len())].clone())
    }

    fn make_file(&mut self, name: &str) -> Step {
        self.check_absent(name)?;
        self.done("create", name, std::fs::File::create_new(self.here.join(name)))?;
        self.now_is(name, Kind::File)?;
        // The name is taken for the other side too.
        let again = std::fs::File::create_new(self.there.join(name)).map_err(sys::errno);
        same(name, "create on the other side", again.err(), Some(EEXIST))
    }

    fn make_folder(&mut self, name: &str) -> Step {
        self.done("mkdir", name, std::fs::create_dir(self.here.join(name)))?;
        self.now_is(name, Kind::Folder)?;
        let inside = self.there.join(name);
        same(name, "names inside", sys::names(&inside).map_err(sys::errno), Ok(vec![]))
    }

    fn make_symlink(&mut self, name: &str) -> Step {
        let target = format!("to-{}", self.random.random_range(0..1000));
        self.done("symlink", name, std::os::unix::fs::symlink(&target, self.here.join(name)))?;
        self.now_is(name, Kind::Link)?;
        let seen = std::fs::read_link(self.there.join(name)).map_err(sys::errno);
        same(name, "link target", seen, Ok(PathBuf::from(target)))
    }

    fn make_hard_link(&mut self, name: &str) -> Step {
        let Some(file) = self.any_file() else { return Ok(()) };
        self.done(
            "link",
            &format!("{file} {name}"),
            std::fs::hard_link(self.here.join(&file), self.here.join(name)),
        )?;
        self.now_is(name, Kind::File)?;
        self.check_same(&file)
    }

    fn remove(&mut self, name: &str) -> Step {
        let path = self.here.join(name);
        match self.known.remove(name) {
            Some(Kind::Folder) => self.done("rmdir", name, std::fs::remove_dir(path))?,
            _ => self.done("unlink", name, std::fs::remove_file(path))?,
        }
        self.check_absent(name)?;
        self.check_listing(name)
    }

    fn rename(&mut self, name: &str) -> Step {
        let to = self.any_name();
        let kind = self.known[name];
        let fits = match self.known.get(&to) {
            None => true,
            Some(Kind::Folder) => kind == Kind::Folder,
            Some(_) => kind != Kind::Folder,
        };
        // Two names of one file: rename does nothing (rename(2)); both stay.
        let ino = |n: &str| sys::look(&self.here.join(n)).map(|seen| seen.numbers[0]).ok();
        if !fits || to == name || ino(&to) == ino(name) {
            return Ok(());
        }
        self.done(
            "rename",
            &format!("{name} {to}"),
            std::fs::rename(self.here.join(name), self.here.join(&to)),
        )?;
        self.known.remove(name);
        self.known.insert(to.clone(), kind);
        self.check_absent(name)?;
        self.check_listing(name)?;
        self.now_is(&to, kind)
    }

    fn exchange(&mut self, name: &str) -> Step {
        let Some(other) = self.any_file() else { return Ok(()) };
        self.done(
            "exchange",
            &format!("{name} {other}"),
            sys::exchange(&self.here.join(name), &self.here.join(&other)),
        )?;
        self.check_same(name)?;
        self.check_same(&other)
    }

    fn chmod(&mut self, name: &str) -> Step {
        let mode = 0o400 | self.random.random_range(0..0o400);
        let permissions = std::fs::Permissions::from_mode(mode);
        self.done("chmod", name, std::fs::set_permissions(self.here.join(name), permissions))?;
        let seen = self.check_same(name).and_then(|()| look(&self.there.join(name)))?;
        same(name, "mode", seen.numbers[1] & 0o777, u64::from(mode))
    }

    fn set_xattr(&mut self, name: &str) -> Step {
        let value = self.random.random_range(0..1_000_000u32).to_string();
        self.done(
            "setxattr",
            name,
            sys::set_xattr(&self.here.join(name), XATTR, value.as_bytes()),
        )?;
        let seen = sys::get_xattr(&self.there.join(name), XATTR).map_err(sys::errno);
        same(name, "xattr", seen, Ok(value.into_bytes()))
    }

    fn truncate(&mut self, name: &str) -> Step {
        let length = self.random.random_range(0..50_000);
        let file = std::fs::OpenOptions::new().write(true).open(self.here.join(name));
        let file = file.map_err(|e| format!("open {name}: {e}"))?;
        self.done("truncate", name, file.set_len(length))?;
        drop(file);
        let seen = self.check_same(name).and_then(|()| look(&self.there.join(name)))?;
        same(name, "size", seen.numbers[5], length)
    }

    fn set_time(&mut self, name: &str) -> Step {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
        let seconds = self.random.random_range(1_000_000_000..1_700_000_000);
        let nanos = self.random.random_range(0..1_000_000_000);
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = Timestamps { last_access: time, last_modification: time };
        let path = self.here.join(name);
        let set = utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
        self.done("utimens", name, set.map_err(std::io::Error::from))?;
        let seen = look(&self.there.join(name))?;
        same(name, "mtime", seen.times[..2].to_vec(), vec![seconds, nanos])
    }

    /// Notes a change that must have succeeded.
    fn done<T>(&mut self, what: &str, name: &str, result: std::io::Result<T>) -> Step {
        self.history.push_back(format!("{what} {name}"));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        result.map(drop).map_err(|error| format!("{what} {name}: {error}"))
    }

    /// `name` exists from now on; both sides show the same.
    fn now_is(&mut self, name: &str, kind: Kind) -> Step {
        self.known.insert(name.to_owned(), kind);
        self.check_same(name)?;
        self.check_listing(name)
    }

    fn check_same(&mut self, name: &str) -> Step {
        self.checks += 1;
        let there = look(&self.there.join(name)).map_err(|e| format!("other side: {e}"))?;
        same(name, "attributes", there, look(&self.here.join(name))?)
    }

    fn check_absent(&mut self, name: &str) -> Step {
        self.checks += 1;
        same(name, "absence", sys::look(&self.there.join(name)).err(), Some(ENOENT))
    }

    /// Looks at the whole folder now and then: a listing after each change would hide how the caches
    /// of single names do.
    fn check_listing(&mut self, name: &str) -> Step {
        if self.random.random_bool(0.5) {
            return Ok(());
        }
        self.checks += 1;
        let folder = name.split('/').next().unwrap_or_default();
        let prefix = format!("{folder}/");
        let mut names: Vec<String> =
            self.known.keys().filter_map(|n| n.strip_prefix(&prefix)).map(str::to_owned).collect();
        names.sort();
        same(folder, "listing", sys::names(&self.there.join(folder)).map_err(sys::errno), Ok(names))
    }

    /// Compares every name on both sides.
    pub fn compare_all(&mut self) {
        let names: Vec<String> = self.known.keys().cloned().collect();
        for name in names {
            self.check_same(&name).unwrap();
        }
    }
}

fn look(path: &Path) -> Result<Seen, String> {
    sys::look(path).map_err(|errno| format!("stat {}: errno {errno}", path.display()))
}

fn same<T: PartialEq + std::fmt::Debug>(name: &str, what: &str, got: T, want: T) -> Step {
    match got == want {
        true => Ok(()),
        false => Err(format!("{name}: {what} is {got:?}, must be {want:?}")),
    }
}
