//! A server in this process behind a real socket, and a bare client that speaks the protocol.
#![allow(dead_code)] // each test file uses its own part

pub mod calls;
pub mod process;

use dfs_proto::call::Reply as _;
use dfs_proto::call::Request;
use dfs_proto::v1::calls_client::CallsClient;
use dfs_proto::v1::coherence_client::CoherenceClient;
use dfs_proto::v1::file_store_client::FileStoreClient;
use dfs_proto::v1::meta_client::MetaClient;
use dfs_proto::v1::session_client::SessionClient;
use dfs_proto::v1::*;
use dfs_server::clock::SystemClock;
use dfs_server::collect::Collector;
use dfs_server::filestore::{ObjectStore, Options};
use dfs_server::metastore::{self, Durability};
use dfs_server::metrics::Metrics;
use dfs_server::nameserver::{NameServer, Settings};
use dfs_server::rpc::Services;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;
use tonic::transport::{Channel, Server};

/// Everything ends within this time or has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A running server.
pub struct Running {
    /// Where it listens.
    pub url: String,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// While it lives the server takes calls.
    stop: Option<watch::Sender<bool>>,
}

impl Running {
    /// Serves `dir` until dropped or stopped.
    pub async fn start(dir: &Path) -> Running {
        let store = Arc::new(metastore::open(&dir.join("meta.db")).unwrap());
        let objects = dir.join("objects");
        std::fs::create_dir_all(&objects).unwrap();
        let options = Options { durability: Durability::Strict, reserve: 0 };
        let (objects, _) = ObjectStore::open(&objects, options).unwrap();
        let settings =
            Settings { durability: Durability::Strict, root_squash: false, reserve_bytes: 0 };
        let clock = Arc::new(SystemClock);
        let server = NameServer::start(store, Arc::new(objects), clock, settings).unwrap();
        let collector = Arc::new(Mutex::new(Collector::new()));
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let services = Services::new(server.clone(), metrics, collector, stopped);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = TcpListenerStream::new(listener);
        let routes = services.routes();
        let serve = tokio::spawn(async move {
            Server::builder().add_routes(routes).serve_with_incoming(incoming).await.unwrap();
        });
        Running { url, tasks: vec![serve, tokio::spawn(server.keep_time())], stop: Some(stop) }
    }

    /// A server of another process.
    pub fn at(url: String) -> Running {
        Running { url, tasks: Vec::new(), stop: None }
    }

    /// Ends it without a farewell.
    pub async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Cancelled, as was asked.
            let _ = task.await;
        }
    }
}

/// A client with a session.
pub struct Client {
    /// Names.
    pub meta: MetaClient<Channel>,
    /// Leases.
    pub coherence: CoherenceClient<Channel>,
    /// Sessions.
    pub session: SessionClient<Channel>,
    channel: Channel,
    /// The session.
    pub rep: EstablishRep,
    /// Identity, to come back with.
    pub identity: ([u8; 16], [u8; 16]),
    op: u64,
}

impl Client {
    /// Opens a session for mount number `n`.
    pub async fn connect(server: &Running, n: u8) -> Client {
        Client::connect_as(server, ([n; 16], [n; 16])).await
    }

    /// Opens or resumes a session under an identity.
    pub async fn connect_as(server: &Running, identity: ([u8; 16], [u8; 16])) -> Client {
        let channel = Channel::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
        let mut session = SessionClient::new(channel.clone());
        let rep = session.establish(hello(identity)).await.unwrap().into_inner();
        assert_eq!(rep.fail, None);
        let meta = MetaClient::new(channel.clone());
        let coherence = CoherenceClient::new(channel.clone());
        Client { meta, coherence, session, channel, rep, identity, op: 0 }
    }

    /// A request with the next operation number.
    pub fn ask<R: Request>(&mut self, mut request: R) -> R {
        self.op += 1;
        request.set_caller(self.caller(self.op));
        request
    }

    /// Who asks next.
    pub fn next_caller(&mut self) -> Caller {
        self.op += 1;
        self.caller(self.op)
    }

    /// Sends a request of this client: how it was refused, if it was.
    pub async fn ask_code(&mut self, request: impl Into<calls::Call>) -> Option<dfs_core::Code> {
        let caller = self.next_caller();
        self.send(request.into().by(caller)).await.unwrap()
    }

    /// The service of calls over one stream.
    pub fn calls(&self) -> CallsClient<Channel> {
        CallsClient::new(self.channel.clone())
    }

    /// The service of objects.
    pub fn objects(&self) -> FileStoreClient<Channel> {
        FileStoreClient::new(self.channel.clone())
    }

    /// Who asks, with this operation number.
    pub fn caller(&self, op_id: u64) -> Caller {
        Caller { sid: self.rep.sid, epoch: self.rep.epoch, op_id, ..Caller::default() }
    }

    /// Opens the control stream.
    pub async fn attach(&mut self) -> Control {
        let (control, attached) = self.try_attach().await;
        assert_eq!(attached.fail, None);
        control
    }

    /// Opens the control stream, which may be refused.
    pub async fn try_attach(&mut self) -> (Control, Attached) {
        let (tx, rx) = mpsc::channel(16);
        let features = self.rep.features.clone();
        let attach = Attach { sid: self.rep.sid, epoch: self.rep.epoch, features };
        tx.send(FromClient { kind: Some(from_client::Kind::Attach(attach)) }).await.unwrap();
        let stream = self.session.control(ReceiverStream::new(rx)).await.unwrap().into_inner();
        let mut control = Control { tx, stream };
        match control.next().await {
            from_server::Kind::Attached(attached) => (control, attached),
            other => panic!("first message of a stream: {other:?}"),
        }
    }

    /// Creates a file in the root and takes its lease.
    pub async fn create(&mut self, name: &str) -> CreateRep {
        let request = CreateReq {
            dir: 1,
            name: name.to_owned().into(),
            mode: 0o644,
            lease: true,
            exclusive: true,
            ..CreateReq::default()
        };
        let request = self.ask(request);
        self.meta.create(request).await.unwrap().into_inner()
    }

    /// Looks a name up in the root.
    pub async fn lookup(&mut self, name: &str) -> EntryRep {
        let request = LookupReq { dir: 1, name: name.to_owned().into(), ..LookupReq::default() };
        let request = self.ask(request);
        self.meta.lookup(request).await.unwrap().into_inner()
    }

    /// Makes a file of these bytes in the root.
    pub async fn make(&mut self, name: &str, bytes: &[u8]) -> Attr {
        let created = self.create(name).await.into_result().unwrap();
        let (attr, grant) = (created.attr.unwrap(), created.grant.unwrap());
        let commit = self.inline(&attr, &grant, bytes);
        self.coherence.commit(commit).await.unwrap().into_inner().into_result().unwrap();
        attr
    }

    /// A commit of inline bytes as the whole content.
    pub fn inline(&mut self, attr: &Attr, grant: &Grant, bytes: &[u8]) -> CommitReq {
        let extent = Extent {
            off: 0,
            len: bytes.len() as u64,
            source: Some(extent::Source::Inline(bytes.to_vec().into())),
            object_off: 0,
        };
        self.ask(CommitReq {
            ino: attr.ino,
            grant: grant.id,
            fence: grant.fence,
            base_ver: attr.content_ver,
            size: bytes.len() as u64,
            extents: vec![extent],
            ..CommitReq::default()
        })
    }
}

/// The first message of a client.
pub fn hello((uuid, verifier): ([u8; 16], [u8; 16])) -> EstablishReq {
    EstablishReq {
        uuid: uuid.to_vec().into(),
        verifier: verifier.to_vec().into(),
        min_protocol: 1,
        max_protocol: 1,
        features: Vec::new(),
        description: "test".into(),
        required: Vec::new(),
    }
}

/// An attached control stream.
pub struct Control {
    tx: mpsc::Sender<FromClient>,
    stream: Streaming<FromServer>,
}

impl Control {
    /// The next message.
    pub async fn next(&mut self) -> from_server::Kind {
        self.message().await.kind.unwrap()
    }

    /// The next message with the number of the push, if it is one.
    pub async fn message(&mut self) -> FromServer {
        let message = tokio::time::timeout(DEADLINE, self.stream.message()).await;
        message.expect("a message in time").unwrap().expect("the stream goes on")
    }

    /// Whether the server ends the stream.
    pub async fn ended(&mut self) -> bool {
        let message = tokio::time::timeout(DEADLINE, self.stream.message()).await;
        matches!(message, Ok(Ok(None) | Err(_)))
    }

    /// Says something.
    pub async fn say(&self, kind: from_client::Kind) {
        self.tx.send(FromClient { kind: Some(kind) }).await.unwrap();
    }

    /// Says something if there is room and somebody listens.
    pub fn offer(&self, kind: from_client::Kind) {
        let _ = self.tx.try_send(FromClient { kind: Some(kind) });
    }

    /// The next push and its number; other messages are passed over.
    pub async fn push(&mut self) -> (u64, Inval) {
        loop {
            if let FromServer { kind: Some(from_server::Kind::Inval(inval)), push } =
                self.message().await
            {
                return (push, inval);
            }
        }
    }

    /// Acknowledges a push.
    pub async fn ack(&self, number: u64) {
        let ack = Ack { number, open: Vec::new(), keep: Vec::new() };
        self.say(from_client::Kind::Ack(ack)).await;
    }
}

/// Runs a test on a runtime of its own, with a deadline.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE * 3, test).await.expect("in time") })
}
