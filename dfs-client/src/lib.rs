//! The client of dfs: everything between the kernel's requests and the servers.

pub mod cache;
pub mod recovered;
