//! One machine's side of dfs: session, metadata cache, leases, whole-file cache and POSIX calls.
//!
//! [`vfs::Vfs`] is what a FUSE driver, a command or a library calls. It decides nothing about
//! other clients itself: the rules are in `dfs-core`, the truth is at the server.

pub mod cache;
pub mod config;
pub mod interrupt;
pub mod kernel;
pub mod recovered;
pub mod vfs;
