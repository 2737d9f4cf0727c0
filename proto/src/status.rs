//! `tonic::Status`: transport trouble only, never a result of the file system.

use crate::v1::Unread;
use dfs_core::{Code, FsError};
use tonic::Status;
use tonic::codegen::http::HeaderMap;

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

/// The stream of calls has ended; what became of the calls under way is unknown.
pub fn ended(why: &str) -> Status {
    Status::unavailable(why)
}

/// The peer broke the protocol, or met a bug of its own.
pub fn internal(why: &str) -> Status {
    Status::internal(why)
}

/// The failure that the end of a reply tells of.
pub fn of_trailers(trailers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(trailers).filter(|status| status.code() != tonic::Code::Ok)
}

/// The peer sent a message of so many bytes, more than is taken.
pub fn too_long(len: usize) -> Status {
    Status::out_of_range(format!("a message of {len} bytes"))
}

/// A call that this server does not know.
pub fn unknown_call() -> Status {
    Status::unimplemented("a call that this server does not know")
}

/// What a server says of one call of a stream that it could not carry out.
pub fn to_unread(status: &Status) -> Unread {
    Unread { code: status.code().into(), message: status.message().to_owned() }
}

/// The status of a call that the server could not carry out.
pub fn from_unread(unread: Unread) -> Status {
    Status::new(tonic::Code::from(unread.code), unread.message)
}
