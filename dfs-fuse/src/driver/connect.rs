//! What we agree with the kernel when the mount begins (PROTOCOL 5.1; FUSE.md 1 and 4).

use fuser::{InitFlags, KernelConfig};

/// Largest write of one request, and with it the largest read: what Linux allows.
const MAX_WRITE: u32 = 1 << 20;
/// Requests of the background (read-ahead, asynchronous direct I/O) that may run at once.
const MAX_BACKGROUND: u16 = 128;

/// Never among them: WRITEBACK_CACHE (the kernel would not believe our sizes), AUTO_INVAL_DATA (it
/// would drop our pages after our own commits), EXPLICIT_INVAL_DATA (the kernel would believe a new
/// size before the page with the old end is gone, and readers would see zeros between the two; see
/// docs/design/0008), DIRECT_IO_ALLOW_MMAP (PROTOCOL 4.6), NO_OPEN, and
/// what fuser cannot parse.
const WANTED: &[(InitFlags, &str)] = &[
    (InitFlags::FUSE_ASYNC_READ, "reads are slower"),
    (InitFlags::FUSE_ASYNC_DIO, "direct reads and writes are slower"),
    (InitFlags::FUSE_ATOMIC_O_TRUNC, "a crash right after open(O_TRUNC) can leave an empty file"),
    (InitFlags::FUSE_PARALLEL_DIROPS, "lookups in one directory wait for each other"),
    (InitFlags::FUSE_HANDLE_KILLPRIV_V2, "every write asks for an extended attribute"),
    (InitFlags::FUSE_DO_READDIRPLUS, "listings with attributes are slower"),
    (InitFlags::FUSE_READDIRPLUS_AUTO, "listings without attributes are slower"),
    (InitFlags::FUSE_CACHE_SYMLINKS, "symbolic links are slower"),
    (InitFlags::FUSE_POSIX_ACL, "access control lists are checked by the server only"),
    (InitFlags::FUSE_DONT_MASK, "default access control lists do not replace the umask"),
    (InitFlags::FUSE_POSIX_LOCKS, "fcntl locks reach this machine only"),
    (InitFlags::FUSE_FLOCK_LOCKS, "flock locks reach this machine only"),
    (
        InitFlags::FUSE_EXPORT_SUPPORT,
        "open_by_handle_at(2) finds only what the kernel has in memory",
    ),
];

/// Asks for everything wanted; what the kernel lacks is logged once, with what follows from it.
pub fn configure(config: &mut KernelConfig) {
    for (flag, without) in WANTED {
        if config.add_capabilities(*flag).is_err() {
            tracing::warn!(?flag, "this kernel lacks a FUSE feature: {without}");
        }
    }
    // Both only fail for values out of the range fuser supports.
    if config.set_max_write(MAX_WRITE).is_err()
        || config.set_max_background(MAX_BACKGROUND).is_err()
    {
        tracing::warn!("could not set the sizes of requests");
    }
}
