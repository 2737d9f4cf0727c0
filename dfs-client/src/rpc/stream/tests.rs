//! The stream against a server that answers as a test tells it to.

use super::*;
use dfs_proto::v1::calls_server::{Calls, CallsServer};
use dfs_proto::v1::{AttrRep, EntryRep, GetAttrReq, MkdirReq, Unread};
use std::time::Duration;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Streaming};

const DEADLINE: Duration = Duration::from_secs(20);

type Answers = mpsc::UnboundedSender<Result<OneAnswer, Status>>;

/// A stream as the server has it.
pub(in crate::rpc) struct Opened {
    calls: Streaming<OneCall>,
    answers: Answers,
}

impl Opened {
    pub(in crate::rpc) async fn next(&mut self) -> OneCall {
        self.calls.message().await.unwrap().expect("the client asks something")
    }

    pub(in crate::rpc) fn answer(&self, id: u64, reply: one_answer::Reply) {
        self.answers.send(Ok(OneAnswer { id, reply: Some(reply) })).unwrap();
    }
}

/// Hands every stream to the test.
struct Server(mpsc::UnboundedSender<Opened>);

#[tonic::async_trait]
impl Calls for Server {
    type RunStream = UnboundedReceiverStream<Result<OneAnswer, Status>>;

    async fn run(
        &self,
        request: Request<Streaming<OneCall>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let (answers, queue) = mpsc::unbounded_channel();
        let opened = Opened { calls: request.into_inner(), answers };
        self.0.send(opened).map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Response::new(UnboundedReceiverStream::new(queue)))
    }
}

/// A server; answers its `host:port` and the streams that are opened there.
pub(in crate::rpc) async fn serve() -> (String, mpsc::UnboundedReceiver<Opened>) {
    let (tell, opened) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder().add_service(CallsServer::new(Server(tell)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, opened)
}

async fn start() -> (CallStream, mpsc::UnboundedReceiver<Opened>) {
    let (address, opened) = serve().await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (CallStream::new(CallsClient::new(channel), Handle::current()), opened)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await }).expect("in time");
}

fn get_attr() -> one_call::Request {
    one_call::Request::GetAttr(GetAttrReq::default())
}

#[test]
fn answers_find_their_callers_in_any_order() {
    run(async {
        let (stream, mut opened) = start().await;
        let one = tokio::spawn({
            let stream = stream.clone();
            async move { stream.call(get_attr()).await }
        });
        let mut server = opened.recv().await.unwrap();
        let first = server.next().await.id;
        let two = tokio::spawn({
            let stream = stream.clone();
            async move { stream.call(one_call::Request::Mkdir(MkdirReq::default())).await }
        });
        let second = server.next().await.id;
        server.answer(99, one_answer::Reply::GetAttr(AttrRep::default()));
        server.answer(second, one_answer::Reply::Mkdir(EntryRep::default()));
        assert!(matches!(two.await.unwrap(), Ok(Some(one_answer::Reply::Mkdir(_)))));
        let unread = Unread { code: Code::InvalidArgument.into(), message: "so".into() };
        server.answer(first, one_answer::Reply::Unread(unread));
        let refused = one.await.unwrap().unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "so"));
    });
}

#[test]
fn stream_that_breaks_fails_its_calls_and_is_opened_again() {
    run(async {
        let (stream, mut opened) = start().await;
        for _ in 0..3 {
            let call = tokio::spawn({
                let stream = stream.clone();
                async move { stream.call(get_attr()).await }
            });
            let mut server = opened.recv().await.unwrap();
            server.next().await;
            drop(server);
            assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
        }
    });
}

#[test]
fn call_that_nobody_waits_for_is_forgotten() {
    run(async {
        let (stream, mut opened) = start().await;
        let given_up = tokio::time::timeout(Duration::ZERO, stream.call(get_attr())).await;
        assert!(given_up.is_err());
        let mut server = opened.recv().await.unwrap();
        server.next().await;
        let line = stream.line();
        assert!(line.waiting().answers.is_empty());
    });
}

#[test]
fn server_without_the_stream_is_noticed() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_routes(tonic::service::Routes::default())
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let channel = Channel::from_shared(url).unwrap().connect_lazy();
        let stream = CallStream::new(CallsClient::new(channel), Handle::current());
        assert!(stream.call(get_attr()).await.unwrap().is_none());
        assert!(stream.is_absent());
    });
}
