//! What only a store on a disk must do: outlive its process, refuse what it does not know, and
//! stay whole when the disk is full.

use super::*;
use crate::datadir::DataDir;
use crate::metastore::suite;
use crate::metastore::{Batch, Durability, MemoryStore, MetaStore, Read};
use dfs_core::{Ino, Seq};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn new_store() -> (SqliteStore, TempDir) {
    let temp = tempfile::tempdir().unwrap();
    (SqliteStore::open(&temp.path().join("meta.db")).unwrap(), temp)
}

fn one_inode(ino: u64) -> Batch {
    let mut batch = Batch::default();
    batch.inodes.insert(Ino(ino), Some(suite::inode(Ino(ino), ino)));
    batch
}

#[test]
fn sqlite_store_passes_the_suite() {
    suite::run(|| {
        let (store, temp) = new_store();
        (Box::new(store) as Box<dyn MetaStore>, temp)
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..Default::default() })]

    /// Opened again after a clean end, and opened as a killed process leaves it (the files copied
    /// while the store is open), every commit is there.
    #[test]
    fn sqlite_store_keeps_every_commit(
        batches in prop::collection::vec((suite::batch(), any::<bool>()), 1..6),
    ) {
        let (mut store, temp) = new_store();
        let model = MemoryStore::new();
        model.raise_epoch().unwrap();
        for (n, (batch, strict)) in batches.iter().enumerate() {
            let durability = if *strict { Durability::Strict } else { Durability::Relaxed };
            let epoch = store.raise_epoch().unwrap();
            prop_assert_eq!(usize::from(epoch), n + 1);
            store.commit(epoch, Seq(n as u64), batch, durability).unwrap();
            model.commit(1, Seq(n as u64), batch, durability).unwrap();
            let copy = copy_of(temp.path());
            let copied = SqliteStore::open(&copy.path().join("meta.db")).unwrap();
            suite::assert_equal(&copied, &model);
            if n % 2 == 0 {
                let key = store.recover().unwrap().cookie_key;
                drop(store);
                store = SqliteStore::open(&temp.path().join("meta.db")).unwrap();
                prop_assert_eq!(store.recover().unwrap().cookie_key, key);
                suite::assert_equal(&store, &model);
            }
        }
    }
}

/// The files a killed process would leave: without the index of the log, as after a reboot.
fn copy_of(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["meta.db", "meta.db-wal"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// A log cut at any byte is a power loss without a sync: what is left is a prefix of the commits.
#[test]
fn sqlite_store_with_a_torn_log_holds_a_prefix() {
    let (store, temp) = new_store();
    let epoch = store.raise_epoch().unwrap();
    for ino in 1..=20 {
        store.commit(epoch, Seq(ino), &one_inode(ino), Durability::Relaxed).unwrap();
    }
    let whole = fs::metadata(temp.path().join("meta.db-wal")).unwrap().len();
    let mut counts = Vec::new();
    for cut in (0..=whole).rev().step_by(1777) {
        let copy = copy_of(temp.path());
        let log = fs::File::options().write(true).open(copy.path().join("meta.db-wal")).unwrap();
        log.set_len(cut).unwrap();
        let Ok(copied) = SqliteStore::open(&copy.path().join("meta.db")) else {
            panic!("log cut at {cut} of {whole}")
        };
        let count = copied.inodes().unwrap();
        let there = |ino| copied.inode(Ino(ino)).unwrap().is_some();
        assert!((1..=count).all(there) && !there(count + 1), "cut at {cut}: {count}");
        counts.push(count);
    }
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert_eq!((counts[0], *counts.last().unwrap()), (20, 0));
}

#[test]
fn sqlite_store_of_a_newer_format_is_refused() {
    let (store, temp) = new_store();
    drop(store);
    let path = temp.path().join("meta.db");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", schema::FORMAT + 1).unwrap();
    drop(conn);
    let err = SqliteStore::open(&path).err().unwrap();
    assert_eq!(err.code, Code::NotSupported);
    assert!(err.message.contains("has format 3"), "{err}");
}

#[test]
fn sqlite_store_refuses_files_of_others() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("meta.db");
    fs::write(&path, "x".repeat(9000)).unwrap();
    assert_eq!(SqliteStore::open(&path).err().unwrap().code, Code::Invalid);
    fs::remove_file(&path).unwrap();
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(conn);
    assert_eq!(SqliteStore::open(&path).err().unwrap().code, Code::Invalid);
}

#[test]
fn sqlite_store_is_set_up_as_measured() {
    let (store, temp) = new_store();
    let writer = Connection::open(temp.path().join("meta.db")).unwrap();
    let text = |name| writer.pragma_query_value(None, name, |r| r.get::<_, String>(0)).unwrap();
    let number = |name| writer.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(text("journal_mode"), "wal");
    assert_eq!(number("page_size"), 4096);
    assert_eq!(text("integrity_check"), "ok");
    let reader = store.readers.lend();
    assert_eq!(reader.pragma_query_value(None, "mmap_size", |r| r.get::<_, i64>(0)), Ok(0));
    assert!(reader.execute("DELETE FROM leader", ()).is_err());
}

/// Many threads read, more than there are connections, and each sees what was committed before.
#[test]
fn sqlite_store_readers_see_the_last_commit() {
    let (store, _temp) = new_store();
    let epoch = store.raise_epoch().unwrap();
    let last = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while last.load(Ordering::Acquire) < 200 {
                    let committed = last.load(Ordering::Acquire);
                    let number = store.number("n").unwrap().unwrap_or(0);
                    assert!(number >= committed, "read {number} after commit {committed}");
                }
            });
        }
        for n in 1..=200 {
            let mut batch = Batch::default();
            batch.numbers.insert("n".into(), n);
            store.commit(epoch, Seq(n), &batch, Durability::Relaxed).unwrap();
            last.store(n, Ordering::Release);
        }
    });
}

/// Past the automatic checkpoint the log starts over, and a flush still covers everything.
#[test]
fn sqlite_store_checkpoints_and_goes_on() {
    let (store, temp) = new_store();
    let epoch = store.raise_epoch().unwrap();
    let mut ino = 0;
    for seq in 0..40 {
        let mut batch = Batch::default();
        for _ in 0..500 {
            ino += 1;
            batch.stripes.insert((Ino(ino), 0), Some(suite::stripe(ino)));
            batch.inodes.insert(Ino(ino), Some(suite::inode(Ino(ino), ino)));
        }
        store.commit(epoch, Seq(seq), &batch, Durability::Relaxed).unwrap();
    }
    store.flush().unwrap();
    let log = fs::metadata(temp.path().join("meta.db-wal")).unwrap().len();
    assert!(log < 8 << 20, "log of {log} bytes was never started over");
    let copy = copy_of(temp.path());
    let copied = SqliteStore::open(&copy.path().join("meta.db")).unwrap();
    assert_eq!(copied.inodes(), Ok(ino));
    let mut objects = 0;
    copied.each_object(&mut |_| objects += 1).unwrap();
    assert_eq!(objects, ino);
}

#[test]
fn sqlite_store_refuses_all_after_a_failed_sync() {
    let (store, _temp) = new_store();
    let epoch = store.raise_epoch().unwrap();
    // A pipe cannot be synced: fsync(2) fails with EINVAL, as a disk would with EIO.
    let (_read, write) = nix::unistd::pipe().unwrap();
    let log = std::mem::replace(&mut *store.syncing.lock().unwrap(), File::from(write));
    store.commit(epoch, Seq(1), &one_inode(1), Durability::Relaxed).unwrap();
    assert_eq!(store.flush().unwrap_err().code, Code::Io);
    *store.syncing.lock().unwrap() = log;
    assert_eq!(store.flush().unwrap_err().code, Code::Io);
    for durability in [Durability::Relaxed, Durability::Strict] {
        let err = store.commit(epoch, Seq(2), &one_inode(2), durability).unwrap_err();
        assert_eq!(err.code, Code::Io);
    }
    assert_eq!(store.inodes(), Ok(1));
}

#[test]
fn sqlite_store_on_a_full_disk_says_so_and_stays_whole() {
    let Some(disk) = crate::disk::tests::TinyDisk::new(8 << 20) else { return };
    let dir = DataDir::open(disk.path()).unwrap();
    let filler = dir.path().join("filler");
    fs::write(&filler, vec![0; 2 << 20]).unwrap();
    let store = SqliteStore::open(&dir.meta_db()).unwrap();
    let epoch = store.raise_epoch().unwrap();
    let mut ino = 0;
    let err = loop {
        let mut batch = one_inode(ino + 1);
        batch.xattrs.insert((Ino(ino + 1), b"user.x".to_vec()), Some(vec![7; 60_000]));
        match store.commit(epoch, Seq(ino), &batch, Durability::Strict) {
            Ok(()) => ino += 1,
            Err(err) => break err,
        }
        assert!(ino < 1000, "the disk never fills");
    };
    assert_eq!(err.code, Code::NoSpace, "{err}");
    assert_eq!(store.inodes(), Ok(ino));
    assert_eq!(store.inode(Ino(ino + 1)), Ok(None));
    // Space that others free can be used at once, and after another start.
    fs::remove_file(filler).unwrap();
    let mut freed = Batch::default();
    freed.xattrs.insert((Ino(1), b"user.x".to_vec()), None);
    store.commit(epoch, Seq(ino + 1), &freed, Durability::Strict).unwrap();
    drop(store);
    let store = SqliteStore::open(&dir.meta_db()).unwrap();
    assert_eq!(store.inodes(), Ok(ino));
    assert_eq!(store.xattrs(Ino(1)), Ok(Vec::new()));
    store.commit(epoch, Seq(ino + 2), &one_inode(ino + 1), Durability::Strict).unwrap();
}
