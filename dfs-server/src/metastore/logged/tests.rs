//! What the log must do: keep every commit across a kill, a prefix of them across a power loss, and
//! serve while the store behind it takes nothing.

use super::*;
use crate::metastore::{MemoryStore, SqliteStore, suite};
use dfs_core::extent::{Extent, Source};
use dfs_core::range::Range;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

fn open(dir: &Path) -> Logged<SqliteStore> {
    let path = dir.join("meta.db");
    Logged::open(SqliteStore::open(&path).unwrap(), &path, 0).unwrap()
}

/// The files a killed process would leave: without the index of SQLite's log, as after a reboot.
fn copy_of(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["meta.db", "meta.db-wal", "meta.db.log-a", "meta.db.log-b"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn one_inode(ino: u64) -> Batch {
    let mut batch = Batch::default();
    batch.inodes.insert(Ino(ino), Some(suite::inode(Ino(ino), ino)));
    batch
}

#[test]
fn logged_store_passes_the_suite() {
    suite::run(|| {
        let temp = tempfile::tempdir().unwrap();
        (Box::new(open(temp.path())) as Box<dyn MetaStore>, temp)
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..Default::default() })]

    /// As a killed process leaves it after each commit, whether the rows are in memory, in the store or
    /// on their way, every commit is there; and so after a clean end.
    #[test]
    fn logged_store_keeps_every_commit(
        batches in prop::collection::vec((suite::batch(), any::<bool>(), 0..4u8), 1..7),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let mut store = open(temp.path());
        let model = MemoryStore::new();
        model.raise_epoch().unwrap();
        for (n, (batch, strict, then)) in batches.iter().enumerate() {
            let durability = if *strict { Durability::Strict } else { Durability::Relaxed };
            let epoch = match store.epoch().unwrap() {
                0 => store.raise_epoch().unwrap(),
                epoch => epoch,
            };
            store.commit(epoch, Seq(n as u64), batch, durability).unwrap();
            model.commit(1, Seq(n as u64), batch, durability).unwrap();
            let copy = copy_of(temp.path());
            suite::assert_equal(&open(copy.path()), &model);
            // Opened once more: what was brought into the store is not taken for new.
            suite::assert_equal(&open(copy.path()), &model);
            match then {
                0 => store.shared.apply().unwrap(),
                1 => {
                    drop(store);
                    store = open(temp.path());
                }
                _ => {}
            }
            suite::assert_equal(&store, &model);
        }
    }
}

/// The log has what was added to a stripe, not the stripe again: wherever the rest is when the process is
/// killed, in the log or in the store, and however often it is read.
#[test]
fn logged_store_adds_to_a_stripe_what_was_added() {
    let temp = tempfile::tempdir().unwrap();
    let (store, model) = (open(temp.path()), MemoryStore::new());
    let (epoch, _) = (store.raise_epoch().unwrap(), model.raise_epoch().unwrap());
    let mut bytes: Vec<u8> = (0..20_000u32).map(|n| (n / 5) as u8).collect();
    for n in 0..12u64 {
        match n {
            3 | 9 => store.shared.apply().unwrap(),
            6 => bytes.truncate(15_000),
            _ => {}
        }
        bytes.extend([n as u8; 100]);
        bytes[70 * n as usize] ^= 1;
        let range = Range::of_len(0, bytes.len() as u64);
        let row = vec![Extent { range, source: Source::Inline(bytes.clone().into()) }];
        let mut batch = Batch::default();
        batch.stripes.insert((Ino(5), 0), Some(row));
        let before = store.shared.log().len();
        store.commit(epoch, Seq(n), &batch, Durability::Strict).unwrap();
        model.commit(1, Seq(n), &batch, Durability::Strict).unwrap();
        let logged = store.shared.log().len() - before;
        // From the first byte that differs on; nothing is at hand at first and behind an `apply`.
        let whole = [0, 3, 9].contains(&n);
        assert_eq!(logged > bytes.len() as u64, whole, "commit {n} of {logged} bytes");
        let copy = copy_of(temp.path());
        for _ in 0..2 {
            suite::assert_equal(&open(copy.path()), &model);
        }
    }
}

/// A log cut at any byte is a power loss without a sync: what is left is a prefix of the commits, some
/// of which are in the store already.
#[test]
fn logged_store_with_a_torn_log_holds_a_prefix() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    let epoch = store.raise_epoch().unwrap();
    let mut alone = None;
    for ino in 1..=20 {
        store.commit(epoch, Seq(ino), &one_inode(ino), Durability::Relaxed).unwrap();
        if ino == 7 || ino == 12 {
            store.shared.apply().unwrap();
        }
        if ino == 12 {
            // The thread would bring in the rest, had it the time.
            alone = Some(store.shared.applying.lock().unwrap());
        }
    }
    let copies = || {
        let copy = copy_of(temp.path());
        let names = ["meta.db.log-a", "meta.db.log-b"].map(|name| copy.path().join(name));
        (copy, names)
    };
    // The one that is written now is the shorter one, or the longer: by what it holds.
    let present: PathBuf = {
        let (_copy, names) = copies();
        let generation = |path: &PathBuf| fs::read(path).unwrap()[8];
        let newer = names.into_iter().max_by_key(generation).unwrap();
        PathBuf::from(newer.file_name().unwrap())
    };
    let whole = fs::metadata(temp.path().join(&present)).unwrap().len();
    let mut counts = Vec::new();
    for cut in (0..=whole).rev().step_by(61) {
        let (copy, _) = copies();
        let log = fs::File::options().write(true).open(copy.path().join(&present)).unwrap();
        log.set_len(cut).unwrap();
        let opened = open(copy.path());
        let count = opened.inodes().unwrap();
        let there = |ino| opened.inode(Ino(ino)).unwrap().is_some();
        assert!((1..=count).all(there) && !there(count + 1), "cut at {cut}: {count}");
        counts.push(count);
    }
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert_eq!((counts[0], *counts.last().unwrap()), (20, 12));
    drop(alone);
}

/// A store that takes nothing while told so.
struct Full(MemoryStore, AtomicBool);

impl Read for Full {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        self.0.inode(ino)
    }
    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        self.0.dentries(dir, first, last, limit)
    }
    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.0.xattrs(ino)
    }
    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        self.0.stripes(ino, first, last)
    }
    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        self.0.answer(sid, op)
    }
    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.0.number(name)
    }
}

impl MetaStore for Full {
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
        match self.1.load(Ordering::Acquire) {
            true => Err(FsError::from(Code::NoSpace)),
            false => self.0.commit(epoch, seq, batch, how),
        }
    }
    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        self.0.each_object(each)
    }
}

#[test]
fn logged_store_serves_while_the_store_behind_it_is_full() {
    let temp = tempfile::tempdir().unwrap();
    let full = Full(MemoryStore::new(), AtomicBool::new(false));
    let store = Logged::open(full, &temp.path().join("m"), 0).unwrap();
    let epoch = store.raise_epoch().unwrap();
    store.shared.store.1.store(true, Ordering::Release);
    for ino in 1..=3 {
        store.commit(epoch, Seq(ino), &one_inode(ino), Durability::Strict).unwrap();
        assert_eq!(store.shared.apply().unwrap_err().code, Code::NoSpace);
    }
    let mut gone = Batch::default();
    gone.inodes.insert(Ino(2), None);
    store.commit(epoch, Seq(4), &gone, Durability::Strict).unwrap();
    let there = |ino| store.inode(Ino(ino)).unwrap().is_some();
    assert!(there(1) && !there(2) && there(3), "rows of all three layers");
    assert_eq!(store.inodes().unwrap_err().code, Code::NoSpace);
    store.shared.store.1.store(false, Ordering::Release);
    assert_eq!(store.inodes().unwrap(), 2);
    assert!(store.shared.store.0.inode(Ino(2)).unwrap().is_none(), "it is in the store");
}

#[test]
fn rows_reach_the_store_by_themselves() {
    let temp = tempfile::tempdir().unwrap();
    let store = Logged::open(MemoryStore::new(), &temp.path().join("m"), 0).unwrap();
    let epoch = store.raise_epoch().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for ino in 1..=3 {
        store.commit(epoch, Seq(ino), &one_inode(ino), Durability::Relaxed).unwrap();
        while store.shared.store.inode(Ino(ino)).unwrap().is_none() {
            assert!(Instant::now() < deadline, "commit {ino} is not in the store");
            std::thread::yield_now();
        }
    }
}

#[test]
fn finished_store_is_complete_without_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    let epoch = store.raise_epoch().unwrap();
    store.commit(epoch, Seq(1), &one_inode(1), Durability::Relaxed).unwrap();
    store.finish().unwrap();
    let alone = SqliteStore::open(&copy_of(temp.path()).path().join("meta.db")).unwrap();
    assert!(alone.inode(Ino(1)).unwrap().is_some());
    drop(alone);
    store.commit(epoch, Seq(2), &one_inode(3), Durability::Relaxed).unwrap();
    drop(store);
    let alone = SqliteStore::open(&temp.path().join("meta.db")).unwrap();
    assert!(alone.inode(Ino(3)).unwrap().is_some(), "a clean end finishes, too");
    // What somebody changes in the database of a stopped server stands.
    let mut gone = Batch::default();
    gone.inodes.insert(Ino(3), None);
    alone.commit(epoch, Seq(3), &gone, Durability::Strict).unwrap();
    drop(alone);
    assert!(open(temp.path()).inode(Ino(3)).unwrap().is_none(), "nothing is brought in again");
}
