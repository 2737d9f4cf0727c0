//! The `Session` service.

use super::{NOBODY, Services};
use crate::nameserver::Message;
use dfs_core::{Code, FsError, Result, Seq, SessionId};
use dfs_proto::call::{Reply, Request as _};
use dfs_proto::status;
use dfs_proto::v1::session_server::Session;
use dfs_proto::v1::*;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// A stream must say which session it is for within this time.
const ATTACH_WITHIN: Duration = Duration::from_secs(10);

impl Services {
    /// Reads the first message of a control stream.
    async fn first(&self, stream: &mut Streaming<FromClient>) -> Result<Attach, Status> {
        let first = tokio::time::timeout(ATTACH_WITHIN, stream.message()).await;
        let first = first.map_err(|_| no_attach())??.and_then(|message| message.kind);
        match first {
            Some(from_client::Kind::Attach(attach)) => Ok(attach),
            _ => Err(no_attach()),
        }
    }

    /// Takes in what a client says until its stream ends.
    async fn listen(self, attach: Attach, number: u64, mut stream: Streaming<FromClient>) {
        let (sid, epoch) = (SessionId(attach.sid), Seq(attach.epoch));
        while let Ok(Some(message)) = stream.message().await {
            // An unknown kind is an optional one of a newer client.
            let Some(kind) = message.kind else { continue };
            if let Err(error) = self.server.from_client(sid, epoch, kind) {
                tracing::debug!(session = %sid, %error, "control stream refused");
                break;
            }
        }
        self.server.detached(sid, number);
    }
}

fn no_attach() -> Status {
    status::malformed(&FsError::new(Code::Invalid, "a control stream begins with Attach"))
}

#[tonic::async_trait]
impl Session for Services {
    async fn establish(&self, req: Request<EstablishReq>) -> Answer<EstablishRep> {
        self.answer("establish", NOBODY, self.server.establish(req.into_inner())).await
    }

    type ControlStream = tokio_stream::adapters::Map<
        ReceiverStream<Message>,
        fn(Message) -> Result<FromServer, Status>,
    >;

    async fn control(&self, req: Request<Streaming<FromClient>>) -> Answer<Self::ControlStream> {
        self.metrics.rpc("control");
        let mut stream = req.into_inner();
        let attach = self.first(&mut stream).await?;
        let queue = match self.server.attach(&attach) {
            Ok((number, queue)) => {
                tokio::spawn(self.clone().listen(attach, number, stream));
                queue
            }
            Err(error) => refused(&error),
        };
        let ok: fn(Message) -> Result<FromServer, Status> = Ok;
        Ok(Response::new(tokio_stream::StreamExt::map(ReceiverStream::new(queue), ok)))
    }

    async fn reclaim(&self, req: Request<ReclaimReq>) -> Answer<ReclaimRep> {
        let req = req.into_inner();
        let caller = self.caller(&req);
        self.answer("reclaim", req.identity(), async { self.server.reclaim(&caller, req) }).await
    }

    async fn reclaim_done(&self, req: Request<ReclaimDoneReq>) -> Answer<ReclaimDoneRep> {
        let req = req.into_inner();
        self.answer("reclaim_done", req.identity(), async {
            self.server.reclaim_done(&self.caller(&req))?;
            Ok(ReclaimDoneRep::default())
        })
        .await
    }

    async fn close(&self, req: Request<CloseReq>) -> Answer<CloseRep> {
        let req = req.into_inner();
        self.answer("close", req.identity(), async {
            self.server.close(&self.caller(&req)).await?;
            Ok(CloseRep::default())
        })
        .await
    }
}

/// A stream that says why there is none.
fn refused(error: &FsError) -> mpsc::Receiver<Message> {
    let (tx, rx) = mpsc::channel(1);
    let kind = from_server::Kind::Attached(Attached::refuse(error));
    // The queue is new and holds one message.
    let _ = tx.try_send(FromServer { kind: Some(kind), push: 0 });
    rx
}
