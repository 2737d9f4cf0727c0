use super::sending::split;
use super::*;
use http_body::{Body as _, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::tokio_stream;

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
    let messages = tokio_stream::iter([message.clone(), message]);
    let mut body = Sending::reply(messages);
    let mut context = Context::from_waker(Waker::noop());
    let mut frames = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
        frames.push(frame);
    }
    assert_eq!(frames.iter().filter(|frame| frame.is_data()).count(), 4);
    let last = frames.pop().unwrap().into_trailers().unwrap();
    assert_eq!(last.get("grpc-status").unwrap(), "0");
}

/// A body that comes as the given pieces, and ends as it is told.
struct Pieces(VecDeque<Frame<Bytes>>);

impl Pieces {
    fn of(bytes: &[u8], len: usize) -> Pieces {
        Pieces(bytes.chunks(len).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect())
    }

    fn ending(mut self, status: Status) -> Pieces {
        let mut trailers = tonic::codegen::http::HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        self.0.push_back(Frame::trailers(trailers));
        self
    }

    /// All messages, and how it ends.
    fn received<M: Bulk>(self) -> (Vec<M>, Result<(), tonic::Code>) {
        let mut receiving = Receiving::<M>::new(Body::new(self), 100_000);
        let mut messages = Vec::new();
        loop {
            let next = std::pin::pin!(receiving.message());
            match next.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => panic!("everything is there"),
                Poll::Ready(Ok(Some(message))) => messages.push(message),
                Poll::Ready(Ok(None)) => return (messages, Ok(())),
                Poll::Ready(Err(status)) => return (messages, Err(status.code())),
            }
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// As the generated code sends it: fields in the order of their numbers.
fn plain<M: Bulk>(message: &M) -> Vec<u8> {
    let body = message.encode_to_vec();
    [&[0][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

#[test]
fn bulk_messages_are_received_however_they_are_cut_and_ordered() {
    let fail = Some(crate::v1::Fail { text: "no".into(), ..Default::default() });
    let data = Bytes::from((0..40_000).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let messages = [
        ReadObjectRep { fail: None, data: data.clone(), crc: 7 },
        ReadObjectRep { fail, data: Bytes::new(), crc: 0 },
        ReadObjectRep::default(),
        ReadObjectRep { fail: None, data, crc: u32::MAX },
    ];
    let sent: Vec<u8> = messages.iter().cloned().flat_map(joined).collect();
    let generated: Vec<u8> = messages.iter().flat_map(plain).collect();
    for bytes in [sent, generated] {
        for len in [1, 3, 4096, 40_000, bytes.len()] {
            let body = Pieces::of(&bytes, len).ending(Status::new(tonic::Code::Ok, ""));
            assert_eq!(body.received(), (messages.to_vec(), Ok(())), "in pieces of {len}");
        }
    }
}

#[test]
fn bulk_payload_in_one_piece_is_not_copied() {
    let data = Bytes::from(vec![1; 1000]);
    let (head, sent) = split(ReadObjectRep { data: data.clone(), ..Default::default() });
    let body = Pieces([head, sent].map(Frame::data).into());
    let (messages, _) = body.received::<ReadObjectRep>();
    assert_eq!(messages[0].data.as_ptr(), data.as_ptr());
}

#[test]
fn bulk_body_that_ends_early_or_is_none_fails() {
    let message = ReadObjectRep { data: Bytes::from(vec![1; 100]), ..Default::default() };
    let whole = joined(message.clone());
    for len in 1..whole.len() {
        let (messages, end) = Pieces::of(&whole[..len], 50).received::<ReadObjectRep>();
        assert_eq!((messages.len(), end), (0, Err(tonic::Code::Unavailable)), "after {len}");
    }
    let refused = Pieces::of(&whole, 50).ending(Status::not_found("x"));
    assert_eq!(refused.received(), (vec![message], Err(tonic::Code::NotFound)));
    let end = |bytes: &[u8]| Pieces::of(bytes, 50).received::<ReadObjectRep>().1.unwrap_err();
    assert_eq!(end(&[1, 0, 0, 0, 0]), tonic::Code::Internal, "compressed");
    assert_eq!(end(&[0, 255, 0, 0, 0]), tonic::Code::OutOfRange);
    // A payload, and another field, that claim more than the message has; a field of no type.
    for body in [&[0x12, 9, 1][..], &[0x0a, 9, 1], &[0x1d, 1], &[0x0f]] {
        let message = [&[0, 0, 0, 0, body.len() as u8][..], body].concat();
        assert_eq!(end(&message), tonic::Code::Internal, "{body:?}");
    }
}
