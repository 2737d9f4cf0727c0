//! The wire protocol `dfs.v1` and its conversions to the types of `dfs-core`.
//!
//! [`v1`] is generated from `dfs/v1/*.proto`. [`fail`] is the only place where an [`FsError`]
//! becomes a message, [`status`] the only one that makes or reads a `tonic::Status`.
//!
//! [`FsError`]: dfs_core::FsError

pub mod bulk;
pub mod call;
pub mod convert;
pub mod fail;
pub mod local;
pub mod status;

/// Generated messages and services.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("dfs.v1");
}
