//! What each verb of the namespace does: which keys it touches, what must hold, what changes.
//!
//! An operation is data and three pure steps over a view of the store (decision D1). The mutation
//! pipeline takes the intents, runs `check`, lets clients forget what `check` names, and runs
//! `effect` inside the next batch (PROTOCOL 3.2). Nothing here waits, locks or sends.

mod attributes;
mod clone;
mod commit;
mod compact;
mod create;
mod edit;
mod free_orphan;
mod install;
mod intents;
mod link;
mod make_file;
mod mkdir;
mod mknod;
mod node;
mod outcome;
mod removexattr;
mod rename;
mod rmdir;
mod rules;
mod session;
mod setattr;
mod setxattr;
mod symlink;
#[cfg(test)]
pub(in crate::nameserver) mod tests;
mod truncate;
mod unlink;
mod xattr;

pub use clone::CloneRange;
pub use commit::Commit;
pub use compact::Compact;
pub use create::Create;
pub use free_orphan::FreeOrphan;
pub use link::Link;
pub use make_file::MakeFile;
pub use mkdir::Mkdir;
pub use mknod::Mknod;
pub use node::root;
pub use removexattr::RemoveXattr;
pub use rename::Rename;
pub use rmdir::Rmdir;
pub use session::{close_session, keep_answer, open_session, record_loss};
pub use setattr::SetAttributes;
pub use setxattr::{SetXattr, XattrMode};
pub use symlink::Symlink;
pub use truncate::Truncate;
pub use unlink::Unlink;

use crate::metastore::{Batch, MetaStore, Overlay, Read};
use dfs_core::Result;
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, Kind};
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::time::Timestamp;

/// What an operation found or did: attributes after it. Kept as its stored answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The inode the call is about (created, changed, moved, unlinked).
    pub object: Option<Attr>,
    /// The directory of the (old) name.
    pub dir: Option<Attr>,
    /// The directory of the new name, if it is another.
    pub to_dir: Option<Attr>,
    /// The inode that had the new name before.
    pub replaced: Option<Attr>,
    /// Whether `object` is new.
    pub created: bool,
}

impl Outcome {
    /// The directory that was made.
    pub fn made_directory(&self) -> Option<&Attr> {
        self.object.as_ref().filter(|attr| self.created && attr.kind == Kind::Directory)
    }
}

/// What `check` decided. Lives for one call, so its size costs nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Verdict {
    /// Nothing needs to change; this is the answer.
    Done(Outcome),
    /// Change it, after everybody forgot these.
    Change(Vec<Item>),
}

/// The caller and the rules of the file system, the same for all three steps.
pub struct Context<'a> {
    /// Who asks.
    pub who: &'a Credentials,
    /// Key of the directory cookies.
    pub cookie_key: &'a [u8; 16],
}

/// Whether the answer of an operation waits until its effect survives a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// In every mode: so for content that `fsync` speaks of.
    Always,
    /// If the server runs `--durability strict`.
    AsSet,
    /// In no mode: no content goes with it. The next change that is flushed brings it, or the `Flush`
    /// of who wants to know, or 10 ms (`docs/design/0020`, 0027).
    Later,
}

/// A verb with its arguments.
pub trait Op: Send + Sync {
    /// Name of the verb, for logs and metrics.
    fn verb(&self) -> &'static str;
    /// When its answer waits for the flush.
    fn flush(&self) -> Flush {
        Flush::AsSet
    }
    /// Whether it may need room: refused when little is left, so that what frees room still goes.
    fn grows(&self) -> bool {
        true
    }
    /// The keys it touches, as the view shows them now. Asked again once they are held: if the
    /// answer differs, the pipeline starts over.
    fn intents(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Vec<(IntentKey, Hold)>>;
    /// Permission, existence, preconditions; then what others must forget.
    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict>;
    /// Writes the change. `check` has passed and its intents were held since; only what several
    /// operations may change at once (times and counters of a parent) can have moved.
    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome>;
}

/// Numbers a transaction may draw.
pub trait Allocate {
    /// An inode number never used before.
    fn new_ino(&mut self, batch: &mut Batch) -> dfs_core::Ino;
    /// A content version never used before.
    fn new_ver(&mut self, batch: &mut Batch) -> u64;
}

/// The batch being built, and the store as it will be with it.
pub struct Txn<'a> {
    /// The store.
    pub store: &'a dyn MetaStore,
    /// What changes.
    pub batch: &'a mut Batch,
    /// Where new numbers come from.
    pub numbers: &'a mut dyn Allocate,
    /// The server's wall time, the same for the whole operation.
    pub now: Timestamp,
}

impl Txn<'_> {
    /// The store with this batch over it.
    pub fn view(&self) -> Overlay<'_> {
        Overlay { store: self.store, batch: self.batch }
    }
}
