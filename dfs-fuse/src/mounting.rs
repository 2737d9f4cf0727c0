//! Mount points, and the options the kernel gets.

use crate::cli::MountArgs;
use crate::exit::{Failure, Result};
use crate::mountinfo;
use fuser::{Config, MountOption, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Most threads that read requests: more bring nothing (FUSE.md 3).
const THREADS_MAX: usize = 4;
/// Least: one may wait for the disk.
const THREADS_MIN: usize = 2;
/// Dead mounts that may lie on top of each other on one mount point.
const DEAD_MAX: usize = 8;
/// Bytes the kernel reads ahead, in KiB: the size of the largest request.
const READ_AHEAD_KIB: u32 = 1024;

/// Checks a mount point and makes its path canonical. Dead mounts on it are taken away first.
pub fn prepare(path: &Path) -> Result<PathBuf> {
    let fail = |why: String| Failure::mount(format!("mount point {} {why}", path.display()));
    for _ in 0..DEAD_MAX {
        match look_at(path) {
            Ok(meta) if meta.is_dir() => {
                return path.canonicalize().map_err(|e| fail(format!("cannot be used: {e}")));
            }
            Ok(_) => return Err(fail("is not a directory".to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(fail("does not exist".to_owned()));
            }
            Err(e) if is_dead(&e) => {
                detach(path)
                    .map_err(|e| fail(format!("holds a dead mount that cannot be removed: {e}")))?;
            }
            Err(e) => return Err(fail(format!("cannot be used: {e}"))),
        }
    }
    Err(fail("holds too many dead mounts".to_owned()))
}

/// What is at `path`. The kernel may still know the attributes of a dead mount's root, so one of ours
/// is asked something that only its daemon can answer.
fn look_at(path: &Path) -> std::io::Result<std::fs::Metadata> {
    let meta = std::fs::metadata(path)?;
    if mountinfo::find(path).is_some_and(|m| m.fstype == mountinfo::FSTYPE) {
        nix::sys::statvfs::statvfs(path)?;
    }
    Ok(meta)
}

/// Whether nobody serves a mount any more; ECONNABORTED is seen while its daemon is dying.
fn is_dead(error: &std::io::Error) -> bool {
    let dead = [Errno::ENOTCONN, Errno::ECONNABORTED];
    error.raw_os_error().is_some_and(|errno| dead.contains(&Errno::from_raw(errno)))
}

/// Fails if the same source is mounted there already.
pub fn refuse_twice(source: &str, mountpoint: &Path) -> Result<()> {
    match mountinfo::find(mountpoint) {
        Some(m) if m.fstype == mountinfo::FSTYPE && m.source.to_str() == Some(source) => {
            let place = mountpoint.display();
            Err(Failure::mount(format!("{source} is already mounted on {place}")))
        }
        _ => Ok(()),
    }
}

/// Why a mount failed and what to do about it, in one line.
pub fn explain(error: &std::io::Error) -> String {
    let text = error.to_string();
    // fusermount3 may warn first, of a missing /etc/mtab for one; what stopped it comes last.
    let why = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let hint = match error.kind() {
        _ if why.starts_with("fusermount3:") && !why.contains("/dev/fuse") => "",
        std::io::ErrorKind::NotFound => {
            " (is the kernel module fuse loaded, and fusermount3 installed?)"
        }
        std::io::ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => {
            " (users need fusermount3, and the right to open /dev/fuse: as root, chmod 666 /dev/fuse)"
        }
        _ => "",
    };
    format!("{why}{hint}")
}

/// Ends a mount that nobody uses.
pub fn unmount(mountpoint: &Path) -> std::io::Result<()> {
    end(mountpoint, MntFlags::empty(), "-u")
}

/// Takes a mount out of the tree; it ends when its last user is gone.
pub fn detach(mountpoint: &Path) -> std::io::Result<()> {
    end(mountpoint, MntFlags::MNT_DETACH, "-uz")
}

fn end(mountpoint: &Path, flags: MntFlags, fusermount: &str) -> std::io::Result<()> {
    match umount2(mountpoint, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        // Users may not unmount; the helper that mounted for them may.
        Err(Errno::EPERM) => {
            let mut command = Command::new("fusermount3");
            command.args([fusermount, "--"]).arg(mountpoint).stdin(Stdio::null());
            match command.stdout(Stdio::null()).stderr(Stdio::null()).status()? {
                status if status.success() => Ok(()),
                _ => Err(Errno::EBUSY.into()),
            }
        }
        Err(e) => Err(e.into()),
    }
}

/// Threads that read requests: not more than processors, for the kernel wakes them in turn, and each finds
/// the caches of its processor filled by the others.
fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(THREADS_MAX, |n| n.get());
    processors.clamp(THREADS_MIN, THREADS_MAX)
}

/// The session fuser shall make. Root lets others in and honours devices and set-user-id files, as
/// mount(8) does for other file systems; users do not.
pub fn config(args: &MountArgs) -> Config {
    let root = nix::unistd::geteuid().is_root();
    let (options, flags) = (&args.options, &args.options.flags);
    let mut list = vec![
        MountOption::FSName(args.source_text.clone()),
        // fuser passes `Subtype` on to fusermount3 only.
        MountOption::CUSTOM("subtype=dfs".to_owned()),
        MountOption::DefaultPermissions,
    ];
    let mut choose = |yes, on, off| list.push(if yes { on } else { off });
    choose(options.read_only, MountOption::RO, MountOption::RW);
    choose(flags.dev.unwrap_or(root), MountOption::Dev, MountOption::NoDev);
    choose(flags.suid.unwrap_or(root), MountOption::Suid, MountOption::NoSuid);
    choose(flags.exec.unwrap_or(true), MountOption::Exec, MountOption::NoExec);
    for (set, option) in [
        (flags.noatime, MountOption::NoAtime),
        (flags.sync, MountOption::Sync),
        (flags.dirsync, MountOption::DirSync),
    ] {
        if set {
            list.push(option);
        }
    }
    let mut config = Config::default();
    config.mount_options = list;
    config.acl =
        if options.allow_other.unwrap_or(root) { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(threads());
    config.clone_fd = true;
    config
}

/// Lets the kernel read ahead as much as one request can carry; it begins with an eighth of that.
/// Only root may, and nothing breaks without.
pub fn raise_read_ahead(mountpoint: &Path) {
    let Some(mounted) = mountinfo::find(mountpoint) else { return };
    let knob = format!("/sys/class/bdi/{}/read_ahead_kb", mounted.device);
    if let Err(error) = std::fs::write(&knob, READ_AHEAD_KIB.to_string()) {
        tracing::debug!(knob, %error, "read-ahead stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(options: &str) -> MountArgs {
        let line = ["dfs-fuse", "h:1/d", "/mnt", "-o", options].map(std::ffi::OsString::from);
        match crate::cli::parse(line).unwrap() {
            crate::cli::Invocation::Mount(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn config_names_type_and_source_and_never_contradicts_itself() {
        let config = config(&args("ro,nodev,suid,noexec,noatime,sync,dirsync,noallow_other"));
        for option in [
            MountOption::FSName("h:1/d".to_owned()),
            MountOption::CUSTOM("subtype=dfs".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::RO,
            MountOption::NoDev,
            MountOption::Suid,
            MountOption::NoExec,
            MountOption::NoAtime,
            MountOption::Sync,
            MountOption::DirSync,
        ] {
            assert!(config.mount_options.contains(&option), "{option:?}");
        }
        assert_eq!(config.mount_options.len(), 10);
        assert_eq!((config.acl, config.n_threads), (SessionACL::Owner, Some(threads())));
        let plain = super::config(&args("allow_other"));
        assert!(plain.mount_options.contains(&MountOption::RW) && plain.clone_fd);
        assert_eq!(plain.acl, SessionACL::All);
    }

    #[test]
    fn failures_of_fusermount_are_one_line() {
        use std::io::{Error, ErrorKind};
        let said = "fusermount3: failed to open /etc/mtab\nfusermount3: option not allowed\n";
        let error = Error::new(ErrorKind::PermissionDenied, said);
        assert_eq!(explain(&error), "fusermount3: option not allowed");
        assert!(explain(&Error::from_raw_os_error(2)).ends_with("fusermount3 installed?)"));
    }

    #[test]
    fn prepare_names_what_is_wrong_with_a_mount_point() {
        let folder = tempfile::tempdir().unwrap();
        let missing = prepare(&folder.path().join("none")).unwrap_err();
        assert!(missing.message.ends_with("none does not exist"), "{missing}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(prepare(&file).unwrap_err().message.ends_with("file is not a directory"));
        let dotted = folder.path().join(".");
        assert_eq!(prepare(&dotted).unwrap(), folder.path().canonicalize().unwrap());
    }
}
