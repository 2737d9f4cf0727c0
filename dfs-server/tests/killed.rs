//! A client that is killed while the server has much to answer it (`docs/design/0028`).

mod harness;

use dfs_proto::v1::*;
use harness::process::{Process, until_it_listens};
use harness::{Client, DEADLINE, Running, run};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::oneshot;

/// More than the server reads at a time, and less than it lets a stream send ahead. Over the Unix socket:
/// TCP throws away what has not left a host whose program dies with answers unread.
const CALLS: u64 = 2_000;
const LAST: &[u8] = b"the-last-one";

/// Passes on what a client and a server say, until the client says `LAST` after `hold`: what it said
/// from then on comes to the server in one piece, and the next moment nobody is there any more.
async fn dies_speaking(client: TcpListener, server: SocketAddr, hold: oneshot::Receiver<()>) {
    let (client, _) = client.accept().await.unwrap();
    let (mut said, mut to_client) = client.into_split();
    let socket = dfs_proto::local::beside(server);
    let (from_server, mut to_server) = UnixStream::connect(socket).await.unwrap().into_split();
    let answers = tokio::spawn(async move {
        let mut from_server = from_server;
        // It ends when it is aborted, or the server ends.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    tokio::select! {
        _ = tokio::io::copy(&mut said, &mut to_server) => panic!("the client went away"),
        held = hold => held.unwrap(),
    }
    let words = last_words(&mut said).await;
    answers.abort();
    let _ = answers.await;
    to_server.write_all(&words).await.unwrap();
}

async fn last_words(said: &mut OwnedReadHalf) -> Vec<u8> {
    let mut words = Vec::new();
    while !words.windows(LAST.len()).any(|part| part == LAST) {
        assert_ne!(said.read_buf(&mut words).await.unwrap(), 0, "the client went away");
    }
    words
}

#[test]
fn killed_client_has_all_carried_out_that_it_sent() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (_process, server) = Process::start(dir.path());
        until_it_listens(&server).await;
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Running::at(format!("http://{}", proxy.local_addr().unwrap()));
        let (hold, held) = oneshot::channel();
        let address = server.url.strip_prefix("http://").unwrap().parse().unwrap();
        let dying = tokio::spawn(dies_speaking(proxy, address, held));
        let mut a = Client::connect(&through, 1).await;
        let (calls, queue) = tokio::sync::mpsc::unbounded_channel();
        let queue = tokio_stream::wrappers::UnboundedReceiverStream::new(queue);
        let mut answers = a.calls().run(queue).await.unwrap().into_inner();
        let ask =
            |id, request| calls.send(OneCall { id, after: 0, request: Some(request) }).unwrap();
        let lookup = |a: &mut Client, name: String| {
            let name = name.into();
            one_call::Request::Lookup(a.ask(LookupReq { dir: 1, name, ..Default::default() }))
        };
        ask(0, lookup(&mut a, "first".into()));
        answers.message().await.unwrap().expect("the stream works");
        hold.send(()).unwrap();
        for id in 1..CALLS {
            ask(id, lookup(&mut a, format!("{id:0>200}")));
        }
        let name = LAST.to_vec().into();
        let mkdir = a.ask(MkdirReq { dir: 1, name, mode: 0o755, ..Default::default() });
        ask(CALLS, one_call::Request::Mkdir(mkdir));
        dying.await.unwrap();
        let mut b = Client::connect(&server, 2).await;
        let mut control = b.attach().await;
        let name = "the-last-one";
        if b.lookup(name).await.attr.is_none() {
            // It was promised that there is none: it hears of it first.
            let push = tokio::time::timeout(DEADLINE, control.push()).await;
            control.ack(push.expect("what was sent last is carried out").0).await;
            let change = b.lookup(name);
            assert!(change.await.attr.is_some());
        }
    });
}
