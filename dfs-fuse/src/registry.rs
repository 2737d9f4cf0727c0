//! One daemon per cache, and how others find it: a locked file in the cache folder that says who
//! has it, and a record that leads from the mount point to that folder.

use crate::exit::{Failure, Result};
use crate::place;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the lock file in a cache folder.
const LOCK: &str = "dfs-fuse.lock";
/// How long a new mount waits for the daemon of the last one to finish saving.
pub const TAKE_OVER: Duration = Duration::from_secs(10);
/// How often a lock that another process holds is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// What a daemon says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// The source, as written.
    pub source: String,
    /// It was started read-only.
    pub read_only: bool,
}

/// The lock on a cache, held as long as this lives and the process does.
pub struct CacheLock {
    file: File,
    cache: PathBuf,
    record: Option<PathBuf>,
}

impl CacheLock {
    /// Locks a cache; waits up to `wait` for another daemon to end.
    pub fn take(cache: &Path, wait: Duration) -> Result<CacheLock> {
        let path = cache.join(LOCK);
        let fail = |e: std::io::Error| {
            Failure::system(format!("cannot lock cache folder {}: {e}", cache.display()))
        };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(fail)?;
        if !lock_within(&file, wait).map_err(fail)? {
            let holder = parse(&mut file).pid;
            return Err(Failure::mount(format!(
                "cache folder {} is in use by process {holder}",
                cache.display()
            )));
        }
        Ok(CacheLock { file, cache: cache.to_owned(), record: None })
    }

    /// Says who has the lock, and leaves the record of the mount point.
    pub fn announce(&mut self, daemon: &Daemon, mountpoint: &Path) -> std::io::Result<()> {
        let access = if daemon.read_only { "ro" } else { "rw" };
        let text = format!("pid={}\nsource={}\naccess={access}\n", daemon.pid, daemon.source);
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())?;
        let record = place::record(mountpoint);
        if let Some(folder) = record.parent() {
            place::make_private(folder)?;
            sweep(folder)?;
        }
        std::fs::write(&record, self.cache.as_os_str().as_bytes())?;
        self.record = Some(record);
        Ok(())
    }
}

impl Drop for CacheLock {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            // A record that stays leads to a cache nobody has locked, which is harmless.
            let _ = std::fs::remove_file(record);
        }
    }
}

/// A daemon seen from outside.
pub struct Found {
    /// What it says about itself.
    pub daemon: Daemon,
    lock: File,
}

/// Finds the daemon of a mount point, which must be canonical. `None` if it has no record or its
/// daemon is gone.
pub fn find(mountpoint: &Path) -> Option<Found> {
    follow(&place::record(mountpoint))
}

/// Removes the records of daemons that died without doing so themselves.
fn sweep(folder: &Path) -> std::io::Result<()> {
    for record in std::fs::read_dir(folder)? {
        let record = record?.path();
        if follow(&record).is_none() {
            let _ = std::fs::remove_file(record); // Another mount may have been faster.
        }
    }
    Ok(())
}

fn follow(record: &Path) -> Option<Found> {
    let cache = std::fs::read(record).ok()?;
    let cache = PathBuf::from(std::ffi::OsString::from_vec(cache));
    let mut lock = OpenOptions::new().read(true).write(true).open(cache.join(LOCK)).ok()?;
    if lock_within(&lock, Duration::ZERO).unwrap_or(true) {
        return None;
    }
    Some(Found { daemon: parse(&mut lock), lock })
}

impl Found {
    /// Waits until the daemon is gone; false if it still runs after `wait`.
    pub fn wait(&self, wait: Duration) -> bool {
        lock_within(&self.lock, wait).unwrap_or(true)
    }
}

/// Tries to lock until `wait` is over.
fn lock_within(file: &File, wait: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(AGAIN),
        }
    }
}

fn parse(file: &mut File) -> Daemon {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    let mut daemon = Daemon::default();
    if read.is_err() {
        return daemon;
    }
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "pid" => daemon.pid = value.parse().unwrap_or_default(),
            "source" => daemon.source = value.to_owned(),
            "access" => daemon.read_only = value == "ro",
            _ => {}
        }
    }
    daemon
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_lock_is_exclusive_and_leads_from_the_mount_point() {
        let folder = tempfile::tempdir().unwrap();
        let mountpoint = folder.path().join("mnt");
        assert!(find(&mountpoint).is_none());
        let mut lock = CacheLock::take(folder.path(), Duration::ZERO).unwrap();
        let daemon = Daemon { pid: 77, source: "h:1/a=b".to_owned(), read_only: true };
        lock.announce(&daemon, &mountpoint).unwrap();

        let busy = CacheLock::take(folder.path(), Duration::ZERO).err().unwrap();
        assert_eq!(busy.status, crate::exit::MOUNT);
        assert!(busy.message.ends_with("in use by process 77"), "{busy}");
        let found = find(&mountpoint).unwrap();
        assert_eq!(found.daemon, daemon);
        assert!(!found.wait(Duration::ZERO));

        drop(lock);
        assert!(found.wait(Duration::ZERO));
        assert!(find(&mountpoint).is_none());
    }

    #[test]
    fn sweep_removes_records_of_dead_daemons_only() {
        let folder = tempfile::tempdir().unwrap();
        let (alive, dead) = (folder.path().join("alive"), folder.path().join("dead"));
        let records = folder.path().join("records");
        std::fs::create_dir(&records).unwrap();
        for cache in [&alive, &dead] {
            std::fs::create_dir(cache).unwrap();
            let record = records.join(cache.file_name().unwrap());
            std::fs::write(record, cache.as_os_str().as_bytes()).unwrap();
        }
        let _lock = CacheLock::take(&alive, Duration::ZERO).unwrap();
        drop(CacheLock::take(&dead, Duration::ZERO).unwrap());
        sweep(&records).unwrap();
        assert!(records.join("alive").exists());
        assert!(!records.join("dead").exists());
    }
}
