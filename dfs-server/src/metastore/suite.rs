//! What every metadata store must do: one suite, run against each of them.

use super::rows::{COOKIES_PER_HASH, Dentry, Inode, LostRow, SessionRow, Stripe};
use super::{Batch, Durability, MemoryStore, MetaStore, Overlay, Read};
use dfs_core::attr::{Attr, Kind};
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::name::Name;
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::{Code, Fence, Ino, OpId, Seq, SessionId};
use proptest::prelude::*;

/// Numbers that rows are keyed by: few, so that batches meet, and on both sides of the sign.
const NUMBERS: [u64; 6] = [0, 1, 7, i64::MAX as u64, 1 << 63, u64::MAX];
const CONFIG: [&str; 2] = ["next_ino", "next_ver"];

/// Attributes with every field filled from `ino` and `seed`.
pub(super) fn inode(ino: Ino, seed: u64) -> Inode {
    let kinds = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo, Kind::BlockDevice];
    let time =
        |n: u64| Timestamp { seconds: seed.cast_signed() ^ -3, nanos: (n % 1_000_000_000) as u32 };
    let attr = Attr {
        ino,
        kind: kinds[seed as usize % kinds.len()],
        mode: seed as u32 & 0o7777,
        uid: (seed >> 3) as u32,
        gid: u32::MAX - seed as u32,
        nlink: seed as u32 % 3,
        rdev: (seed >> 7) as u32,
        size: seed.rotate_left(9),
        blocks: seed.rotate_left(17),
        atime: time(seed),
        mtime: time(seed >> 1),
        ctime: time(seed >> 2),
        btime: time(999_999_999),
        attr_ver: seed,
        content_ver: !seed,
        has_xattrs: seed.is_multiple_of(2),
        link_target: seed.to_le_bytes()[..seed as usize % 9].to_vec(),
        dir_ver: seed.rotate_left(31),
        parent: Ino(seed.rotate_left(5)),
    };
    Inode { attr, unit: seed.max(1) }
}

fn dentry(dir: Ino, cookie: u64, seed: u64) -> Dentry {
    let name = Name::new(format!("\u{fc} {seed}").as_bytes()).unwrap();
    Dentry { dir, cookie, name, ino: Ino(seed), kind: Kind::Socket }
}

/// One extent in an object, one inline, a gap between.
pub(super) fn stripe(seed: u64) -> Stripe {
    let object = ObjectName { ino: Ino(seed), born: !seed, n: seed as u32 };
    let start = seed % (1 << 40);
    vec![
        Extent { range: Range::of_len(start, 10), source: Source::Object(object, seed) },
        Extent {
            range: Range::of_len(start + 50, 3),
            source: Source::Inline(vec![seed as u8; 3].into()),
        },
    ]
}

fn session(sid: SessionId, seed: u64) -> SessionRow {
    let bytes = u128::from(seed).to_le_bytes();
    SessionRow {
        sid,
        epoch: seed,
        uuid: bytes,
        verifier: bytes,
        description: format!("host {seed}"),
        floor: seed,
        absent: seed % 2 == 1,
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop::sample::select(&NUMBERS[..])
}

/// Up to `most` rows: key parts, and what to fill the row from (`None` deletes).
fn rows(most: usize) -> impl Strategy<Value = Vec<(u64, u64, Option<u64>)>> {
    let row = (number(), number(), prop::option::weighted(0.75, any::<u64>()));
    prop::collection::vec(row, 0..most)
}

/// Random batches.
pub(super) fn batch() -> impl Strategy<Value = Batch> {
    let tables = (rows(6), rows(12), rows(6), rows(6), rows(3), rows(4), rows(4));
    let forget =
        (prop::collection::vec(number(), 0..2), prop::collection::vec((number(), number()), 0..2));
    (tables, forget).prop_map(|(tables, (forgotten, done))| {
        let (inodes, dentries, xattrs, stripes, sessions, lost, answers) = tables;
        let mut batch = Batch::default();
        for (a, _, seed) in inodes {
            batch.inodes.insert(Ino(a), seed.map(|s| inode(Ino(a), s)));
        }
        for (a, b, seed) in dentries {
            batch.dentries.insert((Ino(a), b), seed.map(|s| dentry(Ino(a), b, s)));
        }
        for (a, b, seed) in xattrs {
            let name = b.to_le_bytes()[..b as usize % 9].to_vec();
            batch
                .xattrs
                .insert((Ino(a), name), seed.map(|s| s.to_le_bytes()[..s as usize % 9].to_vec()));
        }
        for (a, b, seed) in stripes {
            batch.stripes.insert((Ino(a), b), seed.map(stripe));
        }
        for (a, _, seed) in sessions {
            batch.sessions.insert(SessionId(a), seed.map(|s| session(SessionId(a), s)));
        }
        for (a, b, seed) in lost {
            batch.lost.insert(LostRow { sid: SessionId(a), ino: Ino(b), fence: seed.map(Fence) });
        }
        for (a, b, seed) in answers {
            batch.answers.insert((SessionId(a), OpId(b)), seed.unwrap_or(0).to_le_bytes().to_vec());
            batch.numbers.insert(CONFIG[b as usize % 2].into(), seed.unwrap_or(u64::MAX));
        }
        batch.forget_sessions = forgotten.into_iter().map(SessionId).collect();
        batch.answers_done = done.into_iter().map(|(s, op)| (SessionId(s), OpId(op))).collect();
        batch
    })
}

/// Fails unless every read of `a` and `b` answers the same.
fn assert_reads_equal(a: &dyn Read, b: &dyn Read) {
    for x in NUMBERS {
        assert_eq!(a.inode(Ino(x)), b.inode(Ino(x)), "inode {x}");
        assert_eq!(a.xattrs(Ino(x)), b.xattrs(Ino(x)), "xattrs of {x}");
        for y in NUMBERS {
            let first = y - y % COOKIES_PER_HASH;
            let (last, limit) = (first + (COOKIES_PER_HASH - 1), COOKIES_PER_HASH as usize);
            let (one, two) =
                (a.dentries(Ino(x), first, last, limit), b.dentries(Ino(x), first, last, limit));
            assert_eq!(one, two, "entries of {x} with the hash of {y}");
            let (sid, op) = (SessionId(x), OpId(y));
            assert_eq!(a.answer(sid, op), b.answer(sid, op), "answer {y} of {x}");
            for z in NUMBERS {
                assert_eq!(
                    a.stripes(Ino(x), y, z),
                    b.stripes(Ino(x), y, z),
                    "stripes of {x} {y}..={z}"
                );
                for limit in [0, 1, 2, usize::MAX] {
                    let (one, two) =
                        (a.dentries(Ino(x), y, z, limit), b.dentries(Ino(x), y, z, limit));
                    assert_eq!(one, two, "entries of {x} {y}..={z}, at most {limit}");
                }
            }
        }
    }
    for name in CONFIG.into_iter().chain(["none"]) {
        assert_eq!(a.number(name), b.number(name), "number {name}");
    }
}

/// Fails unless `a` and `b` hold the same.
pub(super) fn assert_equal(a: &dyn MetaStore, b: &dyn MetaStore) {
    assert_reads_equal(a, b);
    let (one, two) = (a.recover().unwrap(), b.recover().unwrap());
    assert_eq!(one.sessions, two.sessions);
    assert_eq!(one.lost, two.lost);
    assert_eq!(one.orphans, two.orphans);
    assert_eq!(one.inodes, two.inodes);
    assert_eq!(a.inodes(), b.inodes());
    let objects = |store: &dyn MetaStore| {
        let mut names = Vec::new();
        store.each_object(&mut |name| names.push(name)).unwrap();
        names.sort();
        names
    };
    assert_eq!(objects(a), objects(b));
}

/// Runs every check against new stores of `new`; what it returns beside a store is kept alive.
pub(super) fn run<K>(new: impl Fn() -> (Box<dyn MetaStore>, K)) {
    batches_equal_the_model(&new);
    stale_epoch_is_refused(&*new().0);
    refused_batch_leaves_nothing(&*new().0);
    forgotten_stays_forgotten(&*new().0);
    flush_follows_relaxed(&*new().0);
}

fn batches_equal_the_model<K>(new: &impl Fn() -> (Box<dyn MetaStore>, K)) {
    let config = ProptestConfig { cases: 24, ..Default::default() };
    proptest!(config, |(batches in prop::collection::vec((batch(), any::<bool>()), 1..8))| {
        let (store, _keep) = new();
        let model = MemoryStore::new();
        let (epoch, model_epoch) = (store.raise_epoch().unwrap(), model.raise_epoch().unwrap());
        for (n, (batch, strict)) in batches.iter().enumerate() {
            let durability = if *strict { Durability::Strict } else { Durability::Relaxed };
            let overlay = Overlay { store: &*store, batch };
            let seq = Seq(n as u64);
            model.commit(model_epoch, seq, batch, durability).unwrap();
            assert_reads_equal(&overlay, &model);
            store.commit(epoch, seq, batch, durability).unwrap();
            assert_equal(&*store, &model);
        }
    });
}

fn one_inode(ino: u64) -> Batch {
    let mut batch = Batch::default();
    batch.inodes.insert(Ino(ino), Some(inode(Ino(ino), 1)));
    batch
}

fn stale_epoch_is_refused(store: &dyn MetaStore) {
    let strict = Durability::Strict;
    let old = store.raise_epoch().unwrap();
    store.commit(old, Seq(1), &one_inode(5), strict).unwrap();
    let new = store.raise_epoch().unwrap();
    assert_eq!(new, old + 1);
    for epoch in [old, new + 1] {
        let err = store.commit(epoch, Seq(2), &one_inode(6), strict).unwrap_err();
        assert_eq!(err.code, Code::StaleLeader);
    }
    assert_eq!(store.inode(Ino(6)), Ok(None));
    store.commit(new, Seq(3), &one_inode(6), strict).unwrap();
    assert_eq!(store.inodes(), Ok(2));
}

fn refused_batch_leaves_nothing(store: &dyn MetaStore) {
    let epoch = store.raise_epoch().unwrap();
    let mut bad = stripe(9);
    bad.swap(0, 1);
    let mut hole = stripe(9);
    hole[0].source = Source::Hole;
    for stripe in [bad, hole] {
        let mut batch = one_inode(5);
        batch.stripes.insert((Ino(5), 0), Some(stripe));
        let err = store.commit(epoch, Seq(1), &batch, Durability::Strict).unwrap_err();
        assert_eq!(err.code, Code::Invalid);
        assert_eq!(store.inode(Ino(5)), Ok(None));
        assert_eq!(store.inodes(), Ok(0));
    }
}

fn forgotten_stays_forgotten(store: &dyn MetaStore) {
    let epoch = store.raise_epoch().unwrap();
    let sid = SessionId(3);
    let mut batch = Batch::default();
    for op in [1, 2, u64::MAX] {
        batch.answers.insert((sid, OpId(op)), vec![op as u8]);
    }
    batch.answers_done.insert(sid, OpId(2));
    batch.lost.insert(LostRow { sid, ino: Ino(1), fence: None });
    store.commit(epoch, Seq(1), &batch, Durability::Strict).unwrap();
    assert_eq!(store.answer(sid, OpId(1)), Ok(None));
    assert_eq!(store.answer(sid, OpId(2)), Ok(Some(vec![2])));
    assert_eq!(store.recover().unwrap().lost.len(), 1);
    batch.answers_done.clear();
    batch.forget_sessions.insert(sid);
    store.commit(epoch, Seq(2), &batch, Durability::Strict).unwrap();
    assert!([1, 2, u64::MAX].iter().all(|&op| store.answer(sid, OpId(op)) == Ok(None)));
    assert!(store.recover().unwrap().lost.is_empty());
}

fn flush_follows_relaxed(store: &dyn MetaStore) {
    let epoch = store.raise_epoch().unwrap();
    store.flush().unwrap();
    store.commit(epoch, Seq(1), &one_inode(5), Durability::Relaxed).unwrap();
    assert!(store.inode(Ino(5)).unwrap().is_some());
    store.flush().unwrap();
    store.flush().unwrap();
}

#[test]
fn memory_store_passes_the_suite() {
    run(|| (Box::new(MemoryStore::new()), ()));
}
