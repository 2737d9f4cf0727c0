//! One machine's side of dfs: session, metadata cache, leases, whole-file cache and POSIX calls.
//!
//! [`vfs::Vfs`] is what a FUSE driver, a command or a library calls. It decides nothing about
//! other clients itself: the rules are in `dfs-core`, the truth is at the server.

pub mod cache;
mod change;
pub mod client;
pub mod clock;
pub mod config;
pub mod content;
mod deferred;
pub mod interrupt;
mod invalidate;
pub mod kernel;
mod late;
pub mod locks;
pub mod metadata;
pub mod metrics;
pub mod recovered;
mod removals;
pub mod rpc;
pub mod session;
mod steps;
pub mod vfs;
pub mod waiting;
