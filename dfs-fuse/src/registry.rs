//! One daemon per cache, and how others find it: a locked file in the cache folder that says who
//! has it, and a record that leads from the mount point to that folder.

use crate::exit::{Failure, Result};
use crate::holder::Holder;
use crate::{holder, place};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the lock file in a cache folder.
const LOCK: &str = "dfs-fuse.lock";
/// How long a new mount waits for the daemon of the last one to finish saving.
pub const TAKE_OVER: Duration = Duration::from_secs(10);
/// How often a lock that another process holds is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// The lock on a cache, held as long as this lives and the process does.
pub struct CacheLock {
    file: File,
    cache: PathBuf,
    record: Option<PathBuf>,
}

impl CacheLock {
    /// Locks a cache; waits up to `wait` for a daemon that is about to end. One that serves a mount
    /// is no reason to wait.
    pub fn take(cache: &Path, wait: Duration) -> Result<CacheLock> {
        let path = cache.join(LOCK);
        let fail = |e: std::io::Error| {
            Failure::system(format!("cannot lock cache folder {}: {e}", cache.display()))
        };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(fail)?;
        let hopeless = || holder::read(&file).is_serving();
        if !lock_within(&file, wait, hopeless).map_err(fail)? {
            let holder = holder::read(&file);
            return Err(Failure::mount(in_use(cache, &holder, holder.is_serving())));
        }
        Ok(CacheLock { file, cache: cache.to_owned(), record: None })
    }

    /// Says who has the lock.
    pub fn announce(&mut self, holder: &Holder) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&holder.to_bytes())
    }

    /// Leaves the record that leads from the mount point to this cache.
    pub fn record(&mut self, mountpoint: &Path) -> std::io::Result<()> {
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

/// The one line about a cache that somebody else has.
fn in_use(cache: &Path, holder: &Holder, serving: bool) -> String {
    let (cache, pid) = (cache.display(), holder.pid);
    match &holder.mountpoint {
        Some(mountpoint) if serving => format!(
            "cache folder {cache} is in use by the mount on {} (process {pid}): give this mount \
             another one with cache=DIR",
            mountpoint.display()
        ),
        _ => format!(
            "cache folder {cache} is still in use by process {pid}, which starts or saves its last \
             changes: try again later"
        ),
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
    pub holder: Holder,
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
    let lock = OpenOptions::new().read(true).write(true).open(cache.join(LOCK)).ok()?;
    if lock_within(&lock, Duration::ZERO, || false).unwrap_or(true) {
        return None;
    }
    Some(Found { holder: holder::read(&lock), lock })
}

impl Found {
    /// Waits until the daemon is gone; false if it still runs after `wait`.
    pub fn wait(&self, wait: Duration) -> bool {
        lock_within(&self.lock, wait, || false).unwrap_or(true)
    }
}

/// Tries to lock until `wait` is over, or it is hopeless.
fn lock_within(file: &File, wait: Duration, hopeless: impl Fn() -> bool) -> std::io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline || hopeless() => {
                return Ok(false);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(AGAIN),
        }
    }
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
        let holder = Holder { pid: 77, source: "h:1/a=b".to_owned(), ..Holder::default() };
        lock.announce(&holder).unwrap();
        lock.record(&mountpoint).unwrap();

        let busy = CacheLock::take(folder.path(), Duration::ZERO).err().unwrap();
        assert_eq!(busy.status, crate::exit::MOUNT);
        assert!(busy.message.contains("still in use by process 77"), "{busy}");
        let found = find(&mountpoint).unwrap();
        assert_eq!(found.holder, holder);
        assert!(!found.wait(Duration::ZERO));

        drop(lock);
        assert!(found.wait(Duration::ZERO));
        assert!(find(&mountpoint).is_none());
    }

    #[test]
    fn cache_of_a_live_mount_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = CacheLock::take(folder.path(), Duration::ZERO).unwrap();
        let pid = std::process::id();
        // The mount table shows no dfs there, so this one is as good as unmounted.
        let mountpoint = Some(folder.path().to_owned());
        lock.announce(&Holder { pid, mountpoint, ..Holder::default() }).unwrap();
        let began = Instant::now();
        let wait = Duration::from_millis(100);
        let busy = CacheLock::take(folder.path(), wait).err().unwrap();
        assert!(began.elapsed() >= wait && busy.message.contains("try again"), "{busy}");

        let serving = Holder { pid, mountpoint: Some("/mnt".into()), ..Holder::default() };
        let text = in_use(Path::new("/c"), &serving, true);
        assert!(text.starts_with("cache folder /c is in use by the mount on /mnt (process "));
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
