//! The `Calls` service: calls of the other services over one stream.

use super::Services;
use dfs_core::limits::REPLAY_SLOTS;
use dfs_proto::status;
use dfs_proto::v1::calls_server::Calls;
use dfs_proto::v1::coherence_server::Coherence;
use dfs_proto::v1::meta_server::Meta;
use dfs_proto::v1::one_answer::Reply;
use dfs_proto::v1::one_call::Request;
use dfs_proto::v1::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tonic::{Response, Status, Streaming};

/// The answers of one stream. If the connection breaks, what has arrived is carried out all the same: a
/// client that died may have answered for it (`docs/design/0028`).
pub struct Answers(Option<Incoming>);

/// The calls of a stream. Polled by the connection, it reads calls and carries them out in the same task: no
/// other one has to be woken.
struct Incoming {
    services: Arc<Services>,
    calls: Streaming<OneCall>,
    /// Whether more calls are read.
    open: bool,
    running: FuturesUnordered<BoxFuture<'static, OneAnswer>>,
    /// Numbers of the calls that were read and are not answered.
    under_way: BTreeSet<u64>,
    /// Those of them that begin when another one is answered, by the number of that one.
    after: BTreeMap<u64, Vec<OneCall>>,
    /// How many those are.
    held: usize,
    stopped: BoxFuture<'static, ()>,
}

impl Incoming {
    /// Begins the calls that have arrived, as far as the client may have so many under way.
    fn begin(&mut self, cx: &mut Context<'_>) {
        self.open &= self.stopped.poll_unpin(cx).is_pending();
        while self.open && self.running.len() + self.held < REPLAY_SLOTS {
            match Pin::new(&mut self.calls).poll_next(cx) {
                Poll::Ready(Some(Ok(call))) => self.take(call),
                Poll::Ready(Some(Err(_)) | None) => self.open = false,
                Poll::Pending => return,
            }
        }
    }

    fn take(&mut self, call: OneCall) {
        let waits = call.after != 0 && self.under_way.contains(&call.after);
        self.under_way.insert(call.id);
        if waits {
            self.held += 1;
            self.after.entry(call.after).or_default().push(call);
        } else {
            self.carry_out(call);
        }
    }

    fn carry_out(&self, call: OneCall) {
        let services = Arc::clone(&self.services);
        self.running.push(async move { services.one(call).await }.boxed());
    }

    /// The next answer; none if all calls are answered and no more are read.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<OneAnswer>> {
        self.begin(cx);
        match Pin::new(&mut self.running).poll_next(cx) {
            Poll::Ready(None) if self.open => Poll::Pending,
            Poll::Ready(Some(answer)) => {
                self.under_way.remove(&answer.id);
                let next = self.after.remove(&answer.id).unwrap_or_default();
                self.held -= next.len();
                next.into_iter().for_each(|call| self.carry_out(call));
                Poll::Ready(Some(answer))
            }
            other => other,
        }
    }
}

impl Stream for Answers {
    type Item = Result<OneAnswer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(None) };
        let answer = ready!(stream.poll_answer(cx));
        if answer.is_none() {
            self.0 = None;
        }
        Poll::Ready(answer.map(Ok))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // Without a runtime the server has ended.
        if let Some(mut rest) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime
                .spawn(async move { while poll_fn(|cx| rest.poll_answer(cx)).await.is_some() {} });
        }
    }
}

impl Services {
    /// Carries out one call. A panic is our bug, and that of this call alone.
    async fn one(&self, call: OneCall) -> OneAnswer {
        let reply = AssertUnwindSafe(self.reply(call.request)).catch_unwind().await;
        let reply = reply.unwrap_or_else(|_| Err(status::internal("the server panicked")));
        let reply = reply.unwrap_or_else(|status| Reply::Unread(status::to_unread(&status)));
        OneAnswer { id: call.id, reply: Some(reply) }
    }

    async fn reply(&self, request: Option<Request>) -> Result<Reply, Status> {
        fn done<T>(answer: Result<Response<T>, Status>) -> Result<T, Status> {
            answer.map(Response::into_inner)
        }
        let Some(request) = request else {
            return Err(status::unknown_call());
        };
        Ok(match request {
            Request::Lookup(r) => Reply::Lookup(done(self.lookup(tonic::Request::new(r)).await)?),
            Request::LookupPath(r) => {
                Reply::LookupPath(done(self.lookup_path(tonic::Request::new(r)).await)?)
            }
            Request::GetAttr(r) => {
                Reply::GetAttr(done(self.get_attr(tonic::Request::new(r)).await)?)
            }
            Request::SetAttr(r) => {
                Reply::SetAttr(done(self.set_attr(tonic::Request::new(r)).await)?)
            }
            Request::Create(r) => Reply::Create(done(self.create(tonic::Request::new(r)).await)?),
            Request::Mkdir(r) => Reply::Mkdir(done(self.mkdir(tonic::Request::new(r)).await)?),
            Request::Mknod(r) => Reply::Mknod(done(self.mknod(tonic::Request::new(r)).await)?),
            Request::Symlink(r) => {
                Reply::Symlink(done(self.symlink(tonic::Request::new(r)).await)?)
            }
            Request::Link(r) => Reply::Link(done(self.link(tonic::Request::new(r)).await)?),
            Request::Unlink(r) => Reply::Unlink(done(self.unlink(tonic::Request::new(r)).await)?),
            Request::Rmdir(r) => Reply::Rmdir(done(self.rmdir(tonic::Request::new(r)).await)?),
            Request::Rename(r) => Reply::Rename(done(self.rename(tonic::Request::new(r)).await)?),
            Request::GetXattrs(r) => {
                Reply::GetXattrs(done(self.get_xattrs(tonic::Request::new(r)).await)?)
            }
            Request::SetXattr(r) => {
                Reply::SetXattr(done(self.set_xattr(tonic::Request::new(r)).await)?)
            }
            Request::RemoveXattr(r) => {
                Reply::RemoveXattr(done(self.remove_xattr(tonic::Request::new(r)).await)?)
            }
            Request::StatFs(r) => Reply::StatFs(done(self.stat_fs(tonic::Request::new(r)).await)?),
            Request::Access(r) => Reply::Access(done(self.access(tonic::Request::new(r)).await)?),
            Request::Flush(r) => Reply::Flush(done(self.flush(tonic::Request::new(r)).await)?),
            Request::GetContent(r) => {
                Reply::GetContent(done(self.get_content(tonic::Request::new(r)).await)?)
            }
            Request::GetContents(r) => {
                Reply::GetContents(done(self.get_contents(tonic::Request::new(r)).await)?)
            }
            Request::Release(r) => {
                Reply::Release(done(self.release(tonic::Request::new(r)).await)?)
            }
            Request::NewUpload(r) => {
                Reply::NewUpload(done(self.new_upload(tonic::Request::new(r)).await)?)
            }
            Request::Commit(r) => Reply::Commit(done(self.commit(tonic::Request::new(r)).await)?),
            Request::Clone(r) => {
                Reply::Clone(done(Coherence::clone(self, tonic::Request::new(r)).await)?)
            }
            Request::Unlock(r) => Reply::Unlock(done(self.unlock(tonic::Request::new(r)).await)?),
            Request::TestLock(r) => {
                Reply::TestLock(done(self.test_lock(tonic::Request::new(r)).await)?)
            }
        })
    }
}

#[tonic::async_trait]
impl Calls for Services {
    type RunStream = Answers;

    async fn run(
        &self,
        req: tonic::Request<Streaming<OneCall>>,
    ) -> Result<Response<Answers>, Status> {
        let mut stopped = self.stopped.clone();
        Ok(Response::new(Answers(Some(Incoming {
            services: Arc::new(Clone::clone(self)),
            calls: req.into_inner(),
            open: true,
            running: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
            after: BTreeMap::new(),
            held: 0,
            stopped: async move {
                // The sender lives until the server stops.
                let _ = stopped.wait_for(|stop| *stop).await;
            }
            .boxed(),
        }))))
    }
}
