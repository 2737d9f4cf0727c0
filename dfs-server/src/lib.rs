//! The dfs server: name server and file store in one process.
//!
//! `datadir` owns the folder everything durable lives in, `metastore` the metadata in it,
//! `filestore` the objects in it; `nameserver` decides what they hold and `collect` frees what
//! nothing refers to any more. `rpc` is what clients reach, `server` the process around it all.
//! `dfs-core` has the rules, this crate carries them out.

pub mod cli;
pub mod clock;
pub mod collect;
pub mod datadir;
pub mod disk;
pub mod filestore;
pub mod metastore;
pub mod metrics;
pub mod nameserver;
pub mod rpc;
mod scrape;
pub mod server;
pub mod slice;
