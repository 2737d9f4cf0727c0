//! Objects of the file store: written once, read in parts, checked on the way (PROTOCOL 6).

use super::backoff::Attempts;
use super::{Rpc, Verb};
use crate::interrupt;
use bytes::Bytes;
use dfs_core::access::Credentials;
use dfs_core::extent::ObjectName;
use dfs_core::limits::{CHUNK, MESSAGE_MAX};
use dfs_core::{Code, FsError, Result};
use dfs_proto::call::Reply;
use dfs_proto::{convert, status, v1};
use std::time::Duration;
use tokio::time::timeout;

/// An object of one stripe that takes longer to write than this is written anew.
const WRITE: Duration = Duration::from_secs(60);
/// The next piece of an object comes within this time.
const PIECE: Duration = Duration::from_secs(10);

impl Rpc {
    /// Writes an object of 1 byte to the stripe unit and returns when it is durable. Errors:
    /// `NoSpace`; else as [`call`](Rpc::call).
    pub async fn create_object(
        &self,
        who: &Credentials,
        name: ObjectName,
        bytes: Bytes,
    ) -> Result<()> {
        let mut attempts = Attempts::new(self);
        let mut doubtful = false;
        loop {
            let identity = attempts.ready().await?;
            let header = v1::ObjectHeader {
                name: Some(convert::object_to(name)),
                len: bytes.len() as u64,
                caller: Some(self.caller(identity, None, who)),
            };
            let messages = tokio_stream::iter(messages(header, bytes.clone()));
            self.metrics.sent(Verb::CreateObject);
            let mut store = self.channels.file_store_sending(messages);
            // The generated client makes a body of its own, which is replaced.
            let sent = timeout(WRITE, Box::pin(store.create(tokio_stream::empty()))).await;
            let failure = match sent {
                Err(_) => FsError::new(Code::Unavailable, "no answer to an object in time"),
                Ok(Err(s)) => status::to_error(&s),
                Ok(Ok(reply)) => match reply.into_inner().into_result() {
                    Ok(_) => return Ok(()),
                    // An earlier attempt arrived: names are never used for other bytes.
                    Err(e) if e.code == Code::Exists && doubtful => return Ok(()),
                    Err(e) => {
                        attempts.again(identity.sid, e).await?;
                        continue;
                    }
                },
            };
            doubtful = true;
            attempts.again(identity.sid, failure).await?;
        }
    }

    /// Reads `len` bytes of an object from `off` on and checks them. Errors: `NotFound`;
    /// `BadChecksum`; else as [`call`](Rpc::call).
    pub async fn read_object(
        &self,
        who: &Credentials,
        name: ObjectName,
        off: u64,
        len: u64,
    ) -> Result<Bytes> {
        Ok(Bytes::from(self.read_object_in_pieces(who, name, off, len).await?.concat()))
    }

    /// As [`read_object`](Rpc::read_object), with the bytes in the pieces in which they came.
    pub async fn read_object_in_pieces(
        &self,
        who: &Credentials,
        name: ObjectName,
        off: u64,
        len: u64,
    ) -> Result<Vec<Bytes>> {
        let mut attempts = Attempts::new(self);
        // What arrived before a failure is good: objects never change.
        let (mut have, mut pieces) = (0, Vec::new());
        loop {
            let identity = attempts.ready().await?;
            let request = v1::ReadObjectReq {
                name: Some(convert::object_to(name)),
                off: off + have,
                len: len - have,
                caller: Some(self.caller(identity, None, who)),
            };
            self.metrics.sent(Verb::ReadObject);
            let take = |piece: Bytes| {
                have += piece.len() as u64;
                pieces.push(piece);
            };
            match interrupt::wait(Box::pin(self.read_pieces(request, take))).await? {
                Ok(()) => return Ok(pieces),
                Err(failure) => attempts.again(identity.sid, failure).await?,
            }
        }
    }

    /// Reads until all is there.
    async fn read_pieces(
        &self,
        request: v1::ReadObjectReq,
        mut take: impl FnMut(Bytes),
    ) -> Result<()> {
        let late = |_| FsError::new(Code::Unavailable, "no piece of an object in time");
        let mut wanted = request.len;
        let (mut store, body) = self.channels.file_store_receiving();
        let accepted = timeout(PIECE, store.read(request)).await.map_err(late)?;
        accepted.map_err(|s| status::to_error(&s))?;
        let mut stream = body.received::<v1::ReadObjectRep>(MESSAGE_MAX);
        while wanted > 0 {
            let piece = timeout(PIECE, stream.message()).await.map_err(late)?;
            let piece = piece.map_err(|s| status::to_error(&s))?;
            let cut = || FsError::new(Code::Unavailable, "an object ended early");
            let piece = piece.ok_or_else(cut)?.into_result()?;
            if crc32c::crc32c(&piece.data) != piece.crc {
                return Err(FsError::new(
                    Code::BadChecksum,
                    "a piece of an object was damaged on the way",
                ));
            }
            let len = piece.data.len() as u64;
            if len == 0 || len > wanted {
                return Err(FsError::new(Code::Invalid, "a piece of an object has a wrong length"));
            }
            wanted -= len;
            take(piece.data);
        }
        Ok(())
    }
}

/// The messages of one attempt, made as they are sent.
fn messages(
    header: v1::ObjectHeader,
    bytes: Bytes,
) -> impl Iterator<Item = v1::CreateObjectReq> + Send + 'static {
    let mut header = Some(header);
    chunks(bytes).map(move |data| v1::CreateObjectReq {
        header: header.take(),
        crc: crc32c::crc32c(&data),
        data,
    })
}

/// Cuts bytes at the size of a message.
fn chunks(mut bytes: Bytes) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || {
        let len = bytes.len().min(CHUNK);
        (len > 0).then(|| bytes.split_to(len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cut_at_the_size_of_a_message() {
        let piece = Bytes::from(vec![1; CHUNK * 2 + 1]);
        assert_eq!(chunks(piece).map(|c| c.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, 1]);
        assert_eq!(chunks(Bytes::new()).count(), 0);
    }
}
