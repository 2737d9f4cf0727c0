//! `umount.fuse.dfs`: unmounts, and waits until the daemon has saved everything and is gone. The
//! kernel alone would let umount(8) return before that.

use crate::cli::UnmountArgs;
use crate::exit::{Failure, Result};
use crate::registry::{self, Found};
use crate::{mountinfo, mounting, remount};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::path::Path;
use std::time::Duration;

/// When the user is told that we wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for the daemon; longer than it tries to save.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Unmounts as told. Fails with exit code 32 if the mount is in use, or if the daemon still saves
/// after [`WAIT_MAX`].
pub fn run(args: &UnmountArgs) -> Result<()> {
    // A dead mount has no canonical path; it has no daemon to wait for either.
    let mountpoint = args.mountpoint.canonicalize().unwrap_or_else(|_| args.mountpoint.clone());
    let daemon = registry::find(&mountpoint);
    let mut flags = MntFlags::empty();
    flags.set(MntFlags::MNT_FORCE, args.force);
    flags.set(MntFlags::MNT_DETACH, args.lazy);
    match umount2(&mountpoint, flags) {
        Ok(()) => {}
        Err(Errno::EPERM) if !args.force => end_as_user(&mountpoint, args.lazy)?,
        Err(Errno::EBUSY) if args.read_only => {
            eprintln!("dfs-fuse: {} is in use, it becomes read-only", mountpoint.display());
            return remount::read_only(&mountpoint);
        }
        Err(error) => return Err(failed(&mountpoint, error)),
    }
    if args.verbose {
        println!("{} unmounted", mountpoint.display());
    }
    match daemon {
        Some(daemon) if !args.lazy => wait(&daemon, &mountpoint),
        _ => Ok(()),
    }
}

fn end_as_user(mountpoint: &Path, lazy: bool) -> Result<()> {
    // The helper of users does not say why it fails.
    if mountinfo::find(mountpoint).is_none() {
        return Err(failed(mountpoint, Errno::EINVAL));
    }
    let end = if lazy { mounting::detach } else { mounting::unmount };
    end(mountpoint).map_err(|e| {
        let errno = e.raw_os_error().map_or(Errno::EPERM, Errno::from_raw);
        failed(mountpoint, errno)
    })
}

fn failed(mountpoint: &Path, error: Errno) -> Failure {
    let why = match error {
        Errno::EBUSY => "it is in use".to_owned(),
        Errno::EINVAL => "nothing is mounted there".to_owned(),
        other => other.desc().to_lowercase(),
    };
    Failure::mount(format!("cannot unmount {}: {why}", mountpoint.display()))
}

fn wait(found: &Found, mountpoint: &Path) -> Result<()> {
    let (pid, place) = (found.holder.pid, mountpoint.display());
    if found.wait(PATIENCE) {
        return Ok(());
    }
    eprintln!("dfs-fuse: {place} is unmounted, waiting for process {pid} to save changes");
    if found.wait(WAIT_MAX - PATIENCE) {
        return Ok(());
    }
    Err(Failure::mount(format!(
        "{place} is unmounted, but process {pid} has not saved all changes after {} s",
        WAIT_MAX.as_secs()
    )))
}
