//! Messages that carry many bytes, sent without copying those: the bytes of gRPC's own encoder are the
//! same, but it puts each message together in new memory.
//!
//! On the wire a message is a prefix (gRPC over HTTP/2, "Length-Prefixed-Message") and fields in any
//! order. So the payload goes last, as it is, behind a head with everything else.

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use prost::Message;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

use crate::v1::{CreateObjectReq, ReadObjectRep};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A message with a payload in its field 2, `data`.
pub trait Bulk: Message {
    /// Takes the payload out.
    fn take_data(&mut self) -> Bytes;
}

impl Bulk for CreateObjectReq {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

impl Bulk for ReadObjectRep {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

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
fn split<M: Bulk>(mut message: M) -> (Bytes, Bytes) {
    /// Field 2, of a given length (protocol buffers, "Encoding").
    const DATA: u8 = 2 << 3 | 2;
    let data = message.take_data();
    let mut head = BytesMut::from(&[0; PREFIX][..]);
    head.reserve(message.encoded_len() + 1 + 10);
    // There is room for it.
    let _ = message.encode(&mut head);
    if !data.is_empty() {
        head.put_u8(DATA);
        let _ = prost::encode_length_delimiter(data.len(), &mut head);
    }
    let len = head.len() - PREFIX + data.len();
    head[1..PREFIX].copy_from_slice(&(len as u32).to_be_bytes());
    (head.freeze(), data)
}

/// A channel whose next request has another body than the one that a generated client made for it.
pub struct WithBody<C> {
    channel: C,
    body: Option<tonic::body::Body>,
}

impl<C> WithBody<C> {
    /// Sends `body` by `channel`.
    pub fn new<M, S>(channel: C, body: Sending<S>) -> WithBody<C>
    where
        M: Bulk,
        S: Stream<Item = M> + Send + Unpin + 'static,
    {
        WithBody { channel, body: Some(tonic::body::Body::new(body)) }
    }
}

impl<C: Service<Request<tonic::body::Body>>> Service<Request<tonic::body::Body>> for WithBody<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> C::Future {
        let body = self.body.take();
        self.channel.call(request.map(|generated| body.unwrap_or(generated)))
    }
}

/// The body of a reply, handed past a generated server in the extensions of its response.
#[derive(Clone)]
pub struct Replaced(Arc<Mutex<Option<tonic::body::Body>>>);

impl Replaced {
    /// For a response that goes through [`Replacing`].
    pub fn new<M, S>(body: Sending<S>) -> Replaced
    where
        M: Bulk,
        S: Stream<Item = M> + Send + Unpin + 'static,
    {
        Replaced(Arc::new(Mutex::new(Some(tonic::body::Body::new(body)))))
    }
}

/// A service that sends a body handed past it.
#[derive(Clone)]
pub struct Replacing<S>(pub S);

impl<S: NamedService> NamedService for Replacing<S> {
    const NAME: &'static str = S::NAME;
}

impl<R, S> Service<R> for Replacing<S>
where
    S: Service<R, Response = Response<tonic::body::Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let reply = self.0.call(request);
        Box::pin(async move {
            let mut response = reply.await?;
            if let Some(Replaced(body)) = response.extensions_mut().remove() {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Ok(response.map(|generated| body.unwrap_or(generated)));
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined<M: Bulk>(message: M) -> Vec<u8> {
        let (head, data) = split(message);
        [head, data].concat()
    }

    #[test]
    fn bulk_message_is_what_the_encoder_makes_of_it() {
        for len in [0, 1, 127, 128, 70_000] {
            let data = Bytes::from(vec![7; len]);
            let message = ReadObjectRep { fail: None, data, crc: 0x0102_0304 };
            let sent = joined(message.clone());
            let (prefix, body) = sent.split_at(PREFIX);
            assert_eq!(prefix, [&[0][..], &(body.len() as u32).to_be_bytes()].concat());
            assert_eq!(body.len(), message.encoded_len());
            assert_eq!(ReadObjectRep::decode(body).unwrap(), message);
        }
        let header = Some(crate::v1::ObjectHeader { len: 9, ..Default::default() });
        let message = CreateObjectReq { header, crc: 0, data: Bytes::from_static(b"123456789") };
        assert_eq!(CreateObjectReq::decode(&joined(message.clone())[PREFIX..]).unwrap(), message);
    }

    #[test]
    fn bulk_reply_ends_with_its_status() {
        let message = ReadObjectRep { data: Bytes::from_static(b"abc"), ..Default::default() };
        let messages = tonic::codegen::tokio_stream::iter([message.clone(), message]);
        let mut body = Sending::reply(messages);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut frames = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
            frames.push(frame);
        }
        assert_eq!(frames.iter().filter(|frame| frame.is_data()).count(), 4);
        let last = frames.pop().unwrap().into_trailers().unwrap();
        assert_eq!(last.get("grpc-status").unwrap(), "0");
    }
}
