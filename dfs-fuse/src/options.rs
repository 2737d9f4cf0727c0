//! The option list of a mount (`-o`).

mod parse;
mod value;

use dfs_client::config::{Patience, RdwrLease, Reads};
use dfs_core::limits::LEASE_WAIT_MAX;
use std::path::PathBuf;
use std::time::Duration;

/// Least size of a cache: room for the files one program works on.
pub const CACHE_MIN: u64 = 64 << 20;

/// What the user chose; `None`: decided at mount time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `cache=DIR`.
    pub cache: Option<PathBuf>,
    /// `cache_size=SIZE` in bytes, at least [`CACHE_MIN`].
    pub cache_bytes: Option<u64>,
    /// `ro` or `rw`.
    pub read_only: bool,
    /// `hard` or `soft[=SECONDS]`.
    pub patience: Patience,
    /// `reads=follow|snapshot`.
    pub reads: Reads,
    /// `rdwr_lease=try|open`.
    pub rdwr_lease: RdwrLease,
    /// `rwlock=on|off`.
    pub rwlock: bool,
    /// `passthrough=on|off`.
    pub passthrough: bool,
    /// `lease_wait=SECONDS`.
    pub lease_wait: Duration,
    /// `allow_other` or `noallow_other`.
    pub allow_other: Option<bool>,
    /// `log=LEVEL`, or a filter of `tracing`.
    pub log: String,
    /// `log_file=PATH`.
    pub log_file: Option<PathBuf>,
    /// `remount`: change an existing mount.
    pub remount: bool,
    /// What the kernel alone looks at.
    pub flags: KernelFlags,
}

/// Flags of mount(2); `None`: the default of the mounting user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelFlags {
    /// `dev` or `nodev`.
    pub dev: Option<bool>,
    /// `suid` or `nosuid`.
    pub suid: Option<bool>,
    /// `exec` or `noexec`.
    pub exec: Option<bool>,
    /// `noatime`.
    pub noatime: bool,
    /// `sync` or `async`.
    pub sync: bool,
    /// `dirsync`.
    pub dirsync: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache: None,
            cache_bytes: None,
            read_only: false,
            patience: Patience::Hard,
            reads: Reads::Follow,
            rdwr_lease: RdwrLease::Try,
            rwlock: false,
            passthrough: true,
            lease_wait: LEASE_WAIT_MAX,
            allow_other: None,
            log: "info".to_owned(),
            log_file: None,
            remount: false,
            flags: KernelFlags::default(),
        }
    }
}

#[cfg(test)]
mod tests;
