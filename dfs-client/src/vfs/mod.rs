//! POSIX calls on the shared tree.
//!
//! Every call that promises can answer is answered from memory, without waiting. Every call looks at
//! the session lease before it uses what is cached, and again for the lifetime it gives the kernel.

mod ahead;
mod attr;
mod create;
mod dir;
mod lock;
mod mkdir_ahead;
mod name_ahead;
mod names;
mod open;
mod read;
mod remove;
mod remove_ahead;
mod siblings;
mod space;
mod statfs;
mod sync;
mod types;
mod walk;
mod write;
mod xattr;

pub(crate) use create::touched_by;
pub use types::*;

use crate::cache::Cache;
use crate::client::Client;
use crate::config::Config;
use crate::content::Content;
use crate::kernel::KernelCache;
use crate::session::MountId;
use dfs_core::access::Credentials;
use dfs_core::attr::Kind;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A server that is there gives a new session its first lease within this time.
const FIRST_LEASE: Duration = Duration::from_secs(40);

/// One mounted tree. Must be dropped, and its methods polled, inside the runtime it was started on.
pub struct Vfs {
    pub(crate) client: Arc<Client>,
    pub(crate) content: Arc<Content>,
    root: Ino,
    dirs: dir::Handles,
    totals: statfs::Totals,
}

impl Vfs {
    /// Connects to the server; calls run on `runtime`. Errors: `Unavailable` if the server does not
    /// answer within 5 seconds, `Busy` if the cache folder is in use, `TooOld`, `NotFound` and
    /// `NotDirectory` for the subtree.
    pub async fn start(
        config: Config,
        kernel: Arc<dyn KernelCache>,
        runtime: Handle,
    ) -> Result<Vfs> {
        let cache = Arc::new(Cache::open(&config.cache_dir, config.cache_bytes)?);
        let mount = MountId { uuid: cache.uuid(), verifier: cache.verifier() };
        let client = Client::connect(config, mount, kernel, runtime).await?;
        let content = Content::start(&client, cache)?;
        client.run()?;
        Vfs::over(client, content).await
    }

    /// The tree of a client that runs.
    pub(crate) async fn over(client: Arc<Client>, content: Arc<Content>) -> Result<Vfs> {
        let lease = timeout(FIRST_LEASE, client.session.gate_until(None)).await;
        lease.map_err(|_| FsError::new(Code::Unavailable, "the server gives no lease"))??;
        let told = timeout(FIRST_LEASE, content.tell_left_over()).await;
        told.map_err(|_| FsError::new(Code::Unavailable, "the server does not answer"))?;
        let root = subtree(&client).await?;
        client.metadata.paths_begin_at(root);
        let (dirs, totals) = (dir::Handles::default(), statfs::Totals::default());
        Ok(Vfs { client, content, root, dirs, totals })
    }

    /// The directory that is the root here.
    pub fn root(&self) -> Ino {
        self.root
    }

    /// The client below, for its counters and its session.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The caller as the server takes it, so that what is answered here is what the server would
    /// answer.
    pub fn as_the_server_sees(&self, who: Credentials) -> Credentials {
        if self.client.session.root_squash() { who.squashed() } else { who }
    }

    /// Whether a thread that may wait for the server ([`crate::waiting::allowed`]) would do so now.
    pub fn can_wait_here(&self) -> bool {
        self.client.rpc.is_line_free()
    }

    /// Saves everything and ends the session.
    pub async fn shutdown(&self) {
        self.client.shutdown().await;
    }

    /// Refuses a change on a read-only mount.
    pub(crate) fn writable(&self) -> Result<()> {
        match self.client.config.read_only {
            true => Err(FsError::new(Code::ReadOnly, "mounted read-only")),
            false => Ok(()),
        }
    }
}

/// Finds the configured subtree.
async fn subtree(client: &Client) -> Result<Ino> {
    let root = client.session.root();
    if client.config.subtree.is_empty() {
        return Ok(root);
    }
    let names = &client.config.subtree;
    let path = names.iter().map(|name| format!("/{name}")).collect::<String>();
    let request = v1::LookupPathReq {
        dir: root.0,
        components: names.iter().map(|name| name.as_bytes().to_vec().into()).collect(),
        ..Default::default()
    };
    let reply = client.call(&Credentials::root(), request).await?;
    let missing = || FsError::new(Code::NotFound, format!("the server has no directory '{path}'"));
    let attr = convert::attr_from(reply.attr.ok_or_else(missing)?)?;
    match attr.kind {
        Kind::Directory => Ok(attr.ino),
        _ => Err(FsError::new(Code::NotDirectory, format!("'{path}' is no directory"))),
    }
}
