//! How a client is set up. Parsed from a mount line by `dfs-fuse`; this file knows no syntax.

use dfs_core::name::Name;
use std::path::PathBuf;
use std::time::Duration;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// What to do while the server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Wait until it does; a signal ends the wait.
    Hard,
    /// Fail with EIO after this time.
    Soft(Duration),
}

/// What an open reader sees when a newer version is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The newer version.
    Follow,
    /// The version at open, until close.
    Snapshot,
}

/// When a file opened read-write takes its write lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdwrLease {
    /// At open if it is free, else at the first write.
    Try,
    /// At open, waiting for it.
    Open,
}

/// Everything a client needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server.
    pub server: Address,
    /// Directory of the server's tree that becomes the root, as names from the real root.
    pub subtree: Vec<Name>,
    /// Folder of the cache on disk; one daemon each.
    pub cache_dir: PathBuf,
    /// Bound of the cache in bytes on disk.
    pub cache_bytes: u64,
    /// Refuse every change with EROFS.
    pub read_only: bool,
    /// What to do while the server does not answer.
    pub patience: Patience,
    /// What open readers see.
    pub reads: Reads,
    /// When read-write opens take the lease.
    pub rdwr_lease: RdwrLease,
    /// Opens for reading take a read lease too.
    pub rwlock: bool,
    /// The kernel may read files of the cache by itself.
    pub passthrough: bool,
    /// Longest wait for a lease.
    pub lease_wait: Duration,
    /// What the server shows of this client: host, mount point, process.
    pub description: String,
}
