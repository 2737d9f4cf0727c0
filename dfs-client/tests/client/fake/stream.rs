//! The stream of calls of the fake, with those calls that tests send over it.

use super::Fake;
use dfs_client::waiting::{Leave, allowed};
use dfs_proto::status;
use dfs_proto::v1::calls_server::Calls;
use dfs_proto::v1::meta_server::Meta;
use dfs_proto::v1::one_answer::Reply;
use dfs_proto::v1::one_call::Request as Asked;
use dfs_proto::v1::{OneAnswer, OneCall};
use std::future::Future;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// One service for the stream, another for calls by themselves.
#[derive(Clone)]
pub struct Stream(pub Fake);

impl Stream {
    async fn reply(&self, call: Option<Asked>) -> Result<Reply, Status> {
        Ok(match call {
            Some(Asked::Unlink(r)) => {
                Reply::Unlink(self.0.unlink(Request::new(r)).await?.into_inner())
            }
            Some(Asked::Mkdir(r)) => {
                Reply::Mkdir(self.0.mkdir(Request::new(r)).await?.into_inner())
            }
            Some(Asked::StatFs(r)) => {
                Reply::StatFs(self.0.stat_fs(Request::new(r)).await?.into_inner())
            }
            _ => return Err(status::unknown_call()),
        })
    }
}

#[tonic::async_trait]
impl Calls for Stream {
    type RunStream = ReceiverStream<Result<OneAnswer, Status>>;

    async fn run(
        &self,
        request: Request<Streaming<OneCall>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let (mut calls, fake) = (request.into_inner(), self.clone());
        let (answers, queue) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(call)) = calls.message().await {
                let (fake, answers) = (fake.clone(), answers.clone());
                tokio::spawn(async move {
                    let reply = fake.reply(call.request).await;
                    let reply = reply.unwrap_or_else(|s| Reply::Unread(status::to_unread(&s)));
                    // The client may be gone.
                    let _ = answers.send(Ok(OneAnswer { id: call.id, reply: Some(reply) })).await;
                });
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

/// Asks as a driver does: on a thread that may do so much, and what that leaves in the runtime.
pub async fn asked<T: Send + 'static>(
    leave: Leave,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let runtime = Handle::current();
    let begun = spawn_blocking(move || {
        let _inside = runtime.enter();
        let mut work = Box::pin(work);
        let mut cx = Context::from_waker(Waker::noop());
        match allowed(leave, || work.as_mut().poll(&mut cx)) {
            Poll::Ready(done) => runtime.spawn(async { done }),
            Poll::Pending => runtime.spawn(work),
        }
    });
    begun.await.unwrap().await.unwrap()
}
