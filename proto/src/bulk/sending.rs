//! Bodies of messages that are sent.

use super::{Bulk, DATA, PREFIX};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::codegen::http::{HeaderMap, HeaderValue};
use tonic::codegen::tokio_stream::Stream;

/// The body of a call: a stream of messages.
pub struct Sending<S> {
    messages: S,
    ready: VecDeque<Bytes>,
    /// What a reply ends with.
    trailers: Option<HeaderMap>,
}

impl<S> Sending<S> {
    /// The messages of a request.
    pub fn request(messages: S) -> Sending<S> {
        Sending { messages, ready: VecDeque::new(), trailers: None }
    }

    /// The messages of a reply that ends well: what went wrong is said in a message.
    pub fn reply(messages: S) -> Sending<S> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Sending { trailers: Some(trailers), ..Sending::request(messages) }
    }
}

impl<M: Bulk, S: Stream<Item = M> + Unpin> Body for Sending<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ready.is_empty()
            && let Some(message) = ready!(Pin::new(&mut self.messages).poll_next(cx))
        {
            let (head, data) = split(message);
            self.ready.extend([head, data].into_iter().filter(|part| !part.is_empty()));
        }
        let frame = match self.ready.pop_front() {
            Some(part) => Some(Frame::data(part)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }
}

/// A message as it is sent: everything else, and the payload.
pub(super) fn split<M: Bulk>(mut message: M) -> (Bytes, Bytes) {
    let data = std::mem::take(message.data());
    let mut head = BytesMut::from(&[0; PREFIX][..]);
    head.reserve(message.encoded_len() + 2 * 10);
    // There is room for it.
    let _ = message.encode(&mut head);
    if !data.is_empty() {
        encode_key(DATA, WireType::LengthDelimited, &mut head);
        encode_varint(data.len() as u64, &mut head);
    }
    let len = head.len() - PREFIX + data.len();
    head[1..PREFIX].copy_from_slice(&(len as u32).to_be_bytes());
    (head.freeze(), data)
}
