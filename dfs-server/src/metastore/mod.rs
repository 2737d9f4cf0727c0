//! Durable metadata: typed rows, read one by one and changed in atomic batches.
//!
//! The name server is the only writer. Its unit is [`MetaStore::commit`]: one batch, conditional on
//! the leader epoch, applied whole or not at all (PROTOCOL 6.6). Reads see the last applied batch.
//! Nothing here knows the rules of a file system; those are in `nameserver/op`.

mod batch;
pub(crate) mod codec;
mod logged;
mod memory;
mod recent;
mod rows;
mod sqlite;
#[cfg(test)]
mod suite;

pub use batch::{Batch, Overlay};
pub use logged::Logged;
pub use memory::MemoryStore;
pub use recent::Recent;
pub use rows::{
    COOKIES_PER_HASH, Dentry, Inode, LostRow, SessionRow, Stripe, cookie_base, store_mark,
};
pub use sqlite::SqliteStore;

use dfs_core::{Code, FsError, Ino, OpId, Result, Seq, SessionId};
use std::path::Path;

/// The store of a server: a log, the database at `path` behind it, and what was used lately in
/// memory. The caller holds the lock of the folder. Errors: those of [`SqliteStore::open`]; `Io` for a
/// damaged log.
pub fn open(path: &Path) -> Result<Recent<Logged<SqliteStore>>> {
    Ok(Recent::new(Logged::open(SqliteStore::open(path)?, path, logged::APPLY_BYTES)?))
}

/// When a commit may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After it survives a power loss.
    Strict,
    /// After it survives the death of this process; `flush` makes it survive a power loss.
    Relaxed,
}

/// Reads of single rows and short runs of them.
pub trait Read {
    /// An inode, also one without names that is still held open.
    fn inode(&self, ino: Ino) -> Result<Option<Inode>>;
    /// The entries of `dir` with a cookie in `first..=last`, by cookie, at most `limit`.
    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>>;
    /// All extended attributes of an inode, by name.
    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;
    /// The stripes of an inode with an index in `first..=last`, by index; holes have none.
    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>>;
    /// The stored answer of an operation (PROTOCOL 2.7).
    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>>;
    /// A number kept under a name in the configuration table.
    fn number(&self, name: &str) -> Result<Option<u64>>;
}

/// What a name server must know before it serves.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Sessions whose closing is not recorded.
    pub sessions: Vec<SessionRow>,
    /// What was taken from them by force.
    pub lost: Vec<LostRow>,
    /// Inodes without names: held open when the server stopped.
    pub orphans: Vec<Ino>,
    /// Key of the hash behind directory cookies, made when the store was.
    pub cookie_key: [u8; 16],
    /// Number of inodes.
    pub inodes: u64,
}

/// A store of metadata. Every method may block on the disk for a moment, none waits for a peer.
pub trait MetaStore: Read + Send + Sync {
    /// The present leader epoch.
    fn epoch(&self) -> Result<u16>;
    /// Raises the leader epoch durably and returns the new one; every later commit with an older
    /// epoch fails with `StaleLeader`.
    fn raise_epoch(&self) -> Result<u16>;
    /// Reads what a new leader must know.
    fn recover(&self) -> Result<Recovered>;
    /// Number of inodes now. Cheap: every commit keeps it.
    fn inodes(&self) -> Result<u64>;
    /// Applies a batch whole or not at all. Fails with `StaleLeader` (`epoch` is not the present
    /// one), `NoSpace`, `Invalid` (a stripe out of order) or `Io`; after a failure nothing of it is
    /// visible. After `Io` it may still turn up when the store is opened again: whether it reached
    /// the disk is unknown, and the store may refuse all further changes until then.
    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, durability: Durability) -> Result<()>;
    /// Makes every applied batch survive a power loss.
    fn flush(&self) -> Result<()>;
    /// Makes every applied batch survive a power loss and leaves nothing to do for the next start.
    fn finish(&self) -> Result<()> {
        self.flush()
    }
    /// Calls `each` for every object that a stripe refers to, as of one moment.
    fn each_object(&self, each: &mut dyn FnMut(dfs_core::extent::ObjectName)) -> Result<()>;
}

/// A row that no version of this program has written.
fn damaged(row: impl std::fmt::Display) -> FsError {
    FsError::new(Code::Io, format!("metadata store: {row} is damaged"))
}
