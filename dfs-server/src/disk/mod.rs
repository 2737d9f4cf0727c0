//! What every user of the local disk needs: failures as [`FsError`], folders made durable, and memory to
//! write past the page cache from.

mod aligned;

pub(crate) use aligned::{Aligned, BLOCK};

use dfs_core::{Code, FsError, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A failed call on the server's own disk. Callers act on `NoSpace` (disk or quota is full); all
/// else is `Io`, because an errno of this disk means nothing to the program that called a client.
pub(crate) fn failed(attempt: impl Display, err: &io::Error) -> FsError {
    FsError::new(code_of(err), format!("cannot {attempt}: {err}"))
}

fn code_of(err: &io::Error) -> Code {
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::Io,
    }
}

/// Makes names created in, moved into or removed from `folder` survive a power loss (fsync(2): a
/// sync of a file does not sync its name).
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| failed(format_args!("sync folder {}", folder.display()), &e))
}

/// Whether reads and writes of an open file pass the page cache by (open(2), `O_DIRECT`). Fails where
/// the file system cannot do that.
pub(crate) fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let flags = if direct { OFlag::O_DIRECT } else { OFlag::empty() };
    fcntl(file, FcntlArg::F_SETFL(flags)).map(drop).map_err(io::Error::from)
}

/// Opens a file to be written past the page cache, each write of which survives a power loss when it
/// returns (open(2), `O_DIRECT`, `O_DSYNC`). Fails where the file system cannot do that.
pub(crate) fn open_durable(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECT | OFlag::O_DSYNC;
    OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)
}

/// Bytes of the file system that holds a folder (statvfs(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes it can hold.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
    /// Bytes free for unprivileged users.
    pub available: u64,
}

impl Space {
    /// Of the file system that holds `path`. Fails with `Io`.
    pub fn of(path: &Path) -> Result<Space> {
        let stat = nix::sys::statvfs::statvfs(path)
            .map_err(|e| failed(format_args!("statvfs {}", path.display()), &e.into()))?;
        let unit = stat.fragment_size();
        Ok(Space {
            total: stat.blocks().saturating_mul(unit),
            free: stat.blocks_free().saturating_mul(unit),
            available: stat.blocks_available().saturating_mul(unit),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use tempfile::TempDir;

    /// A file system of a few bytes in memory, unmounted when dropped.
    pub(crate) struct TinyDisk(TempDir);

    impl TinyDisk {
        /// `None`, with a note, without the right to mount.
        pub(crate) fn new(bytes: u64) -> Option<TinyDisk> {
            let dir = tempfile::tempdir().unwrap();
            let options = format!("size={bytes}");
            let options = Some(options.as_str());
            match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), options) {
                Ok(()) => Some(TinyDisk(dir)),
                Err(err) => {
                    eprintln!("not run, cannot mount a tmpfs: {err}");
                    None
                }
            }
        }

        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }
    }

    impl Drop for TinyDisk {
        fn drop(&mut self) {
            // Detached: a failing test may still hold files in it.
            umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
        }
    }

    #[test]
    fn disk_full_is_the_only_code_beside_io() {
        for (errno, code) in
            [(28, Code::NoSpace), (122, Code::NoSpace), (5, Code::Io), (2, Code::Io)]
        {
            let err = failed("try", &io::Error::from_raw_os_error(errno));
            assert_eq!(err.code, code);
            assert!(err.message.starts_with("cannot try: "), "{err}");
        }
    }
}
