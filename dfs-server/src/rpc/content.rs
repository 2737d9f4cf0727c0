//! The `FileStore` service: immutable objects of the embedded store.

use super::{NOBODY, Services};
use bytes::Bytes;
use dfs_core::limits::{MESSAGE_MAX, STRIPE_UNIT};
use dfs_core::{Code, FsError, Result};
use dfs_proto::bulk::{Handed, Receiving, Sending};
use dfs_proto::call::{Reply, Request as _};
use dfs_proto::convert::object_from;
use dfs_proto::v1::file_store_server::FileStore;
use dfs_proto::v1::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// Chunks that may wait for the disk or for the network.
const QUEUE: usize = 4;

fn invalid(text: impl Into<String>) -> FsError {
    FsError::new(Code::Invalid, text)
}

fn cut_off() -> FsError {
    FsError::new(Code::Io, "the disk task was cut off")
}

impl Services {
    /// Receives an object; the disk works on a thread of its own while chunks come in.
    async fn receive(&self, mut stream: Receiving<CreateObjectReq>) -> Result<CreateObjectRep> {
        let first = next(&mut stream).await?.ok_or_else(|| invalid("an object without header"))?;
        let header = first.header.clone().ok_or_else(|| invalid("an object without header"))?;
        let caller = self.server.caller(&header.caller.clone().unwrap_or_default());
        let name = object_from(header.name)?;
        if header.len == 0 || header.len > STRIPE_UNIT {
            return Err(invalid(format!("an object of {} bytes", header.len)));
        }
        self.server.may_upload(&caller, name)?;
        let (tx, mut rx) = mpsc::channel::<(Bytes, u32)>(QUEUE);
        let objects = self.server.objects.clone();
        let disk = tokio::task::spawn_blocking(move || {
            let mut writer = objects.create(name, header.len)?;
            while let Some((data, crc)) = rx.blocking_recv() {
                writer.write(&data, crc)?;
            }
            writer.finish()
        });
        let mut chunk = Some(first);
        while let Some(piece) = chunk {
            // The disk task has ended early: its error is the answer.
            if !piece.data.is_empty() && tx.send((piece.data, piece.crc)).await.is_err() {
                break;
            }
            chunk = next(&mut stream).await?;
        }
        drop(tx);
        disk.await.map_err(|_| cut_off())??;
        Ok(CreateObjectRep::default())
    }

    /// Sends a part of an object in chunks.
    fn send(&self, req: ReadObjectReq) -> Result<mpsc::Receiver<ReadObjectRep>> {
        let caller = self.server.caller(&req.caller.unwrap_or_default());
        self.server.may_fetch(&caller)?;
        let name = object_from(req.name)?;
        let (off, len) = (req.off, req.len);
        if !(1..=STRIPE_UNIT).contains(&len) {
            return Err(invalid(format!("a read of {len} bytes at {off}")));
        }
        let (tx, rx) = mpsc::channel(QUEUE);
        let (objects, session) = (self.server.objects.clone(), caller.sid.0);
        // Ends with the object or when the client leaves.
        tokio::task::spawn_blocking(move || {
            let send = |message| tx.blocking_send(message).is_ok();
            let piece = |data, crc| send(ReadObjectRep { fail: None, data, crc });
            if let Err(error) = objects.stream(name, off, len, piece) {
                super::log_refusal("object_read", session, &error);
                send(ReadObjectRep::refuse(&error));
            }
        });
        Ok(rx)
    }
}

async fn next(stream: &mut Receiving<CreateObjectReq>) -> Result<Option<CreateObjectReq>> {
    stream.message().await.map_err(|status| dfs_proto::status::to_error(&status))
}

#[tonic::async_trait]
impl FileStore for Services {
    async fn create(&self, req: Request<Streaming<CreateObjectReq>>) -> Answer<CreateObjectRep> {
        // The generated server would copy every byte into a message.
        let body = req.extensions().get::<Handed>().cloned().unwrap_or_default();
        self.answer("object_create", NOBODY, self.receive(body.received(MESSAGE_MAX))).await
    }

    type ReadStream = tokio_stream::Empty<Result<ReadObjectRep, Status>>;

    async fn read(&self, req: Request<ReadObjectReq>) -> Answer<Self::ReadStream> {
        self.metrics.rpc("object_read");
        let req = req.into_inner();
        let (session, _) = req.identity();
        let queue = self.send(req).unwrap_or_else(|error| {
            super::log_refusal("object_read", session, &error);
            let (tx, rx) = mpsc::channel(1);
            // The queue is new and holds one message.
            let _ = tx.try_send(ReadObjectRep::refuse(&error));
            rx
        });
        let body = Sending::reply(ReceiverStream::new(queue));
        let mut response = Response::new(tokio_stream::empty());
        response.extensions_mut().insert(Handed::new(body));
        Ok(response)
    }
}
