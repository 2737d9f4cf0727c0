//! Messages of a body that is received.

use super::{Bulk, DATA, PREFIX};
use crate::status;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Body as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use tonic::Status;
use tonic::body::Body;

/// A stream of messages. A payload is the memory into which it was received, if it came in one piece.
pub struct Receiving<M> {
    body: Body,
    /// What has come and belongs to no message yet.
    have: Rope,
    longest: usize,
    message: PhantomData<fn() -> M>,
}

impl<M: Bulk> Receiving<M> {
    /// Messages of up to `longest` bytes.
    pub(super) fn new(body: Body, longest: usize) -> Receiving<M> {
        Receiving { body, have: Rope::default(), longest, message: PhantomData }
    }

    /// The next message; none at a good end.
    ///
    /// Errors: the status with which the call ended; `Unavailable` if it ended within a message;
    /// `OutOfRange` for one that is too long; `Internal` for one that is none.
    pub async fn message(&mut self) -> Result<Option<M>, Status> {
        let cut_off = || status::ended("a message was cut off");
        if !self.gather(PREFIX).await? {
            return if self.have.len == 0 { Ok(None) } else { Err(cut_off()) };
        }
        let (compressed, len) = (self.have.get_u8() != 0, self.have.get_u32() as usize);
        if compressed {
            return Err(status::internal("a compressed message"));
        }
        if len > self.longest {
            return Err(status::too_long(len));
        }
        if !self.gather(len).await? {
            return Err(cut_off());
        }
        let message = decode((&mut self.have).take(len));
        message.map(Some).map_err(|error| status::internal(&error.to_string()))
    }

    /// Receives until there are `len` bytes; false: the body ends before.
    async fn gather(&mut self, len: usize) -> Result<bool, Status> {
        while self.have.len < len {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            let Some(frame) = frame.transpose()? else { return Ok(false) };
            match frame.into_data() {
                Ok(data) => self.have.push(data),
                Err(frame) => {
                    if let Some(failure) = frame.trailers_ref().and_then(status::of_trailers) {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// Reads a message (protocol buffers, "Encoding"): the payload is taken as it is, the rest is decoded
/// as usual.
fn decode<M: Bulk>(mut message: impl Buf) -> Result<M, prost::DecodeError> {
    let (mut rest, mut payload) = (BytesMut::new(), Bytes::new());
    while message.has_remaining() {
        let (field, wire_type) = decode_key(&mut message)?;
        if wire_type != WireType::LengthDelimited {
            encode_key(field, wire_type, &mut rest);
            let value = match wire_type {
                WireType::Varint => {
                    encode_varint(decode_varint(&mut message)?, &mut rest);
                    continue;
                }
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                // A group, which nothing of ours has: the decoder refuses it or passes over it.
                _ => message.remaining(),
            };
            rest.put((&mut message).take(value));
            continue;
        }
        let len = decode_varint(&mut message)?;
        // One that is too long is refused by the decoder.
        let value = message.copy_to_bytes(len.min(message.remaining() as u64) as usize);
        if field == DATA && value.len() as u64 == len {
            payload = value;
        } else {
            encode_key(field, wire_type, &mut rest);
            encode_varint(len, &mut rest);
            rest.put(value);
        }
    }
    let mut message = M::decode(rest)?;
    *message.data() = payload;
    Ok(message)
}

/// Bytes in pieces.
#[derive(Default)]
struct Rope {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Rope {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advanced over the end");
        self.len -= count;
        while let Some(piece) = self.pieces.front_mut().filter(|_| count > 0) {
            let now = count.min(piece.len());
            piece.advance(now);
            count -= now;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Without copying if they are in one piece.
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        assert!(count <= self.len, "took more than there is");
        match self.pieces.front_mut().filter(|piece| piece.len() >= count) {
            Some(piece) => {
                let bytes = piece.slice(..count);
                self.advance(count);
                bytes
            }
            None => {
                let mut bytes = BytesMut::with_capacity(count);
                bytes.put(self.take(count));
                bytes.freeze()
            }
        }
    }
}
