//! Rows used lately, in memory, in front of a store: a lookup or a change reads the same few rows
//! again and again, and a read of the store costs a transaction of its own.
//!
//! Only this process writes. A commit takes what it changes out before it begins and puts it back
//! when it succeeded; what was read meanwhile, and may be old, is not kept.

use super::rows::{COOKIES_PER_HASH, Dentry, Inode, Stripe};
use super::{Batch, Durability, MetaStore, Read, Recovered};
use dfs_core::attr::Kind;
use dfs_core::extent::{Extent, ObjectName};
use dfs_core::limits::INLINE_MAX;
use dfs_core::{Ino, OpId, Result, Seq, SessionId};
use lru::LruCache;
use std::collections::HashSet;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

/// Rows of each kind that are kept: some ten megabytes.
const KEPT: NonZeroUsize = NonZeroUsize::new(32 * 1024).unwrap();

/// Stripes that are kept, each with at most [`INLINE_MAX`] inline bytes: some 16 megabytes.
const STRIPES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Names of directories of which all names are known; the directories used last stay.
const WHOLE_NAMES: usize = 1024 * 1024;

/// A store with its recently used rows in memory.
pub struct Recent<S> {
    store: S,
    rows: Mutex<Rows>,
}

struct Rows {
    inodes: LruCache<Ino, Option<Inode>>,
    /// The entries of a directory whose names have one hash, by the first cookie of the hash.
    names: LruCache<(Ino, u64), Vec<Dentry>>,
    /// A file that is appended to is committed to the same stripe again and again.
    stripes: LruCache<(Ino, u64), Option<Stripe>>,
    /// Directories made lately: at least the hashes that names in them have. What is not there does
    /// not exist, and a new name is nearly always that.
    whole: LruCache<Ino, HashSet<u64>>,
    /// Hashes in `whole`, and one more for each directory.
    whole_names: usize,
    /// Commits that have begun; while one runs nothing that was read is kept.
    begun: u64,
    ended: u64,
}

impl<S> Recent<S> {
    /// Over `store`, which nobody else changes.
    pub fn new(store: S) -> Recent<S> {
        let rows = Rows {
            inodes: LruCache::new(KEPT),
            names: LruCache::new(KEPT),
            stripes: LruCache::new(STRIPES),
            whole: LruCache::unbounded(),
            whole_names: 0,
            begun: 0,
            ended: 0,
        };
        Recent { store, rows: Mutex::new(rows) }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().expect("no panic under this lock")
    }

    /// The value of `key`: the one kept, else the one that `read` finds, which is kept if no commit
    /// ran meanwhile and it is one to keep.
    fn get<K: Eq + Hash, V: Clone>(
        &self,
        of: impl Fn(&mut Rows) -> &mut LruCache<K, V>,
        key: K,
        read: impl FnOnce() -> Result<V>,
        is_kept: impl FnOnce(&V) -> bool,
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
        if begun == Some(rows.begun) && is_kept(&value) {
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
        for stripe in batch.stripes.keys() {
            self.stripes.pop(stripe);
        }
        for ((dir, cookie), row) in &batch.dentries {
            self.names.pop(&(*dir, first_of(*cookie)));
            if row.is_some() {
                self.named(*dir, first_of(*cookie));
            }
        }
    }

    /// A name with this hash is about to be in `dir`. Should that fail nothing is wrong: the store is
    /// asked.
    fn named(&mut self, dir: Ino, hash: u64) {
        let Some(hashes) = self.whole.get_mut(&dir) else { return };
        self.whole_names += usize::from(hashes.insert(hash));
        while self.whole_names > WHOLE_NAMES
            && let Some((_, hashes)) = self.whole.pop_lru()
        {
            self.whole_names -= hashes.len() + 1;
        }
    }

    /// A directory without names is there, or the inode is something else, or gone.
    fn made(&mut self, ino: Ino, row: Option<&Inode>) {
        let is_empty = |row: &Inode| row.attr.kind == Kind::Directory && row.attr.dir_ver == 0;
        if row.is_some_and(is_empty) {
            self.whole_names += usize::from(self.whole.put(ino, HashSet::new()).is_none());
        } else if row.is_none()
            && let Some(hashes) = self.whole.pop(&ino)
        {
            self.whole_names -= hashes.len() + 1;
        }
    }

    /// Whether it is known that no name in `dir` has this hash.
    fn is_absent(&mut self, dir: Ino, hash: u64) -> bool {
        self.whole.get(&dir).is_some_and(|hashes| !hashes.contains(&hash))
    }

    /// Whether it is known that no name ever was in `dir`.
    fn is_empty(&mut self, dir: Ino) -> bool {
        self.whole.get(&dir).is_some_and(HashSet::is_empty)
    }

    fn end(&mut self, committed: Option<&Batch>) {
        self.ended += 1;
        for (ino, row) in committed.into_iter().flat_map(|batch| &batch.inodes) {
            self.inodes.put(*ino, row.clone());
            self.made(*ino, row.as_ref());
        }
        for (stripe, row) in committed.into_iter().flat_map(|batch| &batch.stripes) {
            if row.as_ref().is_none_or(is_small) {
                self.stripes.put(*stripe, row.clone());
            }
        }
    }
}

/// Whether a stripe is small enough to be kept.
fn is_small(stripe: &Stripe) -> bool {
    stripe.iter().map(Extent::inline_len).sum::<u64>() <= INLINE_MAX
}

/// The first cookie of those that names of the same hash have.
fn first_of(cookie: u64) -> u64 {
    cookie - cookie % COOKIES_PER_HASH
}

impl<S: MetaStore> Read for Recent<S> {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        self.get(|rows| &mut rows.inodes, ino, || self.store.inode(ino), |_| true)
    }

    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        if self.rows().is_empty(dir) {
            return Ok(Vec::new());
        }
        let read = || self.store.dentries(dir, first, last, limit);
        let one_hash =
            first == first_of(first) && last.checked_sub(first) == Some(COOKIES_PER_HASH - 1);
        if !one_hash || limit < COOKIES_PER_HASH as usize {
            return read();
        }
        if self.rows().is_absent(dir, first) {
            return Ok(Vec::new());
        }
        self.get(|rows| &mut rows.names, (dir, first), read, |_| true)
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.store.xattrs(ino)
    }

    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        if first != last {
            return self.store.stripes(ino, first, last);
        }
        let read = || Ok(self.store.stripes(ino, first, first)?.pop().map(|(_, stripe)| stripe));
        let is_kept = |stripe: &Option<Stripe>| stripe.as_ref().is_none_or(is_small);
        let stripe = self.get(|rows| &mut rows.stripes, (ino, first), read, is_kept)?;
        Ok(stripe.map(|stripe| (first, stripe)).into_iter().collect())
    }

    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        self.store.answer(sid, op)
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.store.number(name)
    }
}

impl<S: MetaStore> MetaStore for Recent<S> {
    fn epoch(&self) -> Result<u16> {
        self.store.epoch()
    }

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

    fn finish(&self) -> Result<()> {
        self.store.finish()
    }

    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        self.store.each_object(each)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryStore, suite};
    use super::*;
    use dfs_core::extent::Source;
    use dfs_core::range::Range;

    #[test]
    fn recent_rows_pass_the_suite() {
        suite::run(|| (Box::new(Recent::new(MemoryStore::new())), ()));
    }

    /// A store that is asked neither for names nor for stripes.
    struct Unasked(MemoryStore);

    impl Read for Unasked {
        fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
            self.0.inode(ino)
        }
        fn dentries(&self, _: Ino, _: u64, _: u64, _: usize) -> Result<Vec<Dentry>> {
            Err(dfs_core::FsError::from(dfs_core::Code::Io))
        }
        fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
            self.0.xattrs(ino)
        }
        fn stripes(&self, _: Ino, _: u64, _: u64) -> Result<Vec<(u64, Stripe)>> {
            Err(dfs_core::FsError::from(dfs_core::Code::Io))
        }
        fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
            self.0.answer(sid, op)
        }
        fn number(&self, name: &str) -> Result<Option<u64>> {
            self.0.number(name)
        }
    }

    impl MetaStore for Unasked {
        fn epoch(&self) -> Result<u16> {
            self.0.epoch()
        }
        fn raise_epoch(&self) -> Result<u16> {
            self.0.raise_epoch()
        }
        fn recover(&self) -> Result<Recovered> {
            self.0.recover()
        }
        fn inodes(&self) -> Result<u64> {
            self.0.inodes()
        }
        fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, how: Durability) -> Result<()> {
            self.0.commit(epoch, seq, batch, how)
        }
        fn flush(&self) -> Result<()> {
            self.0.flush()
        }
        fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
            self.0.each_object(each)
        }
    }

    #[test]
    fn names_that_a_new_directory_does_not_have_are_known() {
        let recent = Recent::new(Unasked(MemoryStore::new()));
        let epoch = recent.raise_epoch().unwrap();
        let commit = |n, batch: &Batch| recent.commit(epoch, Seq(n), batch, Durability::Strict);
        let hash = |n: u64| n * COOKIES_PER_HASH;
        let look = |dir, n| recent.dentries(dir, hash(n), hash(n + 1) - 1, usize::MAX);
        let dir = |ino, dir_ver| {
            let mut row = suite::inode(ino, 1);
            (row.attr.kind, row.attr.dir_ver) = (Kind::Directory, dir_ver);
            Some(row)
        };
        let (new, old) = (Ino(5), Ino(6));
        let mut batch = Batch::default();
        batch.inodes.extend([(new, dir(new, 0)), (old, dir(old, 3))]);
        commit(1, &batch).unwrap();
        assert_eq!(look(new, 1), Ok(Vec::new()));
        assert!(look(old, 1).is_err(), "it may have names");
        let list = |dir| recent.dentries(dir, 0, u64::MAX, 1);
        assert_eq!(list(new), Ok(Vec::new()), "what rmdir asks");
        assert!(list(old).is_err());
        let mut batch = Batch::default();
        let name = dfs_core::name::Name::new(b"a").unwrap();
        let dentry = Dentry { dir: new, cookie: hash(1), name, ino: old, kind: Kind::Directory };
        batch.dentries.insert((new, hash(1)), Some(dentry));
        batch.inodes.insert(new, dir(new, 1));
        commit(2, &batch).unwrap();
        assert!(look(new, 1).is_err(), "it has a name of this hash");
        assert!(list(new).is_err());
        assert_eq!(look(new, 2), Ok(Vec::new()));
        let mut batch = Batch::default();
        batch.inodes.insert(new, None);
        commit(3, &batch).unwrap();
        assert!(look(new, 2).is_err(), "nothing is known of what is gone");
        assert_eq!(recent.rows().whole_names, 0);
    }

    #[test]
    fn stripes_committed_lately_are_known_unless_they_are_large() {
        let recent = Recent::new(Unasked(MemoryStore::new()));
        let epoch = recent.raise_epoch().unwrap();
        let stripe = |len: u64| {
            let source = Source::Inline(vec![1; len as usize].into());
            vec![Extent { range: Range::new(0, len), source }]
        };
        for (n, len) in [(1, INLINE_MAX), (2, INLINE_MAX + 1), (3, 0)] {
            let row = (len > 0).then(|| stripe(len));
            let mut batch = Batch::default();
            batch.stripes.insert((Ino(5), 7), row.clone());
            recent.commit(epoch, Seq(n), &batch, Durability::Strict).unwrap();
            let known = recent.stripes(Ino(5), 7, 7).ok();
            let want = row.map(|row| (7, row)).into_iter().collect::<Vec<_>>();
            assert_eq!(known, (len <= INLINE_MAX).then_some(want), "of {len} bytes");
        }
        assert!(recent.stripes(Ino(5), 7, 8).is_err() && recent.stripes(Ino(5), 6, 6).is_err());
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
            |_| true,
        );
        assert_eq!(read, Ok(None), "it was read before");
        assert_eq!(recent.inode(ino), Ok(Some(suite::inode(ino, 1))));
    }
}
