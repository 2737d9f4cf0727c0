//! The dfs server: name server and file store in one process.

mod metastore;
mod nameserver;

fn main() {}
