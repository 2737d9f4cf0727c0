//! `mount -o remount,...`: changes flags of an existing mount.
//!
//! The kernel holds the truth here: a super block that is read-only lets no change through to the
//! daemon, and it cannot become so while a file is open for writing. As closing a file commits it,
//! nothing is left unsaved then. The other way works only for a daemon that was started for writing.

use crate::cli::MountArgs;
use crate::exit::{Failure, Result};
use crate::options::{KernelFlags, Options};
use crate::{mountinfo, registry};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use std::path::Path;

/// Remounts as the options say. Options of the client itself cannot be changed; mount(8) repeats
/// those of fstab, so they are not refused.
pub fn run(args: &MountArgs) -> Result<()> {
    let place = args.mountpoint.display();
    let mountpoint = args
        .mountpoint
        .canonicalize()
        .map_err(|e| Failure::mount(format!("mount point {place} cannot be used: {e}")))?;
    if mountinfo::find(&mountpoint).is_none_or(|m| m.fstype != mountinfo::FSTYPE) {
        return Err(Failure::mount(format!("no dfs is mounted on {place}")));
    }
    let started_read_only = registry::find(&mountpoint).is_some_and(|found| found.holder.read_only);
    if !args.options.read_only && started_read_only {
        return Err(Failure::mount(format!(
            "{place} was mounted read-only: unmount it and mount it for writing"
        )));
    }
    if args.fake {
        return Ok(());
    }
    apply(&mountpoint, flags(&args.options))
}

/// Makes a mount read-only, all else as by default.
pub fn read_only(mountpoint: &Path) -> Result<()> {
    apply(mountpoint, MsFlags::MS_RDONLY)
}

fn apply(mountpoint: &Path, flags: MsFlags) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, mountpoint, none, flags | MsFlags::MS_REMOUNT, none).map_err(|error| {
        let why = match error {
            Errno::EBUSY => "a file is open for writing".to_owned(),
            other => other.desc().to_lowercase(),
        };
        Failure::mount(format!("cannot remount {}: {why}", mountpoint.display()))
    })
}

fn flags(options: &Options) -> MsFlags {
    let KernelFlags { dev, suid, exec, noatime, sync, dirsync } = options.flags;
    let mut flags = MsFlags::empty();
    for (flag, set) in [
        (MsFlags::MS_RDONLY, options.read_only),
        (MsFlags::MS_NODEV, dev == Some(false)),
        (MsFlags::MS_NOSUID, suid == Some(false)),
        (MsFlags::MS_NOEXEC, exec == Some(false)),
        (MsFlags::MS_NOATIME, noatime),
        (MsFlags::MS_SYNCHRONOUS, sync),
        (MsFlags::MS_DIRSYNC, dirsync),
    ] {
        flags.set(flag, set);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_mount() {
        let mut options = Options::default();
        assert_eq!(flags(&options), MsFlags::empty());
        options.add("remount,ro,nodev,nosuid,noexec,noatime,sync,dirsync", false).unwrap();
        let all = MsFlags::MS_RDONLY
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME
            | MsFlags::MS_SYNCHRONOUS
            | MsFlags::MS_DIRSYNC;
        assert_eq!(flags(&options), all);
    }
}
