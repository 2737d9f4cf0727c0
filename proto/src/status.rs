//! `tonic::Status`: transport trouble only, never a result of the file system.

use dfs_core::{Code, FsError};
use tonic::Status;

/// What a client makes of a failed transport.
pub fn to_error(status: &Status) -> FsError {
    let code = match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::Invalid,
        tonic::Code::Unimplemented => Code::TooOld,
        tonic::Code::ResourceExhausted => Code::Io,
        tonic::Code::DataLoss => Code::BadChecksum,
        _ => Code::Unavailable,
    };
    FsError::new(code, format!("rpc failed: {:?}: {}", status.code(), status.message()))
}

/// What a server answers to a message it cannot read.
pub fn malformed(error: &FsError) -> Status {
    Status::invalid_argument(error.message.clone())
}

/// What a server answers while it stops.
pub fn stopping() -> Status {
    Status::unavailable("the server is stopping")
}
