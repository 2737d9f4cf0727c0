//! The translation: one method per FUSE operation, each of which copies its arguments, calls the
//! client and turns the result into a reply. Nothing is decided here.
//!
//! A method never blocks its FUSE thread: [`call`] polls the client once and leaves the rest to the
//! client's runtime. No method is left to fuser's defaults, which answer ENOSYS; the kernel would
//! take that for the rest of the mount's life.

mod call;
mod connect;
mod data;
mod dirs;
mod filesystem;
mod flags;
mod handles;
mod inodes;
mod lock_call;
mod locks;
mod names;
mod passthrough;
mod xattr;

use crate::attr::Numbers;
use crate::lookout::Lookout;
use crate::waitlist::WaitList;
use call::Call;
use dfs_client::vfs::Vfs;
use fuser::{INodeNo, Request};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The file system fuser serves.
pub struct Driver {
    vfs: Arc<Vfs>,
    runtime: Handle,
    numbers: Numbers,
    lock_owners: Arc<locks::Owners>,
    backings: Arc<passthrough::Backings>,
    waits: WaitList,
    lookout: Arc<Lookout>,
}

impl Driver {
    /// Serves `vfs`; requests that wait run on `runtime`. The kernel may read files of the folder
    /// `cache`, if there is one, by itself. Fails if no thread can be started.
    pub fn new(vfs: Arc<Vfs>, runtime: Handle, cache: Option<&Path>) -> std::io::Result<Driver> {
        let numbers = Numbers::new(vfs.root());
        let waits = WaitList::start()?;
        let backings = Arc::new(passthrough::Backings::of(cache));
        let (lock_owners, lookout) = Default::default();
        Ok(Driver { vfs, runtime, numbers, lock_owners, backings, waits, lookout })
    }

    /// What is to know the session's descriptor.
    pub fn lookout(&self) -> Arc<Lookout> {
        self.lookout.clone()
    }

    /// The numbers of inodes on this mount.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    fn call<'a>(&'a self, op: &'static str, request: &'a Request, ino: INodeNo) -> Call<'a> {
        let ino = self.numbers.from_kernel(ino);
        let turn = self.lookout.asked(request.pid(), op);
        Call { driver: self, op, request, tid: request.pid(), ino, turn }
    }
}
