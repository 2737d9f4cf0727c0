//! Tests through real mounts: a server, daemons, the kernel. See `dfs_tests` for what they stand on.

mod budgets;
mod cache;
mod contention;
mod data;
mod edges;
mod exercise;
mod garbage;
mod gone;
mod install;
mod kills;
mod leases;
mod locks;
mod names;
mod options;
mod permissions;
mod programs;
mod server;
