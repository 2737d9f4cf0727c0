//! Tests through real mounts: a server, daemons, the kernel. See `dfs_tests` for what they stand on.

mod budgets;
mod data;
mod gone;
mod leases;
mod names;
mod server;
