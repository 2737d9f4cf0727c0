//! Random record locks of several open files, on a local disk and on two mounts: every call gives the
//! same, and every byte is locked in the same way after it, as both mounts see it.
//!
//! The owner of these locks is the open file (`F_OFD_SETLK`), so one process plays them all.

use dfs_tests::sys::errno;
use dfs_tests::{sys, wait};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Open files that lock.
const OWNERS: usize = 6;
/// Bytes that locks begin in.
const BYTES: i64 = 12;
/// Closing a file frees its locks a little later.
const SETTLED: Duration = Duration::from_secs(30);

fn range(kind: i32, start: i64, len: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

/// Takes or gives back a lock of the open file, without waiting; `len` 0: to the end.
pub fn lock(file: &File, kind: i32, start: i64, len: i64) -> std::io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, start, len)))?;
    Ok(())
}

/// How one byte is locked by others: the kind, and the range of an exclusive lock.
pub fn held(probe: &File, byte: i64) -> (i32, i64, i64) {
    let mut found = range(libc::F_WRLCK, byte, 1);
    fcntl(probe, FcntlArg::F_OFD_GETLK(&mut found)).expect("the byte can be looked at");
    match i32::from(found.l_type) {
        libc::F_WRLCK => (libc::F_WRLCK, found.l_start, found.l_len),
        kind => (kind, 0, 0),
    }
}

/// One file opened several times, in the two folders in turn, and once in each to look.
struct Side {
    folders: [PathBuf; 2],
    owners: Vec<File>,
    probes: [File; 2],
}

impl Side {
    fn new(folders: [&Path; 2]) -> Side {
        let folders = folders.map(Path::to_path_buf);
        let probes = [Side::open(&folders[0]), Side::open(&folders[1])];
        let owners = (0..OWNERS).map(|owner| Side::open(&folders[owner % 2])).collect();
        Side { folders, owners, probes }
    }

    fn open(folder: &Path) -> File {
        sys::open(&folder.join("locked"), libc::O_RDWR | libc::O_CREAT).unwrap()
    }

    fn reopen(&mut self, owner: usize) {
        self.owners[owner] = Side::open(&self.folders[owner % 2]);
    }

    /// How every byte is locked, and the one that stands for all behind.
    fn bytes(&self, probe: usize) -> Vec<(i32, i64, i64)> {
        (0..=2 * BYTES).map(|byte| held(&self.probes[probe], byte)).collect()
    }
}

/// The same play on both sides.
pub struct Game {
    local: Side,
    mounts: Side,
    random: StdRng,
    refused: usize,
}

impl Game {
    pub fn new(local: [&Path; 2], mounts: [&Path; 2], random: StdRng) -> Game {
        Game { local: Side::new(local), mounts: Side::new(mounts), random, refused: 0 }
    }

    /// Calls that found a lock in their way.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// One call on both sides.
    pub fn step(&mut self, number: usize) {
        let random = &mut self.random;
        let owner = random.random_range(0..OWNERS);
        let (start, len) = (random.random_range(0..BYTES), random.random_range(0..BYTES));
        let kind = match random.random_range(0..20) {
            0..8 => libc::F_RDLCK,
            8..14 => libc::F_WRLCK,
            14..19 => libc::F_UNLCK,
            _ => {
                self.local.reopen(owner);
                self.mounts.reopen(owner);
                return self.compare(&format!("close of {owner}, call {number}"));
            }
        };
        let what = format!("call {number}: kind {kind} of {owner}, {len} bytes from {start}");
        let wanted = lock(&self.local.owners[owner], kind, start, len).map_err(errno);
        let got = lock(&self.mounts.owners[owner], kind, start, len).map_err(errno);
        assert_eq!(got, wanted, "{what}");
        self.refused += usize::from(wanted.is_err());
        self.compare(&what);
    }

    fn compare(&self, after: &str) {
        let wanted = self.local.bytes(0);
        for probe in 0..2 {
            wait::until_true(SETTLED, &format!("the same locks after {after}"), || {
                self.mounts.bytes(probe) == wanted
            });
        }
    }
}
