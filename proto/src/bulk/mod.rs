//! Messages that carry many bytes, sent and received without copying those: gRPC's own encoder puts
//! each message together in new memory, and its decoder does so once more.
//!
//! On the wire a message is a prefix (gRPC over HTTP/2, "Length-Prefixed-Message") and fields in any
//! order. What is sent is the same that the generated code would make, but for the order of the fields:
//! the payload goes last, as it is, behind a head with everything else. What is received may have it
//! anywhere.

mod around;
mod receiving;
mod sending;

pub use around::{Handed, Keeping, Passing, WithBody};
pub use receiving::Receiving;
pub use sending::Sending;

use crate::v1::{CreateObjectReq, ReadObjectRep};
use bytes::Bytes;
use prost::Message;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The field of the payload.
const DATA: u32 = 2;

/// A message with a payload in its field 2, `data`.
pub trait Bulk: Message + Default {
    /// The payload.
    fn data(&mut self) -> &mut Bytes;
}

impl Bulk for CreateObjectReq {
    fn data(&mut self) -> &mut Bytes {
        &mut self.data
    }
}

impl Bulk for ReadObjectRep {
    fn data(&mut self) -> &mut Bytes {
        &mut self.data
    }
}

#[cfg(test)]
mod tests;
