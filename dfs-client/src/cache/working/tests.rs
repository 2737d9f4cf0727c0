//! One working file against plain byte arrays, through crashes, bit flips and failing disks.

mod soon;
mod torn;

use super::*;
use crate::cache::Cache;
use crate::cache::sums::Known;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::Range;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

const INO: Ino = Ino(0x77);
const SPACE: u64 = 4 * CHECKSUM_BLOCK;
const NO_LIMIT: u64 = u64::MAX / 2;

#[derive(Clone, Debug)]
enum Op {
    Write { at: u64, len: u64, byte: u8 },
    Truncate(u64),
    Punch { range: Range, keep_size: bool },
    Allocate(Range),
    Read(Range),
    Fetch(Range),
    Evict(Range),
    Flip(u64),
    Persist,
    Kill,
    TornWrite { at: u64, len: u64, byte: u8, reached: u64 },
    Commit { rewrite: Option<(u64, u64, u8)>, cut: Option<u64> },
    Advance { changed: Range, byte: u8, size: u64 },
    Reset,
    Ahead(Range),
    Soon { writes: Vec<(u64, u64, u8)>, ready: bool, kill: bool },
}

fn place() -> impl Strategy<Value = u64> {
    let edge =
        (0..4u64, 0..3u64).prop_map(|(block, d)| (block * CHECKSUM_BLOCK + d).saturating_sub(1));
    prop_oneof![0..SPACE, edge, 0..200u64]
}

fn stretch() -> impl Strategy<Value = Range> {
    (place(), length()).prop_map(|(at, len)| Range::of_len(at, len))
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![1..100u64, 1..5000u64, Just(CHECKSUM_BLOCK), 1..SPACE]
}

fn any_op() -> impl Strategy<Value = Op> {
    let rewrite = prop::option::of((place(), 1..9000u64, 1..255u8));
    prop_oneof![
        4 => (place(), length(), 1..255u8).prop_map(|(at, len, byte)| Op::Write { at, len, byte }),
        1 => place().prop_map(Op::Truncate),
        1 => (stretch(), any::<bool>()).prop_map(|(range, keep_size)| Op::Punch { range, keep_size }),
        1 => stretch().prop_map(Op::Allocate),
        3 => stretch().prop_map(Op::Read),
        2 => stretch().prop_map(Op::Fetch),
        1 => stretch().prop_map(Op::Evict),
        2 => place().prop_map(Op::Flip),
        1 => Just(Op::Persist),
        2 => Just(Op::Kill),
        1 => (place(), length(), 1..255u8, 0..6000u64)
            .prop_map(|(at, len, byte, reached)| Op::TornWrite { at, len, byte, reached }),
        2 => (rewrite, prop::option::weighted(0.3, place()))
            .prop_map(|(rewrite, cut)| Op::Commit { rewrite, cut }),
        1 => (stretch(), 1..255u8, place())
            .prop_map(|(changed, byte, size)| Op::Advance { changed, byte, size }),
        1 => Just(Op::Reset),
        3 => stretch().prop_map(Op::Ahead),
        2 => (prop::collection::vec((place(), 1..6000u64, 1..255u8), 1..6), any::<bool>(), any::<bool>())
            .prop_map(|(writes, ready, kill)| Op::Soon { writes, ready, kill }),
    ]
}

/// The file as the program sees it, and every version as the server has it.
struct Model {
    dir: TempDir,
    /// The running daemon: none only while it is dead.
    alive: Option<(Cache, Arc<WorkingFile>)>,
    versions: BTreeMap<u64, Vec<u8>>,
    view: Vec<u8>,
    /// What was read ahead of the next commit.
    ahead: BTreeMap<u64, Vec<u8>>,
    salt: u8,
}

fn pattern(len: u64, byte: u8) -> Vec<u8> {
    (0..len).map(|i| (i % 253) as u8 ^ byte).collect()
}

fn put(view: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    view.resize(view.len().max(end), 0);
    view[at as usize..end].copy_from_slice(bytes);
}

impl Model {
    fn new(size: u64) -> Model {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), NO_LIMIT).unwrap();
        let file = cache.open_file(INO, 1, size).unwrap();
        // A hole in the middle of the first version.
        let mut view = pattern(size, 7);
        let hole = (size / 3) as usize..(size / 2) as usize;
        view[hole].fill(0);
        let versions = BTreeMap::from([(1, view.clone())]);
        Model { dir, alive: Some((cache, file)), versions, view, ahead: BTreeMap::new(), salt: 0 }
    }

    fn cache(&self) -> &Cache {
        &self.alive.as_ref().unwrap().0
    }

    fn file(&self) -> Arc<WorkingFile> {
        Arc::clone(&self.alive.as_ref().unwrap().1)
    }

    fn base(&self) -> &Vec<u8> {
        &self.versions[&self.file().version()]
    }

    fn fetch(&self, range: Range) {
        let ver = self.file().version();
        let base = self.base();
        let end = (range.end as usize).min(base.len());
        let Some(bytes) = base.get(range.start as usize..end) else { return };
        assert!(!self.file().fill(ver + 1000, range.start, bytes).unwrap());
        if !bytes.is_empty() && bytes.iter().all(|b| *b == 0) {
            assert!(self.file().fill_hole(ver, Range::new(range.start, end as u64)).unwrap());
        } else {
            let (first, second) = bytes.split_at(bytes.len() / 3);
            assert!(self.file().fill_for_readers(ver, range.start, &[first, second]).unwrap());
        }
    }

    fn read(&self, range: Range) -> Vec<u8> {
        let mut buf = vec![9; 3];
        for _ in 0..20 {
            match self.file().read(range, &mut buf).unwrap() {
                ReadOutcome::Bytes(n) => {
                    assert_eq!(n, buf.len());
                    return buf;
                }
                ReadOutcome::Missing(missing) => {
                    assert!(!missing.is_empty());
                    missing.into_iter().for_each(|r| self.fetch(r));
                }
            }
        }
        panic!("{range:?} stays missing");
    }

    fn check(&self) {
        let file = self.file();
        let state = file.lock();
        state.map.check();
        assert_eq!(state.map.size, self.view.len() as u64);
        assert!(state.journal.is_some() || !state.map.has_work());
        assert_eq!(state.file.allocated().unwrap(), self.cache().stats().used_bytes);
        let on_disk = state.file.on_disk().is_some();
        assert!(state.path.exists() || !on_disk);
        assert!(on_disk || state.map.size <= SMALL_MAX);
        let held = if on_disk { 0 } else { state.file.allocated().unwrap() };
        assert_eq!(file.shared.held.load(Ordering::Relaxed), held);
        assert_eq!(self.cache().stats().warm, usize::from(on_disk));
    }

    fn check_bytes(&self, range: Range) {
        let got = self.read(range);
        let size = self.view.len() as u64;
        let range = Range::new(range.start.min(size), range.end.min(size));
        let want = &self.view[range.start as usize..range.end as usize];
        if let Some(at) = got.iter().zip(want).position(|(a, b)| a != b) {
            panic!("byte {} is {} not {}", range.start + at as u64, got[at], want[at]);
        }
        assert_eq!(got.len(), want.len());
    }

    fn write(&mut self, at: u64, len: u64, byte: u8) {
        self.salt = self.salt.wrapping_add(31);
        let bytes = pattern(len, byte ^ self.salt);
        self.file().write(at, &bytes).unwrap();
        put(&mut self.view, at, &bytes);
    }

    /// The daemon dies and starts again.
    fn kill(&mut self) {
        let ver = self.file().version();
        self.kill_at(ver);
    }

    fn kill_at(&mut self, ver: u64) {
        self.alive = None;
        let cache = Cache::open(self.dir.path(), NO_LIMIT).unwrap();
        let size = self.versions[&ver].len() as u64;
        let file = cache.open_file(INO, ver, size).unwrap();
        file.begin_with(ver, size).unwrap();
        assert_eq!(file.version(), ver);
        self.alive = Some((cache, file));
    }

    fn kill_and_compare(&mut self) {
        let before = self.file().lock().map.clone();
        self.kill();
        let after = self.file().lock().map.clone();
        assert_eq!((before.size, before.min_size), (after.size, after.min_size));
        assert_eq!(before.dirty, after.dirty);
        let unsaved = self.cache().unsaved().unwrap();
        assert_eq!(unsaved.len(), usize::from(before.has_work()));
    }

    /// A write of which the record and some bytes reached the disk when the daemon died.
    fn torn_write(&mut self, at: u64, len: u64, byte: u8, reached: u64) {
        let bytes = pattern(len, byte);
        let range = Range::of_len(at, len);
        let old = self.view.clone();
        {
            let file = self.file();
            let mut state = file.lock();
            let sums = Known::of(at, &bytes, CHECKSUM_BLOCK);
            let left = state.verify_cut(range).unwrap();
            file.record_write(&mut state, range, &bytes, &sums, &left).unwrap();
            let part = &bytes[..bytes.len().min(reached as usize)];
            state.file.write_all_at(part, at).unwrap();
        }
        self.kill();
        let size = self.file().size();
        assert!(size == old.len() as u64 || size == range.end);
        let now = self.read(Range::new(0, size));
        let before = |i: usize| old.get(i).copied().unwrap_or(0);
        for (i, byte) in now.iter().enumerate() {
            let new = i.checked_sub(at as usize).and_then(|i| bytes.get(i)).copied();
            assert!(*byte == before(i) || Some(*byte) == new, "byte {i} is neither old nor new");
        }
        self.view = now;
    }

    fn commit(&mut self, rewrite: Option<(u64, u64, u8)>, cut: Option<u64>) {
        let snapshot = self.file().dirty_snapshot().unwrap();
        let mut version = self.base().clone();
        version.resize(snapshot.min_size as usize, 0);
        version.resize(snapshot.size as usize, 0);
        for range in &snapshot.ranges {
            put(&mut version, range.start, &self.file().read_dirty(&[*range]).unwrap());
        }
        for sent in &snapshot.ahead {
            let inside = sent.range.start as usize..sent.range.end as usize;
            assert!(self.ahead[&sent.id] == version[inside], "{sent:?} is not what was written");
        }
        assert!(version == self.view, "the new version is not what the program wrote");
        for hole in &snapshot.holes {
            assert!(version[hole.start as usize..hole.end as usize].iter().all(|b| *b == 0));
        }
        if let Some(size) = cut {
            self.file().truncate(size).unwrap();
            self.view.resize(size as usize, 0);
        }
        if let Some((at, len, byte)) = rewrite {
            self.write(at, len, byte);
        }
        let ver = self.file().version() + 1;
        self.versions.insert(ver, version);
        self.file().committed(&snapshot, ver).unwrap();
        assert!(self.file().committed(&snapshot, ver).is_err());
        assert_eq!(
            self.file().has_work(),
            rewrite.is_some()
                || self.view != self.versions[&ver]
                || self.file().lock().map.has_work()
        );
        if rewrite.is_none() && cut.is_none() {
            assert!(!self.file().has_work());
        }
    }

    fn advance(&mut self, changed: Range, byte: u8, size: u64) {
        if self.file().has_work() {
            assert_eq!(self.file().advance(99, size, &[changed]).unwrap_err().code, Code::Busy);
            return;
        }
        let mut version = self.base().clone();
        let old_size = version.len() as u64;
        version.resize(size as usize, 0);
        let inside = changed.intersect(Range::new(0, size));
        put(&mut version, inside.start, &pattern(inside.len(), byte));
        version.truncate(size as usize);
        let grown = Range::new(old_size, size);
        let ver = self.file().version() + 1;
        self.file().advance(ver, size, &[changed, grown]).unwrap();
        self.view.clone_from(&version);
        self.versions.insert(ver, version);
    }

    /// Flips a bit on disk where the cache has a way to notice.
    fn flip(&self, at: u64) {
        let file = self.file();
        let mut state = file.lock();
        let unprotected = state.map.dirty.covers(Range::of_len(at, 1))
            || state.map.loose.covers(Range::of_len(at, 1));
        if at < state.map.size && !unprotected {
            let mut byte = Vec::new();
            state.file.read(Range::of_len(at, 1), &mut byte).unwrap();
            state.file.write_all_at(&[byte[0] ^ 4], at).unwrap();
            file.account(&state).unwrap();
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write { at, len, byte } => self.write(at, len, byte),
            Op::Truncate(size) => {
                self.file().truncate(size).unwrap();
                self.view.resize(size as usize, 0);
            }
            Op::Punch { range, keep_size } => {
                self.file().punch(range, keep_size).unwrap();
                let end = if keep_size { self.view.len() as u64 } else { range.end };
                let range = range.intersect(Range::new(0, end.max(self.view.len() as u64)));
                if !range.is_empty() {
                    put(&mut self.view, range.start, &vec![0; range.len() as usize]);
                }
            }
            Op::Allocate(range) => {
                self.file().allocate(range, false).unwrap();
                self.view.resize(self.view.len().max(range.end as usize), 0);
            }
            Op::Read(range) => self.check_bytes(range),
            Op::Fetch(range) => self.fetch(range),
            Op::Evict(range) => self.file().evict(range).unwrap(),
            Op::Flip(at) => self.flip(at),
            Op::Persist => self.cache().persist().unwrap(),
            Op::Kill => self.kill_and_compare(),
            Op::TornWrite { at, len, byte, reached } => self.torn_write(at, len, byte, reached),
            Op::Commit { rewrite, cut } => self.commit(rewrite, cut),
            Op::Advance { changed, byte, size } => self.advance(changed, byte, size),
            Op::Ahead(range) => {
                if let Some((id, bytes)) = self.file().read_ahead(range).unwrap() {
                    self.ahead.insert(id, bytes);
                }
            }
            Op::Reset if !self.file().has_work() => {
                let (ver, size) = (self.file().version(), self.file().size());
                self.file().reset(ver, size).unwrap();
            }
            Op::Soon { writes, ready, kill } => self.soon(writes, ready, kill),
            Op::Reset => assert_eq!(self.file().reset(5, 5).unwrap_err().code, Code::Busy),
        }
    }
}

/// Restarts flush the index, so that a case takes a while; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(64), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn working_file_equals_a_byte_array(size in place(), ops in prop::collection::vec(any_op(), 1..40)) {
        let mut model = Model::new(size);
        for op in ops {
            model.apply(op);
            model.check();
        }
        model.check_bytes(Range::new(0, SPACE * 3));
    }
}

#[test]
fn working_file_survives_a_disk_that_refuses_writes() {
    let mut model = Model::new(SPACE);
    model.check_bytes(Range::new(0, SPACE));
    model.write(10, 100, 1);
    let path = model.file().path();
    let good = {
        let file = model.file();
        let mut state = file.lock();
        std::mem::replace(&mut state.file, Store::Disk(File::open(&path).unwrap()))
    };
    assert!(model.file().write(50, &[1; CHECKSUM_BLOCK as usize]).is_err());
    assert!(model.file().write(SPACE + 5, &[1; 10]).is_err());
    assert!(model.file().truncate(5).is_err());
    assert!(model.file().punch(Range::new(5, 500), true).is_err());
    model.check();
    model.file().lock().file = good;
    model.check_bytes(Range::new(0, SPACE));
    model.kill_and_compare();
    model.check_bytes(Range::new(0, SPACE));
}

#[test]
fn working_file_abandons_by_replacing() {
    let mut model = Model::new(1000);
    model.file().store().unwrap();
    model.write(0, 500, 3);
    let old = File::open(model.file().path()).unwrap();
    let mut before = Vec::new();
    disk::read_zero_filled(&old, Range::new(0, 500), &mut before).unwrap();
    model.versions.insert(2, pattern(700, 9));
    model.view = pattern(700, 9);
    model.file().abandon(2, 700).unwrap();
    model.check();
    assert!(!model.file().has_work());
    model.check_bytes(Range::new(0, 700));
    let mut after = Vec::new();
    disk::read_zero_filled(&old, Range::new(0, 500), &mut after).unwrap();
    assert_eq!(before, after);
    model.kill_and_compare();
}

#[test]
fn journal_of_abandoned_work_is_void_after_a_crash() {
    let mut model = Model::new(1000);
    model.file().store().unwrap();
    model.write(0, 500, 3);
    // The daemon dies between the rename and the removal of the journal.
    let journal = model.dir.path().join("unsaved").join(format!("{:016x}", INO.0));
    {
        let file = model.file();
        let mut state = file.lock();
        let fresh = model.dir.path().join("fresh/x");
        File::create(&fresh).unwrap();
        state.replace_by(&fresh).unwrap();
    }
    assert!(journal.exists());
    model.kill();
    assert!(!model.file().has_work() && !journal.exists());
    model.view = model.versions[&1].clone();
    model.check_bytes(Range::new(0, 1000));
}

#[test]
fn unsaved_work_names_its_origin() {
    let mut model = Model::new(1000);
    let owner = Owner { fence: dfs_core::Fence(42), path: b"dir/name".to_vec(), uid: 7 };
    model.file().set_owner(owner.clone()).unwrap();
    model.write(100, 50, 1);
    let verifier = model.cache().verifier();
    model.kill();
    let cache = model.cache();
    let unsaved = cache.unsaved().unwrap().remove(0);
    assert_eq!(unsaved.header.owner, owner);
    assert_eq!((unsaved.header.base_ver, unsaved.header.base_size), (1, 1000));
    assert_eq!(unsaved.header.verifier, verifier);
    assert_ne!(cache.verifier(), verifier);
    assert_eq!(unsaved.header.uuid, cache.uuid());
    assert!(unsaved.same_boot && unsaved.header.time.seconds > 0);
    assert_eq!(unsaved.ranges, [Range::new(100, 150)]);
}
