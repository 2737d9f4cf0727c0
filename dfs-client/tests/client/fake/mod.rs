//! A name server that keeps a few names in memory and does to its client what a test tells it to.

mod meta;
mod session;
mod stream;

use dfs_client::config::{Address, Config, Patience, RdwrLease, Reads};
use dfs_client::kernel::{KernelCache, StaleEntry};
use dfs_client::vfs::Vfs;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino};
use dfs_proto::v1;
use dfs_proto::v1::calls_server::CallsServer;
use dfs_proto::v1::coherence_server::CoherenceServer;
use dfs_proto::v1::meta_server::MetaServer;
use dfs_proto::v1::session_server::SessionServer;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};

pub use stream::asked;

/// What happens to the next call of a kind.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is carried out, and the answer is lost.
    LoseAnswer,
    /// It is lost.
    Lose,
    /// It is refused.
    Refuse(Code),
    /// It is never answered.
    Hang,
    /// It is carried out when `State::held` is taken back.
    Held,
    /// The directory changes between the pages of a listing.
    Move,
}

/// What the server knows and what it was asked.
pub struct State {
    pub sid: u64,
    pub term: Duration,
    pub leader_epoch: u32,
    pub protocol: u32,
    pub features: Vec<String>,
    pub hellos: Vec<v1::EstablishReq>,
    /// Answer renewals.
    pub renew: bool,
    /// Do not answer `Attach`.
    pub mute: bool,
    /// The session is in the reclaim state.
    pub reclaim: bool,
    /// Changes are answered before they are durable.
    pub relaxed: bool,
    /// Refuse to attach: the session is unknown.
    pub forgotten: bool,
    /// The directory is delegated with every change of it.
    pub delegates: bool,
    /// Directories are made with the numbers of their clients; there is room.
    pub makes: bool,
    /// Calls whose fate is `Held` wait.
    pub held: bool,
    pub seq: u64,
    pub names: BTreeMap<Vec<u8>, u64>,
    pub dir_ver: u64,
    pub answers: HashMap<(u64, u64), v1::EntryRep>,
    /// How often each change really took place.
    pub done: usize,
    pub fates: HashMap<&'static str, VecDeque<Fate>>,
    /// Callers of each call, in order.
    pub calls: Vec<(&'static str, v1::Caller)>,
    pub lock_calls: Vec<v1::LockReq>,
    pub cancelled: usize,
    pub attaches: Vec<v1::Attach>,
    pub acks: Vec<v1::Ack>,
    pub forgets: Vec<v1::Forget>,
    pub holds: Vec<u64>,
    pub reclaims: Vec<v1::ReclaimReq>,
    pub reclaims_done: usize,
    pub closed: usize,
    pub unacked: BTreeMap<u64, v1::FromServer>,
    pub push_number: u64,
    pub stream: Option<mpsc::Sender<Result<v1::FromServer, Status>>>,
}

/// The server. Cheap to clone; it ends with the test's runtime.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

pub const ROOT: u64 = 1;

impl Fake {
    pub fn new() -> Fake {
        let state = State {
            sid: 1,
            term: Duration::from_secs(15),
            leader_epoch: 1,
            protocol: 1,
            features: Vec::new(),
            hellos: Vec::new(),
            renew: true,
            mute: false,
            reclaim: false,
            relaxed: false,
            forgotten: false,
            delegates: false,
            makes: false,
            held: false,
            seq: 100,
            names: BTreeMap::new(),
            dir_ver: 1,
            answers: HashMap::new(),
            done: 0,
            fates: HashMap::new(),
            calls: Vec::new(),
            lock_calls: Vec::new(),
            cancelled: 0,
            attaches: Vec::new(),
            acks: Vec::new(),
            forgets: Vec::new(),
            holds: Vec::new(),
            reclaims: Vec::new(),
            reclaims_done: 0,
            closed: 0,
            unacked: BTreeMap::new(),
            push_number: 0,
            stream: None,
        };
        let changed = Arc::new(watch::Sender::new(0));
        Fake { state: Arc::new(Mutex::new(state)), changed }
    }

    /// Looks at or changes the state; tests that wait look again.
    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let out = f(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        out
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !wanted(&self.lock()) {
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        waited.unwrap_or_else(|_| panic!("never happened: {what}"));
    }

    pub fn fate(&self, verb: &'static str, fate: Fate) {
        self.with(|s| s.fates.entry(verb).or_default().push_back(fate));
    }

    /// Op numbers of the calls of a kind.
    pub fn ops(&self, verb: &str) -> Vec<u64> {
        let calls = self.lock();
        calls.calls.iter().filter(|(v, _)| *v == verb).map(|(_, c)| c.op_id).collect()
    }

    /// Asks for the directory: it is not given back while calls are held, and then it is.
    pub async fn directory_is_given_back_behind_what_is_held(&self) {
        let asked = self.push(vec![v1::inval_item::What::Undelegate(ROOT)]);
        let later = self.push(vec![v1::inval_item::What::Attr(77)]);
        let answered = |number| move |s: &State| s.acks.iter().any(|ack| ack.number == number);
        self.until("a later push is answered", answered(later)).await;
        assert!(!self.with(|s| answered(asked)(s)));
        self.with(|s| s.held = false);
        self.until("it is given back", answered(asked)).await;
    }

    /// Tells the client that things change.
    pub fn push(&self, what: Vec<v1::inval_item::What>) -> u64 {
        self.with(|s| {
            s.push_number += 1;
            s.seq += 1;
            let items = what.into_iter().map(|w| v1::InvalItem { what: Some(w) }).collect();
            let kind = v1::from_server::Kind::Inval(v1::Inval { seq: s.seq, items });
            let push = v1::FromServer { kind: Some(kind), push: s.push_number };
            s.unacked.insert(push.push, push.clone());
            s.say_message(push);
            s.push_number
        })
    }

    pub fn break_stream(&self) {
        self.with(|s| s.stream = None);
    }

    /// Listens on loopback.
    pub async fn tcp(&self) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(self.services().serve_with_incoming(incoming));
        address
    }

    /// Listens on a Unix socket.
    pub async fn unix(&self, path: PathBuf) -> Address {
        let listener = UnixListener::bind(&path).unwrap();
        let (accepted, incoming) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if accepted.send(Ok::<_, std::io::Error>(stream)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(self.services().serve_with_incoming(ReceiverStream::new(incoming)));
        Address::Unix(path)
    }

    fn services(&self) -> Router {
        Server::builder()
            .add_service(SessionServer::new(self.clone()))
            .add_service(MetaServer::new(self.clone()))
            .add_service(CallsServer::new(stream::Stream(self.clone())))
            .add_service(CoherenceServer::new(meta::Locks(self.clone())))
    }

    /// What is to happen to a call that just arrived.
    fn arrived(&self, verb: &'static str, caller: Option<v1::Caller>) -> Option<Fate> {
        self.with(|s| {
            s.calls.push((verb, caller.unwrap_or_default()));
            s.fates.get_mut(verb).and_then(VecDeque::pop_front)
        })
    }
}

impl State {
    pub fn say(&mut self, kind: v1::from_server::Kind) {
        self.say_message(v1::FromServer { kind: Some(kind), push: 0 });
    }

    pub fn say_message(&mut self, message: v1::FromServer) {
        if let Some(stream) = &self.stream {
            let _ = stream.try_send(Ok(message));
        }
    }
}

/// A client set up against `server`.
pub fn config(server: Address, cache_dir: PathBuf, patience: Patience) -> Config {
    Config {
        server,
        subtree: Vec::new(),
        cache_dir,
        cache_bytes: 1 << 20,
        read_only: false,
        patience,
        reads: Reads::Follow,
        rdwr_lease: RdwrLease::Try,
        rwlock: false,
        passthrough: true,
        lease_wait: Duration::from_secs(5),
        description: "test".into(),
    }
}

/// A kernel that remembers what it was told.
#[derive(Default)]
pub struct Recorder {
    pub attrs: Mutex<Vec<Ino>>,
    pub entries: Mutex<Vec<StaleEntry>>,
    pub listings: Mutex<Vec<Ino>>,
    pub pages: Mutex<Vec<Ino>>,
    pub epochs: watch::Sender<usize>,
}

impl Recorder {
    /// Waits until everything cached was declared void once more.
    pub async fn until_bumped(&self, times: usize) {
        let mut epochs = self.epochs.subscribe();
        let wait = epochs.wait_for(|n| *n >= times);
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        waited.expect("the kernel's caches are declared void").unwrap();
    }
}

impl KernelCache for Recorder {
    fn forget_attr(&self, ino: Ino) {
        self.attrs.lock().unwrap().push(ino);
    }
    fn forget_entries(
        &self,
        entries: Vec<StaleEntry>,
        listings: Vec<Ino>,
        done: Box<dyn FnOnce() + Send>,
    ) {
        self.entries.lock().unwrap().extend(entries);
        self.listings.lock().unwrap().extend(listings);
        done();
    }
    fn forget_pages(&self, ino: Ino, _: Range, done: Box<dyn FnOnce() + Send>) {
        self.pages.lock().unwrap().push(ino);
        done();
    }
    fn bump_epoch(&self) {
        self.epochs.send_modify(|n| *n += 1);
    }
}

/// The tree a client sees of `fake`, and the kernel above it. The folder is the client's.
pub async fn tree(fake: &Fake, patience: Patience) -> (Vfs, Arc<Recorder>, TempDir) {
    let (dir, kernel) = (tempfile::tempdir().unwrap(), Arc::new(Recorder::default()));
    let config = config(fake.tcp().await, dir.path().join("cache"), patience);
    let vfs = Vfs::start(config, kernel.clone(), tokio::runtime::Handle::current()).await;
    (vfs.unwrap(), kernel, dir)
}

/// Runs a test on a runtime of its own.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let limit = Duration::from_secs(60);
    runtime
        .unwrap()
        .block_on(async { tokio::time::timeout(limit, test).await.expect("test hangs") })
}

pub fn refusal(code: Code) -> v1::Fail {
    dfs_proto::fail::to_wire(&FsError::new(code, "as the test says"))
}
