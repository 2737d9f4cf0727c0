//! Rows used lately, in memory, in front of a store: a lookup or a change reads the same few rows
//! again and again, and a read of the store costs a transaction of its own.
//!
//! Only this process writes. A commit takes what it changes out before it begins and puts it back
//! when it succeeded; what was read meanwhile, and may be old, is not kept.

use super::rows::{COOKIES_PER_HASH, Dentry, Inode, Stripe};
use super::{Batch, Durability, MetaStore, Read, Recovered};
use dfs_core::extent::ObjectName;
use dfs_core::{Ino, OpId, Result, Seq, SessionId};
use lru::LruCache;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

/// Rows of each kind that are kept: some ten megabytes.
const KEPT: NonZeroUsize = NonZeroUsize::new(32 * 1024).unwrap();

/// A store with its recently used rows in memory.
pub struct Recent<S> {
    store: S,
    rows: Mutex<Rows>,
}

struct Rows {
    inodes: LruCache<Ino, Option<Inode>>,
    /// The entries of a directory whose names have one hash, by the first cookie of the hash.
    names: LruCache<(Ino, u64), Vec<Dentry>>,
    /// Commits that have begun; while one runs nothing that was read is kept.
    begun: u64,
    ended: u64,
}

impl<S> Recent<S> {
    /// Over `store`, which nobody else changes.
    pub fn new(store: S) -> Recent<S> {
        let rows =
            Rows { inodes: LruCache::new(KEPT), names: LruCache::new(KEPT), begun: 0, ended: 0 };
        Recent { store, rows: Mutex::new(rows) }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().expect("no panic under this lock")
    }

    /// The value of `key`: the one kept, else the one that `read` finds, which is kept if no commit
    /// ran meanwhile.
    fn get<K: Eq + Hash, V: Clone>(
        &self,
        of: impl Fn(&mut Rows) -> &mut LruCache<K, V>,
        key: K,
        read: impl FnOnce() -> Result<V>,
    ) -> Result<V> {
        let begun = {
            let mut rows = self.rows();
            if let Some(value) = of(&mut rows).get(&key) {
                return Ok(value.clone());
            }
            (rows.begun == rows.ended).then_some(rows.begun)
        };
        let value = read()?;
        let mut rows = self.rows();
        if begun == Some(rows.begun) {
            of(&mut rows).put(key, value.clone());
        }
        Ok(value)
    }
}

impl Rows {
    /// A commit of `batch` begins: what it changes is not known until it has ended.
    fn begin(&mut self, batch: &Batch) {
        self.begun += 1;
        for ino in batch.inodes.keys() {
            self.inodes.pop(ino);
        }
        for (dir, cookie) in batch.dentries.keys() {
            self.names.pop(&(*dir, first_of(*cookie)));
        }
    }

    fn end(&mut self, committed: Option<&Batch>) {
        self.ended += 1;
        for (ino, row) in committed.into_iter().flat_map(|batch| &batch.inodes) {
            self.inodes.put(*ino, row.clone());
        }
    }
}

/// The first cookie of those that names of the same hash have.
fn first_of(cookie: u64) -> u64 {
    cookie - cookie % COOKIES_PER_HASH
}

impl<S: MetaStore> Read for Recent<S> {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        self.get(|rows| &mut rows.inodes, ino, || self.store.inode(ino))
    }

    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        let read = || self.store.dentries(dir, first, last, limit);
        let one_hash =
            first == first_of(first) && last.checked_sub(first) == Some(COOKIES_PER_HASH - 1);
        if !one_hash || limit < COOKIES_PER_HASH as usize {
            return read();
        }
        self.get(|rows| &mut rows.names, (dir, first), read)
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.store.xattrs(ino)
    }

    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        self.store.stripes(ino, first, last)
    }

    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        self.store.answer(sid, op)
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.store.number(name)
    }
}

impl<S: MetaStore> MetaStore for Recent<S> {
    fn raise_epoch(&self) -> Result<u16> {
        self.store.raise_epoch()
    }

    fn recover(&self) -> Result<Recovered> {
        self.store.recover()
    }

    fn inodes(&self) -> Result<u64> {
        self.store.inodes()
    }

    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, durability: Durability) -> Result<()> {
        self.rows().begin(batch);
        let committed = self.store.commit(epoch, seq, batch, durability);
        self.rows().end(committed.is_ok().then_some(batch));
        committed
    }

    fn flush(&self) -> Result<()> {
        self.store.flush()
    }

    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        self.store.each_object(each)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryStore, suite};
    use super::*;

    #[test]
    fn recent_rows_pass_the_suite() {
        suite::run(|| (Box::new(Recent::new(MemoryStore::new())), ()));
    }

    /// What a reader read before a commit must not stand for what the commit made of it.
    #[test]
    fn old_row_read_beside_a_commit_is_not_kept() {
        let recent = Recent::new(MemoryStore::new());
        let epoch = recent.raise_epoch().unwrap();
        let ino = Ino(5);
        let mut batch = Batch::default();
        batch.inodes.insert(ino, Some(suite::inode(ino, 1)));
        let read = recent.get(
            |rows| &mut rows.inodes,
            ino,
            || {
                let old = recent.store.inode(ino);
                recent.commit(epoch, Seq(1), &batch, Durability::Strict).unwrap();
                recent.rows().inodes.clear();
                old
            },
        );
        assert_eq!(read, Ok(None), "it was read before");
        assert_eq!(recent.inode(ino), Ok(Some(suite::inode(ino, 1))));
    }
}
