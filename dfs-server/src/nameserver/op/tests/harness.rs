//! Runs an operation the way the mutation pipeline does, and checks what holds for every one.

use crate::metastore::{Batch, Durability, Inode, MemoryStore, MetaStore, Read};
use crate::nameserver::op::{Allocate, Context, Op, Outcome, Txn, Verdict, root};
use crate::nameserver::resolve;
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, Kind};
use dfs_core::extent;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::name::Name;
use dfs_core::seq::Sequencer;
use dfs_core::time::Timestamp;
use dfs_core::{Code, Ino};
use std::collections::{BTreeMap, BTreeSet};

/// Key of the cookies in tests.
pub const KEY: [u8; 16] = [7; 16];

/// A name from text.
pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// A caller.
pub fn user(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
    Credentials::new(uid, gid, groups.to_vec())
}

struct Numbers {
    ino: u64,
    ver: u64,
}

impl Allocate for Numbers {
    fn new_ino(&mut self, _: &mut Batch) -> Ino {
        self.ino += 1;
        Ino(self.ino)
    }

    fn new_ver(&mut self, _: &mut Batch) -> u64 {
        self.ver += 1;
        self.ver
    }
}

/// A file system, its clock and its counters.
pub struct World {
    pub store: MemoryStore,
    /// Seconds; moves with every operation.
    pub clock: i64,
    /// What the last operation told others to forget.
    pub items: Vec<Item>,
    epoch: u16,
    seq: Sequencer,
    numbers: Numbers,
}

impl World {
    /// An empty root directory that everyone may write.
    pub fn new() -> World {
        let store = MemoryStore::new();
        let epoch = store.raise_epoch().unwrap();
        let (seq, numbers) = (Sequencer::new(epoch), Numbers { ino: 1, ver: 0 });
        let mut world = World { store, clock: 1000, items: Vec::new(), epoch, seq, numbers };
        let mut row = root(Timestamp::default());
        row.attr.mode = 0o777;
        world.edit(row);
        world
    }

    /// Replaces a row behind the back of the operations.
    pub fn edit(&mut self, row: Inode) {
        let mut batch = Batch::default();
        batch.inodes.insert(row.attr.ino, Some(row));
        self.commit(&batch);
    }

    pub fn commit(&mut self, batch: &Batch) {
        let seq = self.seq.next();
        self.store.commit(self.epoch, seq, batch, Durability::Relaxed).unwrap();
    }

    pub fn attr(&self, ino: Ino) -> Attr {
        resolve::attr(&self.store, ino).unwrap()
    }

    /// Runs an operation; a refusal must change nothing.
    pub fn run(&mut self, who: &Credentials, op: &dyn Op) -> Result<Outcome, Code> {
        let cx = Context { who, cookie_key: &KEY };
        self.clock += 1;
        self.items.clear();
        let intents = op.intents(&cx, &self.store).map_err(|e| e.code)?;
        assert!(intents.windows(2).all(|w| w[0].0 < w[1].0), "sorted, each once: {intents:?}");
        self.items = match op.check(&cx, &self.store).map_err(|e| e.code)? {
            Verdict::Done(outcome) => return Ok(outcome),
            Verdict::Change(items) => items,
        };
        let mut batch = Batch::default();
        let now = Timestamp { seconds: self.clock, nanos: 0 };
        let numbers = &mut self.numbers;
        let mut txn = Txn { store: &self.store, batch: &mut batch, numbers, now };
        let outcome = op.effect(&cx, &mut txn).expect("an effect after its check");
        Covered { store: &self.store, intents: &intents, items: &self.items, now }
            .check(op, &batch);
        self.commit(&batch);
        assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
        let told = [&outcome.object, &outcome.dir, &outcome.to_dir, &outcome.replaced];
        for attr in told.into_iter().flatten() {
            assert_eq!(self.attr(attr.ino), *attr, "{}: the outcome is what is now", op.verb());
        }
        Ok(outcome)
    }

    /// Runs as the superuser what must succeed, and returns the object.
    pub fn must(&mut self, op: &dyn Op) -> Attr {
        let outcome = self.run(&Credentials::root(), op).unwrap();
        outcome.object.unwrap()
    }

    /// Every directory counts its entries and subdirectories, knows its parent and stands in the
    /// tree once; every inode counts its names; nothing is unreachable except orphans.
    pub fn check_tree(&self) {
        let mut names: BTreeMap<Ino, u32> = BTreeMap::new();
        let mut dirs = vec![Ino::ROOT];
        let mut seen = BTreeSet::new();
        while let Some(dir) = dirs.pop() {
            assert!(seen.insert(dir), "directory {dir} has two names");
            let entries = self.store.dentries(dir, 0, i64::MAX as u64, usize::MAX).unwrap();
            let attr = self.attr(dir);
            let children = entries.iter().filter(|entry| entry.kind == Kind::Directory);
            assert_eq!(attr.size, entries.len() as u64, "size of directory {dir}");
            assert_eq!(attr.nlink, 2 + children.count() as u32, "links of directory {dir}");
            let texts: BTreeSet<_> = entries.iter().map(|entry| entry.name.clone()).collect();
            assert_eq!(texts.len(), entries.len(), "names of directory {dir} are distinct");
            for entry in entries {
                let child = self.attr(entry.ino);
                assert_eq!(child.kind, entry.kind);
                if entry.kind == Kind::Directory {
                    assert_eq!(child.parent, dir, "parent of {}", entry.ino);
                    dirs.push(entry.ino);
                } else {
                    *names.entry(entry.ino).or_default() += 1;
                }
            }
        }
        for (ino, count) in &names {
            assert_eq!(self.attr(*ino).nlink, *count, "links of {ino}");
        }
        let recovered = self.store.recover().unwrap();
        let reachable = (seen.len() + names.len()) as u64;
        assert_eq!(recovered.inodes, reachable + recovered.orphans.len() as u64);
        for orphan in recovered.orphans {
            assert!(!seen.contains(&orphan) && !names.contains_key(&orphan));
            assert!(self.store.dentries(orphan, 0, i64::MAX as u64, 1).unwrap().is_empty());
        }
    }

    /// The blocks of a file are those of its stripes.
    pub fn check_blocks(&self, ino: Ino) {
        let stripes = self.store.stripes(ino, 0, i64::MAX as u64).unwrap();
        let blocks: u64 = stripes.iter().map(|(_, stripe)| extent::blocks(stripe)).sum();
        assert_eq!(self.attr(ino).blocks, blocks, "blocks of {ino}");
    }
}

/// What a batch may do, given what was held and announced.
struct Covered<'a> {
    store: &'a MemoryStore,
    intents: &'a [(IntentKey, Hold)],
    items: &'a [Item],
    now: Timestamp,
}

impl Covered<'_> {
    fn held(&self, key: IntentKey) -> Option<Hold> {
        self.intents.iter().find(|(held, _)| *held == key).map(|(_, hold)| *hold)
    }

    fn check(&self, op: &dyn Op, batch: &Batch) {
        let silent = matches!(op.verb(), "compact" | "free_orphan");
        for (ino, row) in &batch.inodes {
            let Some(old) = self.store.inode(*ino).unwrap() else { continue };
            assert!(self.held(IntentKey::Attr(*ino)).is_some(), "{}: attr {ino}", op.verb());
            if let (Some(row), false) = (row, silent) {
                self.check_change(op, &old.attr, &row.attr);
            }
        }
        for ((dir, cookie), row) in &batch.dentries {
            let old = self.store.dentries(*dir, *cookie, *cookie, 1).unwrap().pop();
            for entry in row.iter().chain(old.iter()) {
                let key = IntentKey::Name(*dir, entry.name.clone());
                assert_eq!(self.held(key), Some(Hold::Exclusive), "{}: {entry:?}", op.verb());
                assert!(self.items.iter().any(|item| matches!(
                    item, Item::DirNames { dir: d, names } if d == dir && names.contains(&entry.name)
                )));
            }
        }
        let contents = batch.stripes.keys().map(|key| key.0);
        for ino in contents.chain(batch.xattrs.keys().map(|key| key.0)) {
            if self.store.inode(ino).unwrap().is_none() {
                continue; // Nobody knows of what is new.
            }
            assert_eq!(self.held(IntentKey::Attr(ino)), Some(Hold::Exclusive), "{}", op.verb());
        }
    }

    /// A visible change moves version and `ctime` once and is announced.
    fn check_change(&self, op: &dyn Op, old: &Attr, new: &Attr) {
        let verb = op.verb();
        assert_eq!(new.attr_ver, old.attr_ver + 1, "{verb}: version of {}", old.ino);
        assert_eq!(new.ctime, self.now, "{verb}: ctime of {}", old.ino);
        assert_eq!(new.btime, old.btime, "{verb}: btime of {}", old.ino);
        assert!(new.content_ver >= old.content_ver && new.dir_ver <= old.dir_ver + 1);
        let announced = |item: &Item| match item {
            Item::Attr { ino } => *ino == old.ino && (new.nlink > 0 || old.nlink == 0),
            Item::Nlink0 { ino } => *ino == old.ino && new.nlink == 0,
            Item::Data { ino, old_ver, .. } => *ino == old.ino && *old_ver == old.content_ver,
            Item::DirNames { .. } | Item::DirAll { .. } | Item::Undelegate { .. } => false,
        };
        let count = self.items.iter().filter(|item| announced(item)).count();
        assert_eq!(count, 1, "{verb}: {} in {:?}", old.ino, self.items);
        let data = self.items.iter().any(|item| matches!(item, Item::Data { .. }));
        assert_eq!(data, new.content_ver != old.content_ver, "{verb}: version and data push");
    }
}
