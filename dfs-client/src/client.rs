//! What all parts of one client share, and the boundary between metadata and file content.

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::deferred::{Deferrals, Deferred};
use crate::interrupt;
use crate::kernel::KernelCache;
use crate::late::Late;
use crate::locks::HeldLocks;
use crate::metadata::{Key, Metadata};
use crate::metrics::Metrics;
use crate::removals::Removals;
use crate::rpc::{Call, Order, Rpc};
use crate::session::{MountId, Session};
use crate::steps::Steps;
use crate::vfs::Entry;
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, SetAttr};
use dfs_core::{Ino, Result};
use dfs_proto::{convert, v1};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// A boxed future, so that [`ContentHooks`] can be a trait object.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the content layer restates after the name server restarted (PROTOCOL 2.5).
#[derive(Clone, Debug, Default)]
pub struct Restated {
    /// Grants held.
    pub grants: Vec<v1::ReclaimGrant>,
    /// Inodes open here, orphans included.
    pub open: Vec<u64>,
    /// Old versions still read.
    pub pins: Vec<v1::ReclaimPin>,
    /// Uploads not committed yet.
    pub uploads: Vec<v1::ReclaimUpload>,
}

/// What the metadata side asks of the content layer (PROTOCOL 4, 9.4).
///
/// Methods that are not futures never wait and never call back into the kernel or the server: they
/// run on the control thread, or under way of a request that answers from memory.
pub trait ContentHooks: Send + Sync {
    /// Whether a local handle of the inode is open.
    fn is_open(&self, ino: Ino) -> bool;
    /// The content of `ino` is about to change from `old_ver`; bytes below `unchanged_below` stay.
    /// Answers the old version if it is still read here and must be kept (a pin).
    fn data_changed(&self, ino: Ino, old_ver: u64, unchanged_below: Option<u64>) -> Option<u64>;
    /// Attributes of `ino` are about to change.
    fn attr_changed(&self, ino: Ino);
    /// Lays what is unsaved here (size, blocks, mtime, staged attributes) over the server's view.
    /// True if it did: the next commit changes these attributes again.
    fn overlay(&self, attr: &mut Attr) -> bool;
    /// Somebody wants a grant. One that is unknown here (its `Acquire` was interrupted) must be
    /// released at once.
    fn recall(&self, recall: v1::Recall);
    /// A grant was taken by force.
    fn revoked(&self, revoked: v1::Revoked);
    /// A grant or the record locks of an inode were lost while the session was away.
    fn lost(&self, lost: v1::Lost);
    /// There is a new session: nothing of the old one is held, unsaved work must be rescued.
    fn session_replaced(&self);
    /// The lease ran out: everything cached may be old until the gate opens again.
    fn lapsed(&self);
    /// No promise is left, and the gate is open: after [`lapsed`](Self::lapsed), in the same or in a
    /// new session, or because the server said so.
    fn resumed(&self);
    /// What to restate to a restarted name server.
    fn restate(&self) -> Restated;
    /// Keeps an attribute change of `ino` for the next commit. True: kept, because the inode is open
    /// for writing under a grant here. `size` is never passed.
    fn stage_attrs(&self, ino: Ino, set: &SetAttr) -> bool;
    /// Changes the size; `fh`: through this handle (ftruncate(2)), which was opened for writing.
    fn truncate<'a>(
        &'a self,
        who: &'a Credentials,
        ino: Ino,
        fh: Option<u64>,
        size: u64,
    ) -> Later<'a, Result<Attr>>;
    /// Commits what is unsaved before a record lock is given back (release fence, PROTOCOL 4.6), and
    /// before a change of attributes that is not left to the next commit.
    fn flush(&self, ino: Ino) -> Later<'_, Result<()>>;
    /// A record lock was given back: whoever wrote under it has finished.
    fn rest(&self, ino: Ino);
    /// A record lock was given: clean handles move to this version, and the kernel has no older pages
    /// when the future ends (acquire fence).
    fn advance(&self, attr: &Attr) -> Later<'_, ()>;
    /// As [`advance`](Self::advance), every open file to the newest version: of a lock that stands for
    /// other files too. Fails if one cannot.
    fn advance_all(&self) -> Later<'_, Result<()>>;
    /// Begins to tell the server of a file that was made here; ends when it knows the file or refused
    /// it.
    fn tell(&self, ino: Ino) -> JoinHandle<Result<()>>;
    /// Commits everything unsaved and gives all grants back: the client stops.
    fn shutdown(&self) -> Later<'_, ()>;
}

/// One machine's relation to one server.
pub struct Client {
    /// How it was set up.
    pub config: Config,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The session and its lease.
    pub session: Arc<Session>,
    /// Calls.
    pub rpc: Rpc,
    /// What is known under promises.
    pub metadata: Metadata,
    /// Record locks held here.
    pub locks: HeldLocks,
    /// The kernel's caches.
    pub kernel: Arc<dyn KernelCache>,
    /// New files that the server has not heard of.
    pub(crate) deferrals: Arc<Deferrals>,
    /// Removals that were answered and are under way.
    pub(crate) removals: Arc<Removals>,
    /// The last change of each file that is sent and not answered.
    pub(crate) steps: Arc<Steps>,
    /// Changes that the server may not have flushed yet.
    pub(crate) late: Late,
    /// Runtime of the calls.
    pub runtime: Handle,
    pub(crate) hooks: OnceLock<Weak<dyn ContentHooks>>,
}

impl Client {
    /// Opens a session. Nothing runs yet: the content layer is tied in first. Errors: those of
    /// [`Session::establish`].
    pub async fn connect(
        config: Config,
        mount: MountId,
        kernel: Arc<dyn KernelCache>,
        runtime: Handle,
    ) -> Result<Arc<Client>> {
        Client::connect_with(config, mount, kernel, runtime, Arc::new(SystemClock)).await
    }

    /// As [`connect`](Self::connect), with another source of time.
    pub async fn connect_with(
        config: Config,
        mount: MountId,
        kernel: Arc<dyn KernelCache>,
        runtime: Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Client>> {
        let metrics = Arc::new(Metrics::default());
        let session =
            Session::establish(&config, mount, Arc::clone(&clock), Arc::clone(&metrics)).await?;
        let rpc = {
            let _inside = runtime.enter();
            Rpc::new(&config, Arc::clone(&session), Arc::clone(&metrics))?
        };
        Ok(Arc::new(Client {
            metadata: Metadata::new(Arc::clone(&clock)),
            config,
            clock,
            metrics,
            session,
            rpc,
            locks: HeldLocks::default(),
            kernel,
            deferrals: Arc::default(),
            removals: Arc::default(),
            steps: Arc::default(),
            late: Late::default(),
            runtime,
            hooks: OnceLock::new(),
        }))
    }

    /// Starts the control thread: from now on the lease lives and pushes arrive. Once.
    pub fn run(self: &Arc<Self>) -> Result<()> {
        let me: Weak<Client> = Arc::downgrade(self);
        self.session.run(me)
    }

    /// Saves everything, gives back what is held and ends the session.
    pub async fn shutdown(&self) {
        if let Some(hooks) = self.hooks() {
            hooks.shutdown().await;
        }
        self.session.close().await;
    }

    /// Ties the content layer in, once, before the session runs. It refers to the client, so the
    /// client holds it only weakly.
    pub fn set_hooks(&self, hooks: Arc<dyn ContentHooks>) {
        let tied = self.hooks.set(Arc::downgrade(&hooks));
        assert!(tied.is_ok(), "the content layer is tied in once");
    }

    /// The content layer. None only in tests that run without one, and while everything ends.
    pub fn hooks(&self) -> Option<Arc<dyn ContentHooks>> {
        self.hooks.get()?.upgrade()
    }

    /// Whether a local handle of the inode is open.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.hooks().is_some_and(|hooks| hooks.is_open(ino))
    }

    /// Sends a call that changes nothing this side caches (reads, grants, uploads), follows the
    /// fixed reactions, and returns the reply. Errors: PROTOCOL appendix A.
    pub async fn call<Q: Call>(&self, who: &Credentials, request: Q) -> Result<Q::Reply> {
        if !Q::VERB.tells_itself() {
            interrupt::wait(self.tell_all()).await?;
        }
        self.rpc.call(who, request).await
    }

    /// As [`call`](Client::call), for what is asked about the content of some files: of those that were
    /// made here only these matter to the answer.
    pub(crate) async fn call_about<Q: Call>(
        &self,
        inos: &[Ino],
        who: &Credentials,
        request: Q,
    ) -> Result<Q::Reply> {
        let these = || inos.iter().filter_map(|ino| self.deferrals.get(*ino)).collect();
        interrupt::wait(self.tell_of(these)).await?;
        self.rpc.call(who, request).await
    }

    /// Before anything is asked, the server hears of the files that were made here and of the names
    /// that were removed: the answer shows them.
    pub(crate) async fn tell_all(&self) {
        self.tell_of(|| self.deferrals.all()).await;
    }

    async fn tell_of(&self, files: impl FnOnce() -> Vec<Arc<Deferred>>) {
        self.removals_over(&self.removals.under_way()).await;
        if !self.deferrals.is_empty() {
            self.tell(files()).await;
        }
    }

    /// Returns when no removal is under way in any of these directories.
    pub(crate) async fn removals_over(&self, dirs: &[Ino]) {
        if self.removals.touch(dirs) {
            self.rpc.hurry();
            self.removals.over(dirs).await;
        }
    }

    /// Begins to tell the server of these files, all at a time; the future waits for it. One that is refused stays or is given up; the
    /// commit of its content says so.
    pub(crate) fn tell(&self, files: Vec<Arc<Deferred>>) -> impl Future<Output = ()> + use<> {
        if !files.is_empty() {
            self.rpc.hurry();
        }
        let hooks = self.hooks();
        let tell = |file: Arc<Deferred>| Some(hooks.as_ref()?.tell(file.drawn.ino));
        let tasks: Vec<_> = files.into_iter().filter_map(tell).collect();
        async move {
            for task in tasks {
                // One that was cut off told nothing, like one that failed.
                let _ = task.await;
            }
        }
    }

    /// Sends a change of the namespace or of attributes and follows it to its end even if the
    /// caller is interrupted. While it runs, nothing is answered from the cache for `touched`; when
    /// it is done `apply` enters the reply into the cache.
    pub async fn change<Q: Call>(
        self: &Arc<Self>,
        who: &Credentials,
        touched: Vec<Key>,
        request: Q,
        apply: impl FnOnce(&Client, &Q::Reply) -> Result<()> + Send + 'static,
    ) -> Result<Q::Reply>
    where
        Q::Reply: Sync,
    {
        crate::change::run(self, who, touched, (request, Order::default()), apply).await
    }

    /// Attributes as the server knows them: from the cache, else asked.
    pub async fn attr(&self, ino: Ino) -> Result<Attr> {
        self.session.gate().await?;
        if let Some(attr) = self.metadata.attr(ino) {
            self.metrics.hits.inc();
            return Ok(attr);
        }
        self.metrics.misses.inc();
        interrupt::wait(self.tell_all()).await?;
        let asked = self.metadata.asked();
        let request = v1::GetAttrReq { ino: ino.0, ..Default::default() };
        let reply = self.rpc.call(&Credentials::root(), request).await?;
        let attr = convert::need_attr(reply.attr)?;
        Ok(self.metadata.store_attr(asked, &reply.mark.unwrap_or_default(), attr))
    }

    /// Returns when every change answered so far survives a power loss of the server: at once unless
    /// it runs `--durability relaxed` or one was answered before its flush. Errors: `Io` if it cannot
    /// say so.
    pub async fn flush(&self) -> Result<()> {
        interrupt::wait(self.tell_all()).await?;
        let answered = self.late.answered();
        // What was answered was answered by a server that had said which it is.
        if !self.session.relaxed() && self.late.is_flushed() {
            return Ok(());
        }
        self.rpc.call(&Credentials::root(), v1::FlushReq::default()).await?;
        self.late.flushed(answered);
        Ok(())
    }

    /// Lifetime the kernel may give to something promised now (PROTOCOL 5.2); zero while the lease
    /// is not live.
    pub fn ttl(&self) -> Duration {
        self.session.ttl()
    }

    /// Attributes for the kernel: local unsaved changes laid over them, with a lifetime if they are
    /// promised (and then the newest ones known, at least as new as `attr`).
    pub fn entry(&self, attr: Attr) -> Entry {
        let ttl = self.ttl();
        let (mut attr, ttl) = match self.metadata.lend_attr(attr.ino, ttl) {
            Some(cached) if cached.attr_ver >= attr.attr_ver => (cached, ttl),
            _ => (attr, Duration::ZERO),
        };
        let unsaved = self.hooks().is_some_and(|hooks| hooks.overlay(&mut attr));
        // Nobody would tell the kernel what the commit makes of them (ctime, above all).
        Entry { attr, ttl: if unsaved { Duration::ZERO } else { ttl } }
    }

    /// The last local handle of an inode without names is closed: the server may free it.
    pub fn orphan_done(&self, ino: Ino) {
        self.session.outbox.orphan_done(ino);
    }

    /// An inode is open without a promise on it: keeps it alive (PROTOCOL 3.6).
    pub fn open_hold(&self, ino: Ino) {
        self.session.outbox.open_hold(ino);
    }

    /// Old versions are no longer read here.
    pub fn unpin(&self, ino: Ino, ver: u64) {
        self.session.outbox.unpin(ino, ver);
    }

    /// Bytes flushed so far of a recalled grant (PROTOCOL 4.1).
    pub fn progress(&self, grant: u64, bytes: u64) {
        self.session.outbox.progress(grant, bytes);
    }
}
