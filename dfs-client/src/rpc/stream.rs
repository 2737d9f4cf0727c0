//! Many calls over one stream: no HTTP/2 stream, headers and trailers for each of them.

use dfs_proto::status;
use dfs_proto::v1::calls_client::CallsClient;
use dfs_proto::v1::{OneAnswer, OneCall, one_answer, one_call};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Sends calls over a stream that is opened when first used, and again after it broke.
#[derive(Clone, Debug)]
pub struct CallStream {
    client: CallsClient<Channel>,
    runtime: Handle,
    line: Arc<Mutex<Option<Arc<Line>>>>,
    /// The server has no such stream.
    absent: Arc<AtomicBool>,
}

/// What becomes of a call.
type Answer = Result<one_answer::Reply, Status>;
type Tell = oneshot::Sender<Answer>;

/// One stream.
#[derive(Debug)]
struct Line {
    calls: mpsc::UnboundedSender<OneCall>,
    waiting: Mutex<Waiting>,
    /// No call waits any more.
    quiet: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    answers: HashMap<u64, Tell>,
    /// The server has the stream.
    opened: bool,
    /// Why the stream has ended.
    ended: Option<Status>,
}

impl CallStream {
    /// Over `client`, driven by `runtime`.
    pub fn new(client: CallsClient<Channel>, runtime: Handle) -> CallStream {
        CallStream { client, runtime, line: Arc::default(), absent: Arc::default() }
    }

    /// Whether the server has turned out not to know it.
    pub fn is_absent(&self) -> bool {
        self.absent.load(Ordering::Relaxed)
    }

    /// Makes a call and waits for its answer; nothing if the server does not know such a stream, or
    /// not this call in it. Errors: those of the server for this call; why the stream ended, and then
    /// nobody knows whether the call was carried out.
    pub async fn call(
        &self,
        request: one_call::Request,
    ) -> Result<Option<one_answer::Reply>, Status> {
        match self.answer(request).await {
            Ok(reply) => Ok(Some(reply)),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn answer(&self, request: one_call::Request) -> Answer {
        self.begin(request)?.await
    }

    /// Makes a call, whose answer comes while the stream is driven. Errors: why the stream ended.
    pub fn begin(&self, request: one_call::Request) -> Result<Answering, Status> {
        self.line().call(request, 0)
    }

    /// As [`begin`](CallStream::begin); the server carries it out when the call at `after` is answered.
    /// None: that one was made on another stream.
    pub fn begin_after(
        &self,
        request: one_call::Request,
        after: &Place,
    ) -> Result<Option<Answering>, Status> {
        let line = self.line();
        match std::ptr::eq(after.line.as_ptr(), Arc::as_ptr(&line)) {
            true => line.call(request, after.id).map(Some),
            false => Ok(None),
        }
    }

    /// Whether the server has the stream, as far as is known.
    pub fn is_open(&self) -> bool {
        self.present().is_some_and(|line| {
            let waiting = line.waiting();
            waiting.opened && waiting.ended.is_none()
        })
    }

    /// How many calls wait for an answer.
    pub fn under_way(&self) -> usize {
        self.present().map_or(0, |line| line.waiting().answers.len())
    }

    /// Returns when no call waits for an answer.
    pub async fn quiet(&self) {
        while let Some(line) = self.present() {
            let quiet = line.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if line.waiting().answers.is_empty() {
                return;
            }
            quiet.await;
        }
    }

    fn present(&self) -> Option<Arc<Line>> {
        self.line.lock().expect("no panic under this lock").clone()
    }

    fn line(&self) -> Arc<Line> {
        let mut present = self.line.lock().expect("no panic under this lock");
        if let Some(line) = &*present
            && line.waiting().ended.is_none()
        {
            return Arc::clone(line);
        }
        let (calls, queue) = mpsc::unbounded_channel();
        let line = Arc::new(Line { calls, waiting: Mutex::default(), quiet: Notify::new() });
        *present = Some(Arc::clone(&line));
        self.runtime.spawn(self.clone().serve(Arc::clone(&line), queue));
        line
    }

    /// Hands out the answers of a line until it ends.
    async fn serve(mut self, line: Arc<Line>, queue: mpsc::UnboundedReceiver<OneCall>) {
        let status = match self.client.run(UnboundedReceiverStream::new(queue)).await {
            Ok(answers) => {
                line.waiting().opened = true;
                let mut answers = answers.into_inner();
                loop {
                    match answers.message().await {
                        Ok(Some(answer)) => line.answered(answer),
                        Ok(None) => break status::ended("the server ended the stream"),
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => {
                self.absent.store(status.code() == Code::Unimplemented, Ordering::Relaxed);
                status
            }
        };
        line.end(&status);
    }
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic under this lock")
    }

    /// Makes a call behind that number, or 0.
    fn call(self: Arc<Self>, request: one_call::Request, after: u64) -> Result<Answering, Status> {
        let (id, answer) = self.begin()?;
        // Of a line that has just ended the answer says why.
        let _ = self.calls.send(OneCall { id, after, request: Some(request) });
        Ok(Answering { line: self, id, answer })
    }

    fn begin(&self) -> Result<(u64, oneshot::Receiver<Answer>), Status> {
        let mut waiting = self.waiting();
        if let Some(status) = &waiting.ended {
            return Err(status.clone());
        }
        waiting.last += 1;
        let (id, (tell, answer)) = (waiting.last, oneshot::channel());
        waiting.answers.insert(id, tell);
        Ok((id, answer))
    }

    fn answered(&self, answer: OneAnswer) {
        // Whoever asked may have given up.
        let Some(tell) = self.take(answer.id) else { return };
        let _ = tell.send(match answer.reply {
            Some(one_answer::Reply::Unread(unread)) => Err(status::from_unread(unread)),
            Some(reply) => Ok(reply),
            None => Err(status::internal("a reply that this client does not know")),
        });
    }

    /// Every call under way ends with `status`, and every later one.
    fn end(&self, status: &Status) {
        let mut waiting = self.waiting();
        waiting.ended = Some(status.clone());
        for (_, tell) in waiting.answers.drain() {
            let _ = tell.send(Err(status.clone()));
        }
        drop(waiting);
        self.quiet.notify_waiters();
    }

    fn take(&self, id: u64) -> Option<Tell> {
        let mut waiting = self.waiting();
        let tell = waiting.answers.remove(&id);
        if tell.is_some() && waiting.answers.is_empty() {
            self.quiet.notify_waiters();
        }
        tell
    }
}

/// A call whose answer somebody waits for, until this is dropped. Errors: those of the server for this
/// call; why the stream ended.
#[derive(Debug)]
pub struct Answering {
    line: Arc<Line>,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

/// Which call of which stream one is.
#[derive(Clone, Debug)]
pub struct Place {
    line: Weak<Line>,
    id: u64,
}

impl Answering {
    /// Its place.
    pub fn place(&self) -> Place {
        Place { line: Arc::downgrade(&self.line), id: self.id }
    }
}

impl Future for Answering {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(status::ended("the stream of calls ended"))))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        drop(self.line.take(self.id));
    }
}

#[cfg(test)]
pub(super) mod tests;
