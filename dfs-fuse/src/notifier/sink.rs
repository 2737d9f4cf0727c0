//! Sending one notification to the kernel.

use crate::attr::Numbers;
use dfs_client::kernel::StaleEntry;
use dfs_core::Ino;
use dfs_core::range::Range;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the epoch notification (`FUSE_NOTIFY_INC_EPOCH`, Linux 6.16); it has no body.
const INC_EPOCH: i32 = 8;
/// Errors of a device whose mount is gone.
const GONE: [i32; 2] = [nix::libc::ENODEV, nix::libc::ENOTCONN];

/// What the kernel made of an epoch notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Every entry will be revalidated.
    Raised,
    /// This kernel does not know it.
    Unknown,
}

/// Where notifications go. Failures are logged here: nobody could do anything about them.
pub trait Sink: Send + Sync {
    /// Forgets attributes. Never blocks.
    fn attr(&self, ino: Ino);
    /// Raises the epoch. Never blocks.
    fn epoch(&self) -> Epoch;
    /// Forgets a name. May block while the directory is in use.
    fn entry(&self, entry: &StaleEntry);
    /// Forgets the pages of a range, or the listing of a directory. May block while they are read.
    fn pages(&self, ino: Ino, range: Range);
    /// Fills the pages of an inode from its beginning; false: the kernel did not take them. Blocks while
    /// they are read.
    fn give(&self, ino: Ino, bytes: &[u8]) -> bool;
}

/// The kernel behind a `/dev/fuse` descriptor.
pub struct Device {
    notifier: fuser::Notifier,
    device: File,
    numbers: Numbers,
    no_epoch: AtomicBool,
}

impl Device {
    /// `device` is a duplicate of the descriptor of the session that `notifier` belongs to.
    pub fn new(notifier: fuser::Notifier, device: OwnedFd, numbers: Numbers) -> Device {
        Device { notifier, device: device.into(), numbers, no_epoch: AtomicBool::new(false) }
    }
}

impl Sink for Device {
    fn attr(&self, ino: Ino) {
        // A negative offset touches no pages and takes no lock.
        report("inode", self.notifier.inval_inode(self.numbers.to_kernel(ino), -1, 0));
    }

    fn epoch(&self) -> Epoch {
        if self.no_epoch.load(Ordering::Relaxed) {
            return Epoch::Unknown;
        }
        match (&self.device).write(&epoch_message()) {
            Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => {
                self.no_epoch.store(true, Ordering::Relaxed);
                tracing::warn!(
                    "this kernel knows no epoch notification (Linux 6.16): a change of another \
                     client may be seen up to 50 ms late while a directory is busy"
                );
                Epoch::Unknown
            }
            result => {
                report("epoch", result.map(drop));
                Epoch::Raised
            }
        }
    }

    fn entry(&self, entry: &StaleEntry) {
        let dir = self.numbers.to_kernel(entry.dir);
        let name = OsStr::from_bytes(entry.name.as_bytes());
        let result = match entry.deleted {
            Some(child) => self.notifier.delete(dir, self.numbers.to_kernel(child), name),
            None => self.notifier.inval_entry(dir, name),
        };
        report("entry", result);
    }

    fn pages(&self, ino: Ino, range: Range) {
        let off = i64::try_from(range.start).unwrap_or(i64::MAX);
        // Zero: to the end.
        let len = i64::try_from(range.len()).unwrap_or(0);
        report("pages", self.notifier.inval_inode(self.numbers.to_kernel(ino), off, len));
    }

    fn give(&self, ino: Ino, bytes: &[u8]) -> bool {
        let given = self.notifier.store(self.numbers.to_kernel(ino), 0, bytes);
        let taken = given.is_ok();
        report("given pages", given);
        taken
    }
}

/// `struct fuse_out_header` (fuse.h): length, code in place of an error, and no request.
fn epoch_message() -> [u8; 16] {
    let mut message = [0; 16];
    message[0..4].copy_from_slice(&16u32.to_ne_bytes());
    message[4..8].copy_from_slice(&INC_EPOCH.to_ne_bytes());
    message
}

fn report(what: &str, result: std::io::Result<()>) {
    match result {
        Err(e) if e.raw_os_error().is_some_and(|errno| GONE.contains(&errno)) => {}
        // Directories that are mount points or not empty cannot be dropped, only expired.
        Err(error) => tracing::debug!(what, %error, "the kernel refused a notification"),
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_message_is_a_bare_header() {
        let mut want = Vec::new();
        want.extend(16u32.to_ne_bytes());
        want.extend(8u32.to_ne_bytes());
        want.extend(0u64.to_ne_bytes());
        assert_eq!(epoch_message().as_slice(), want);
    }
}
