//! What the client asks of the kernel's caches. `dfs-fuse` implements it; tests use a recorder.

use dfs_core::Ino;
use dfs_core::name::Name;
use dfs_core::range::Range;

/// A name the kernel must forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleEntry {
    /// The directory.
    pub dir: Ino,
    /// The name.
    pub name: Name,
    /// The inode it named, if it is known to be gone (watchers then see a deletion).
    pub deleted: Option<Ino>,
}

/// The kernel's caches (PROTOCOL 5.3). No method blocks: what could block runs on threads of the
/// implementation.
pub trait KernelCache: Send + Sync {
    /// Forgets attributes of an inode, soon: see `forget_entries`.
    fn forget_attr(&self, ino: Ino);
    /// Forgets names, the listings of their directories, and `listings`, then calls `done`: when all
    /// are gone, or after a few milliseconds when the kernel was told to revalidate every entry
    /// instead. `done` also waits for the attributes and the epoch of calls made before this one, so
    /// it is the moment to acknowledge both; it is called at once if nothing is left to do.
    fn forget_entries(
        &self,
        entries: Vec<StaleEntry>,
        listings: Vec<Ino>,
        done: Box<dyn FnOnce() + Send>,
    );
    /// Forgets cached pages of an inode that have a byte in `range`, in the background, then calls
    /// `done`.
    fn forget_pages(&self, ino: Ino, range: Range, done: Box<dyn FnOnce() + Send>);
    /// Fills the pages of inode `ino` with `bytes`, which are all it has, before it returns; false: the
    /// kernel did not take them. To be called only while nobody has the inode open: it blocks as long as
    /// a read of the inode is under way.
    fn give_pages(&self, ino: Ino, bytes: &[u8]) -> bool {
        let _ = (ino, bytes);
        false
    }
    /// Makes the kernel revalidate every entry and directory it knows.
    fn bump_epoch(&self);
}

/// A kernel that caches nothing: for the library and for tests.
pub struct NoKernel;

impl KernelCache for NoKernel {
    fn forget_attr(&self, _: Ino) {}
    fn forget_entries(&self, _: Vec<StaleEntry>, _: Vec<Ino>, done: Box<dyn FnOnce() + Send>) {
        done();
    }
    fn forget_pages(&self, _: Ino, _: Range, done: Box<dyn FnOnce() + Send>) {
        done();
    }
    fn bump_epoch(&self) {}
}
