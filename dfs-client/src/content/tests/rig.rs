//! A client of the content layer with a server of its own.

use super::fake::Fake;
use crate::cache::Cache;
use crate::client::{Client, ContentHooks};
use crate::clock::{Clock, SystemClock};
use crate::config::{Address, Config, Patience, RdwrLease, Reads};
use crate::content::Content;
use crate::kernel::{KernelCache, NoKernel, StaleEntry};
use crate::locks::HeldLocks;
use crate::metadata::Metadata;
use crate::metrics::Metrics;
use crate::recovered::RecoveryArea;
use crate::rpc::Rpc;
use crate::session::{Events, MountId, Session};
use crate::vfs::{OpenFlags, Opened};
use crate::waiting::{self, Leave};
use dfs_core::Ino;
use dfs_core::access::Credentials;
use dfs_core::range::Range;
use dfs_proto::v1;
use dfs_proto::v1::calls_server::CallsServer;
use dfs_proto::v1::coherence_server::CoherenceServer;
use dfs_proto::v1::file_store_server::FileStoreServer;
use dfs_proto::v1::session_server::SessionServer;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tempfile::TempDir;
use tokio_stream::wrappers::ReceiverStream;

/// Longest wait for something that happens in the background.
const DEADLINE: Duration = Duration::from_secs(10);

/// A client with its own server.
pub(super) struct Rig {
    pub(super) fake: Fake,
    pub(super) content: Arc<Content>,
    pub(super) client: Arc<Client>,
    _dir: TempDir,
}

/// A kernel that remembers what became of its pages.
#[derive(Default)]
pub(super) struct Kernel {
    forgotten: Mutex<Vec<Range>>,
    given: Mutex<Vec<Vec<u8>>>,
}

impl Kernel {
    /// What it was told to forget since this was asked last.
    pub(super) fn forgotten(&self) -> Vec<Range> {
        std::mem::take(&mut *self.forgotten.lock().unwrap())
    }

    /// What it was given since this was asked last.
    pub(super) fn given(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.given.lock().unwrap())
    }
}

impl KernelCache for Kernel {
    fn forget_attr(&self, _: Ino) {}
    fn forget_entries(&self, _: Vec<StaleEntry>, _: Vec<Ino>, done: Box<dyn FnOnce() + Send>) {
        done();
    }
    fn forget_pages(&self, _: Ino, range: Range, done: Box<dyn FnOnce() + Send>) {
        self.forgotten.lock().unwrap().push(range);
        done();
    }
    fn give_pages(&self, _: Ino, bytes: &[u8]) -> bool {
        self.given.lock().unwrap().push(bytes.to_vec());
        true
    }
    fn bump_epoch(&self) {}
}

pub(super) fn run<F: Future>(f: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}

async fn serve(fake: &Fake) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (to, from) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if to.send(Ok::<_, std::io::Error>(stream)).await.is_err() {
                break;
            }
        }
    });
    let max = dfs_core::limits::MESSAGE_MAX;
    let server = tonic::transport::Server::builder()
        .add_service(CoherenceServer::new(fake.clone()).max_decoding_message_size(max))
        .add_service(CallsServer::new(fake.clone()).max_decoding_message_size(max))
        .add_service(FileStoreServer::new(fake.clone()))
        .add_service(SessionServer::new(fake.clone()));
    tokio::spawn(server.serve_with_incoming(ReceiverStream::new(from)));
    address
}

impl Rig {
    pub(super) async fn new() -> Rig {
        Rig::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Rig {
        Rig::build(change, |_, _| {}).await
    }

    /// `before`: what an earlier life left in the cache folder and at the server.
    pub(super) async fn build(
        change: impl FnOnce(&mut Config),
        before: impl FnOnce(&Path, &Fake),
    ) -> Rig {
        Rig::under(Arc::new(NoKernel), change, before).await
    }

    pub(super) async fn under(
        kernel: Arc<dyn KernelCache>,
        change: impl FnOnce(&mut Config),
        before: impl FnOnce(&Path, &Fake),
    ) -> Rig {
        let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
        before(&dir.path().join("cache"), &fake);
        let mut config = Config {
            server: Address::Tcp(serve(&fake).await),
            subtree: Vec::new(),
            cache_dir: dir.path().join("session"),
            cache_bytes: 256 << 20,
            read_only: false,
            patience: Patience::Soft(Duration::from_secs(5)),
            reads: Reads::Follow,
            rdwr_lease: RdwrLease::Try,
            rwlock: false,
            passthrough: true,
            lease_wait: Duration::from_secs(5),
            description: "test".into(),
        };
        change(&mut config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::default());
        let cache = Arc::new(Cache::open(&dir.path().join("cache"), config.cache_bytes).unwrap());
        let mount = MountId { uuid: cache.uuid(), verifier: cache.verifier() };
        let session = Session::establish(&config, mount, Arc::clone(&clock), Arc::clone(&metrics));
        let session = session.await.unwrap();
        let client = Arc::new(Client {
            rpc: Rpc::new(&config, Arc::clone(&session), Arc::clone(&metrics)).unwrap(),
            metadata: Metadata::new(Arc::clone(&clock)),
            locks: HeldLocks::default(),
            kernel,
            runtime: tokio::runtime::Handle::current(),
            deferrals: Default::default(),
            removals: Default::default(),
            steps: Default::default(),
            late: Default::default(),
            hooks: OnceLock::new(),
            config,
            clock,
            metrics,
            session,
        });
        let area = RecoveryArea::open(&cache.recovered_dir(), 1 << 30, Duration::ZERO).unwrap();
        let content = Content::new(Arc::clone(&client), cache, Arc::new(area));
        client.set_hooks(Arc::<Content>::clone(&content) as Arc<dyn ContentHooks>);
        let events = Arc::downgrade(&client);
        client.session.run(events as Weak<dyn Events>).unwrap();
        client.session.gate().await.unwrap();
        client.deferrals.keep_in(&dir.path().join("deferred")).unwrap();
        content.recover().unwrap();
        Rig { fake, content, client, _dir: dir }
    }

    /// Makes the attributes known under a promise, as a lookup does.
    pub(super) fn promise(&self, ino: u64) {
        let asked = self.client.metadata.asked();
        let (mark, attr) = {
            let mut store = self.fake.lock();
            (store.mark(), store.attr(ino))
        };
        self.client.metadata.store_attr(asked, &mark, attr);
    }

    /// Another client publishes a version: first the push, then the change.
    pub(super) fn publish(&self, ino: u64, bytes: &[u8]) {
        let old_ver = self.fake.lock().attr(ino).content_ver;
        let seq = self.fake.lock().mark().as_of;
        let data = v1::Data { ino, old_ver, unchanged_below: None };
        let item = v1::InvalItem { what: Some(v1::inval_item::What::Data(data)) };
        self.client.inval(seq, v1::Inval { seq, items: vec![item] });
        self.fake.lock().put(ino, bytes);
    }

    pub(super) async fn create(&self, ino: u64) -> u64 {
        let (attr, grant) = {
            let mut store = self.fake.lock();
            store.put(ino, b"");
            (store.attr(ino), store.grant(ino))
        };
        self.promise(ino);
        let held = crate::content::held(&grant);
        self.content.open_created(&root(), &attr, Some(held), flags("w")).await.unwrap().fh
    }

    pub(super) async fn open(&self, ino: u64, how: &str) -> u64 {
        self.opened(ino, how).await.fh
    }

    pub(super) async fn opened(&self, ino: u64, how: &str) -> Opened {
        self.content.open(&root(), Ino(ino), flags(how)).await.unwrap()
    }

    pub(super) fn calls(&self) -> u64 {
        self.client.rpc.counts().iter().filter(|(verb, _)| !is_session(verb)).map(|(_, n)| n).sum()
    }

    pub(super) async fn until(&self, what: &str, mut done: impl FnMut(&Rig) -> bool) {
        let wait = async {
            while !done(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn is_session(verb: &str) -> bool {
    ["establish", "control", "reclaim", "reclaim_done", "close"].contains(&verb)
}

/// Asks as a driver does: on a thread that may do so much, and what that leaves in the runtime.
pub(super) async fn asked<T: Send + 'static>(
    leave: Leave,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Handle::current();
    let begun = tokio::task::spawn_blocking(move || {
        let _inside = runtime.enter();
        let mut work = Box::pin(work);
        let mut cx = Context::from_waker(Waker::noop());
        match waiting::allowed(leave, || work.as_mut().poll(&mut cx)) {
            Poll::Ready(done) => runtime.spawn(async { done }),
            Poll::Pending => runtime.spawn(work),
        }
    });
    begun.await.unwrap().await.unwrap()
}

pub(super) fn root() -> Credentials {
    Credentials::root()
}

/// `r`ead, `w`rite, `a`ppend, `t`runcate, `n`onblock.
pub(super) fn flags(how: &str) -> OpenFlags {
    OpenFlags {
        read: how.contains('r'),
        write: how.contains(['w', 'a']),
        append: how.contains('a'),
        truncate: how.contains('t'),
        nonblock: how.contains('n'),
        ..OpenFlags::default()
    }
}
