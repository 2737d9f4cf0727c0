//! The mount: translates kernel requests into calls of [`dfs_client::vfs::Vfs`] and answers them.
//!
//! Nothing about files is decided here. What this crate owns: the command line of `dfs-fuse` and of
//! the mount(8) and umount(8) helpers ([`cli`]), becoming a daemon ([`daemonize`], [`daemon`]), whose
//! cache is whose ([`registry`], [`holder`]), the
//! translation ([`driver`], [`attr`]), telling the kernel what to forget ([`notifier`]), ending
//! requests whose caller got a signal ([`waitlist`]), and staying awake for the next one ([`lookout`]).

pub mod attr;
pub mod callers;
pub mod cli;
pub mod daemon;
pub mod daemonize;
pub mod driver;
pub mod exit;
pub mod fstab;
pub mod help;
pub mod holder;
pub mod logs;
pub mod lookout;
pub mod mountinfo;
pub mod mounting;
pub mod notifier;
pub mod options;
pub mod place;
pub mod reach;
pub mod registry;
pub mod remount;
pub mod signals;
pub mod source;
pub mod task_status;
pub mod unmount;
pub mod waitlist;
