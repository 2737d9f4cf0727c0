//! How many tests with mounts run at once on this machine, whichever program runs them.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;

/// Tests that run at once unless `DFS_E2E_SLOTS` says otherwise: each keeps several processes busy.
const SLOTS: usize = 2;

/// A place to run a test; others wait until it is dropped.
pub struct Slot {
    _locks: Vec<Flock<File>>,
}

impl Slot {
    /// Waits for one of the places.
    pub fn take() -> Slot {
        let count = count();
        for index in 0..count {
            if let Ok(lock) = Flock::lock(open(index), FlockArg::LockExclusiveNonblock) {
                return Slot { _locks: vec![lock] };
            }
        }
        let own = std::process::id() as usize + thread_number();
        Slot { _locks: vec![wait(open(own % count))] }
    }

    /// Waits for all of the places: for tests that measure time.
    pub fn take_all() -> Slot {
        Slot { _locks: (0..count()).map(|index| wait(open(index))).collect() }
    }
}

fn count() -> usize {
    let wanted = std::env::var("DFS_E2E_SLOTS").ok().and_then(|value| value.parse().ok());
    wanted.unwrap_or(SLOTS).max(1)
}

fn thread_number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn wait(file: File) -> Flock<File> {
    Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, e)| panic!("flock: {e}"))
}

fn open(index: usize) -> File {
    let folder = PathBuf::from("/tmp/dfs-tests");
    std::fs::create_dir_all(&folder).expect("cannot make /tmp/dfs-tests");
    let path = folder.join(format!("slot{index}"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    file.expect("cannot open a slot file")
}
