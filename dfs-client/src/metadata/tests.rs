//! The cache against a model of the server: whatever the order in which replies and pushes arrive,
//! what the cache answers is what the server would answer at that moment.

use super::*;
use crate::clock::ManualClock;
use dfs_core::attr::Kind;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const DIR: Ino = Ino(1);
const INODES: u64 = 3;
const NAMES: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    AskAttr(u64),
    AskName(u64),
    AskListing,
    OthersAttr(u64),
    OthersName(u64),
    OwnAttr(u64),
    OwnName(u64),
    Reply(usize),
    Push,
    GiveUp(usize),
    ServerHears,
    Lapse,
    DropAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ino = 1..=INODES;
    let name = 0..NAMES;
    let step = prop_oneof![
        3 => ino.clone().prop_map(Step::AskAttr),
        3 => name.clone().prop_map(Step::AskName),
        2 => Just(Step::AskListing),
        2 => ino.clone().prop_map(Step::OthersAttr),
        2 => name.clone().prop_map(Step::OthersName),
        2 => ino.prop_map(Step::OwnAttr),
        2 => name.prop_map(Step::OwnName),
        8 => any::<usize>().prop_map(Step::Reply),
        4 => Just(Step::Push),
        1 => (1..4usize).prop_map(Step::GiveUp),
        1 => Just(Step::ServerHears),
        1 => Just(Step::Lapse),
        1 => Just(Step::DropAll),
    ];
    prop::collection::vec(step, 1..80)
}

/// What the answer to a question does at the client.
enum Reply {
    Attr(Asked, v1::Mark, Attr),
    Name(Asked, v1::Mark, Name, Target),
    Listing(Asked, v1::Mark, Listing),
    OwnAttr(Asked, v1::Mark, Attr, Vec<Key>),
    OwnName(Asked, v1::Mark, Attr, Name, Target, Edit, Vec<Key>),
}

/// A change of another client that waits for our acknowledgement of push `number`.
struct Pending {
    number: u64,
    keys: Vec<Key>,
}

struct Model {
    cache: Metadata,
    seq: u64,
    versions: BTreeMap<u64, u64>,
    names: BTreeMap<u64, Ino>,
    dir_ver: u64,
    next_ino: u64,
    promises: BTreeSet<(bool, u64)>,
    pending: Vec<Pending>,
    pushes: VecDeque<(u64, v1::Inval)>,
    replies: Vec<Reply>,
    forgotten: VecDeque<(Vec<Ino>, Vec<Ino>)>,
    heard: VecDeque<(Vec<Ino>, Vec<Ino>)>,
}

pub(super) fn name(n: u64) -> Name {
    Name::new(format!("n{n}").as_bytes()).unwrap()
}

fn number(name: &Name) -> u64 {
    u64::from(name.as_bytes()[1] - b'0')
}

impl Model {
    fn new() -> Model {
        Model {
            cache: Metadata::new(Arc::new(ManualClock::new(Duration::from_secs(100)))),
            seq: 0,
            versions: (1..=INODES).map(|ino| (ino, 1)).collect(),
            names: BTreeMap::new(),
            dir_ver: 1,
            next_ino: 1000,
            promises: BTreeSet::new(),
            pending: Vec::new(),
            pushes: VecDeque::new(),
            replies: Vec::new(),
            forgotten: VecDeque::new(),
            heard: VecDeque::new(),
        }
    }

    fn attr(&self, ino: u64) -> Attr {
        let kind = if Ino(ino) == DIR { Kind::Directory } else { Kind::File };
        let mut attr = plain_attr(Ino(ino), kind);
        attr.attr_ver = self.versions[&ino];
        attr.dir_ver = self.dir_ver;
        attr
    }

    fn target(&self, n: u64) -> Target {
        self.names.get(&n).map_or(Target::Absent, |ino| Target::Present(*ino))
    }

    fn under_change(&self, key: &Key) -> bool {
        self.pending.iter().any(|pending| pending.keys.contains(key))
    }

    /// A read: the promise is given unless one of the keys is under change.
    fn mark(&mut self, attr: Option<u64>, dir: &[Key]) -> v1::Mark {
        let promised_attr = attr.is_some_and(|ino| !self.under_change(&Key::Attr(Ino(ino))));
        let promised_dir = !dir.is_empty() && !dir.iter().any(|key| self.under_change(key));
        if promised_attr {
            self.promises.insert((false, attr.unwrap()));
        }
        if promised_dir {
            self.promises.insert((true, DIR.0));
        }
        v1::Mark { as_of: self.seq, promised_attr, promised_dir, ..v1::Mark::default() }
    }

    fn ask(&mut self, step: &Step) {
        let asked = self.cache.asked();
        let reply = match step {
            Step::AskAttr(ino) => {
                let mark = self.mark(Some(*ino), &[]);
                Reply::Attr(asked, mark, self.attr(*ino))
            }
            Step::AskName(n) => {
                let mark = self.mark(None, &[Key::Name(DIR, name(*n))]);
                Reply::Name(asked, mark, name(*n), self.target(*n))
            }
            _ => {
                let all: Vec<Key> = (0..NAMES).map(|n| Key::Name(DIR, name(n))).collect();
                let mark = self.mark(None, &all);
                let item = |(n, ino): (&u64, &Ino)| {
                    let cookie = FIRST_COOKIE + *n;
                    Item { name: name(*n), ino: *ino, kind: Kind::File, cookie }
                };
                let items = Arc::new(self.names.iter().map(item).collect());
                Reply::Listing(asked, mark, Listing::new(self.dir_ver, items))
            }
        };
        self.replies.push(reply);
    }

    /// Another client changes something: first we are told what we were promised to be told.
    fn others(&mut self, keys: Vec<Key>) {
        if keys.iter().any(|key| *key != Key::Attr(DIR) && self.under_change(key)) {
            return;
        }
        self.seq += 1;
        let mut items = Vec::new();
        for key in &keys {
            match key {
                Key::Attr(ino) if self.promises.contains(&(false, ino.0)) => {
                    items.push(v1::inval_item::What::Attr(ino.0));
                }
                Key::Name(dir, name) if self.promises.contains(&(true, dir.0)) => {
                    let names = vec![name.as_bytes().to_vec().into()];
                    items.push(v1::inval_item::What::DirNames(v1::DirNames { ino: dir.0, names }));
                }
                _ => {}
            }
        }
        let items: Vec<_> = items.into_iter().map(|w| v1::InvalItem { what: Some(w) }).collect();
        if items.is_empty() {
            return self.commit(&keys);
        }
        let number = self.seq;
        self.pushes.push_back((number, v1::Inval { seq: self.seq, items }));
        self.pending.push(Pending { number, keys });
    }

    fn commit(&mut self, keys: &[Key]) {
        self.seq += 1;
        for key in keys {
            match key {
                Key::Attr(ino) => *self.versions.get_mut(&ino.0).unwrap() += 1,
                Key::Name(_, name) => {
                    self.dir_ver += 1;
                    let n = number(name);
                    if self.names.remove(&n).is_none() {
                        self.next_ino += 1;
                        self.names.insert(n, Ino(self.next_ino));
                    }
                }
                _ => {}
            }
        }
    }

    fn own(&mut self, keys: Vec<Key>) {
        if keys.iter().any(|key| *key != Key::Attr(DIR) && self.under_change(key)) {
            return;
        }
        let asked = self.cache.asked();
        self.cache.begin_change(&keys);
        self.commit(&keys);
        let reply = match &keys[0] {
            Key::Attr(ino) => {
                let mark = self.mark(Some(ino.0), &[]);
                Reply::OwnAttr(asked, mark, self.attr(ino.0), keys)
            }
            Key::Name(_, name) => {
                let mark = self.mark(None, &[keys[0].clone()]);
                let target = self.target(number(name));
                let edit = match target {
                    Target::Present(ino) => Edit::Added(name.clone(), ino, Kind::File),
                    Target::Absent => Edit::Removed(name.clone()),
                };
                Reply::OwnName(asked, mark, self.attr(DIR.0), name.clone(), target, edit, keys)
            }
            other => unreachable!("{other:?}"),
        };
        self.replies.push(reply);
    }

    fn reply(&mut self, which: usize) {
        if self.replies.is_empty() {
            return;
        }
        let at = which % self.replies.len();
        match self.replies.remove(at) {
            Reply::Attr(asked, mark, attr) => {
                self.cache.store_attr(asked, &mark, attr);
            }
            Reply::Name(asked, mark, name, target) => {
                self.cache.store_name(asked, &mark, DIR, &name, target);
            }
            Reply::Listing(asked, mark, listing) => {
                if mark.promised_dir {
                    self.cache.store_listing(asked, Seq(mark.as_of), DIR, listing);
                }
            }
            Reply::OwnAttr(asked, mark, attr, keys) => {
                self.cache.own_attr(asked, &mark, attr);
                self.cache.end_change(&keys);
            }
            Reply::OwnName(asked, mark, dir, name, target, edit, keys) => {
                let target = Some(target);
                self.cache.own_name(
                    asked,
                    &mark,
                    Renamed { dir, name: &name, target, edit: Some(edit) },
                );
                self.cache.end_change(&keys);
            }
        }
    }

    /// A push arrives, is carried out and acknowledged.
    fn push(&mut self) {
        let Some((number, push)) = self.pushes.pop_front() else { return };
        self.cache.push(&push);
        if let Some(at) = self.pending.iter().position(|pending| pending.number == number) {
            let keys = self.pending.remove(at).keys;
            self.commit(&keys);
            // The push used the promises on attributes up (PROTOCOL H8).
            for key in &keys {
                if let Key::Attr(ino) = key {
                    self.promises.remove(&(false, ino.0));
                }
            }
        }
    }

    /// The client's lease ends, then the server's: promises are void, nobody waits for us.
    fn lapse(&mut self) {
        self.cache.drop_all(BootTime::default());
        self.promises.clear();
        self.pushes.clear();
        for pending in std::mem::take(&mut self.pending) {
            self.commit(&pending.keys);
        }
    }

    /// Too many pushes wait: one that voids everything takes their place.
    fn drop_everything(&mut self) {
        self.seq += 1;
        self.promises.clear();
        self.pushes.clear();
        self.cache.push_all(self.seq);
        for pending in std::mem::take(&mut self.pending) {
            self.commit(&pending.keys);
        }
    }

    fn server_hears(&mut self) {
        if let Some((attrs, dirs)) = self.heard.pop_front() {
            self.cache.heard(&attrs, &dirs);
        }
        let Some((attrs, dirs)) = self.forgotten.pop_front() else { return };
        attrs.iter().for_each(|ino| {
            self.promises.remove(&(false, ino.0));
        });
        dirs.iter().for_each(|ino| {
            self.promises.remove(&(true, ino.0));
        });
        self.heard.push_back((attrs, dirs));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::AskAttr(_) | Step::AskName(_) | Step::AskListing => self.ask(step),
            Step::OthersAttr(ino) => self.others(vec![Key::Attr(Ino(*ino))]),
            Step::OthersName(n) => self.others(vec![Key::Name(DIR, name(*n)), Key::Attr(DIR)]),
            Step::OwnAttr(ino) => self.own(vec![Key::Attr(Ino(*ino))]),
            Step::OwnName(n) => {
                self.own(vec![Key::Name(DIR, name(*n)), Key::Attr(DIR), Key::Listing(DIR)]);
            }
            Step::Reply(which) => self.reply(*which),
            Step::Push => self.push(),
            Step::GiveUp(count) => {
                let given_up = self.cache.give_up(*count);
                self.forgotten.push_back((given_up.attrs, given_up.dirs));
            }
            Step::ServerHears => self.server_hears(),
            Step::Lapse => self.lapse(),
            Step::DropAll => self.drop_everything(),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for ino in 1..=INODES {
            if let Some(attr) = self.cache.attr(Ino(ino)) {
                prop_assert_eq!(attr.attr_ver, self.versions[&ino], "attributes of {}", ino);
            }
        }
        for n in 0..NAMES {
            if let Some(target) = self.cache.name(DIR, &name(n)) {
                prop_assert_eq!(target, self.target(n), "name {}", n);
            }
        }
        if let Some(listing) = self.cache.listing(DIR) {
            let mut listed: Vec<_> =
                listing.items.iter().map(|i| (number(&i.name), i.ino)).collect();
            listed.sort_unstable();
            let names: Vec<_> = self.names.iter().map(|(n, ino)| (*n, *ino)).collect();
            prop_assert_eq!(listed, names);
            prop_assert_eq!(listing.dir_ver, self.dir_ver);
            let cookies: Vec<u64> = listing.items.iter().map(|i| i.cookie).collect();
            prop_assert!(cookies.is_sorted_by(|a, b| a < b), "{:?}", cookies);
        }
        let cache = self.cache.cache();
        let weight: usize = cache.dirs.iter().map(|(_, dir)| dir.weight()).sum();
        prop_assert_eq!(cache.weight, weight);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn cache_never_answers_what_the_server_would_not(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
            model.check()?;
        }
    }
}

pub(super) fn promised(as_of: u64) -> v1::Mark {
    v1::Mark { as_of, promised_attr: true, promised_dir: true, ..v1::Mark::default() }
}

#[test]
fn reply_that_was_overtaken_by_its_push_is_used_once() {
    let model = Model::new();
    let asked = model.cache.asked();
    let items = vec![v1::InvalItem { what: Some(v1::inval_item::What::Attr(2)) }];
    model.cache.push(&v1::Inval { seq: 9, items });
    let late = model.cache.store_attr(asked, &promised(8), model.attr(2));
    assert_eq!(late.ino, Ino(2));
    assert_eq!(model.cache.attr(Ino(2)), None);
    model.cache.store_attr(asked, &promised(10), model.attr(2));
    assert!(model.cache.attr(Ino(2)).is_some());
}

#[test]
fn older_attributes_give_way_to_the_known_ones() {
    let model = Model::new();
    let asked = model.cache.asked();
    let mut newer = model.attr(2);
    newer.attr_ver = 7;
    model.cache.store_attr(asked, &promised(5), newer);
    assert_eq!(model.cache.store_attr(asked, &promised(6), model.attr(2)).attr_ver, 7);
}

#[test]
fn kernel_is_told_only_of_what_it_may_believe() {
    let clock = Arc::new(ManualClock::new(Duration::from_secs(100)));
    let cache = Metadata::new(clock.clone());
    let (asked, ttl) = (cache.asked(), Duration::from_secs(10));
    for ino in 2..5 {
        cache.store_attr(asked, &promised(1), plain_attr(Ino(ino), Kind::File));
        cache.store_name(asked, &promised(1), DIR, &name(ino), Target::Present(Ino(ino)));
    }
    cache.lend_attr(Ino(2), ttl).unwrap();
    assert!(cache.lend_name(DIR, &name(2), Target::Present(Ino(2)), ttl));
    clock.advance(Duration::from_secs(9));
    cache.lend_attr(Ino(3), ttl).unwrap();
    assert!(!cache.lend_name(DIR, &name(3), Target::Absent, ttl), "not what the name leads to");
    let names = (2..5).map(|n| name(n).as_bytes().to_vec().into()).collect();
    let what = [
        v1::inval_item::What::Attr(2),
        v1::inval_item::What::Attr(3),
        v1::inval_item::What::Attr(4),
        v1::inval_item::What::DirNames(v1::DirNames { ino: DIR.0, names }),
    ];
    let items = what.map(|w| v1::InvalItem { what: Some(w) }).to_vec();
    let push = v1::Inval { seq: 5, items };
    let stale = cache.push(&push);
    assert_eq!(stale.attrs, [Ino(2), Ino(3)]);
    assert_eq!(stale.entries.iter().map(|e| e.name.clone()).collect::<Vec<_>>(), [name(2)]);
    assert_eq!(cache.push(&push).attrs, [], "the kernel was told already");
}

#[test]
fn regression_kernel_is_told_of_lists_it_keeps_without_a_lifetime() {
    let clock = Arc::new(ManualClock::new(Duration::from_secs(100)));
    let cache = Metadata::new(clock.clone());
    assert!(!cache.lend_acls(Ino(2)), "nothing is promised");
    cache.store_attr(cache.asked(), &promised(1), plain_attr(Ino(2), Kind::File));
    assert!(cache.lend_acls(Ino(2)));
    clock.advance(Duration::from_secs(24 * 3600));
    let items = vec![v1::InvalItem { what: Some(v1::inval_item::What::Attr(2)) }];
    let stale = cache.push(&v1::Inval { seq: 5, items });
    assert_eq!(stale.attrs, [Ino(2)]);
}

#[test]
fn room_is_made_from_the_least_used() {
    let cache = Metadata::new(Arc::new(ManualClock::new(Duration::from_secs(100))));
    let asked = cache.asked();
    for ino in 0..NODES_MAX as u64 + 5 {
        cache.store_attr(asked, &promised(1), plain_attr(Ino(ino + 2), Kind::File));
    }
    cache.attr(Ino(2));
    let given_up = cache.give_up(0);
    assert_eq!(given_up.attrs, [3, 4, 5, 6, 7].map(Ino));
    cache.store_attr(asked, &promised(2), plain_attr(Ino(3), Kind::File));
    assert_eq!(cache.attr(Ino(3)), None, "the server has not heard of it yet");
    cache.heard(&given_up.attrs, &[]);
    cache.store_attr(asked, &promised(2), plain_attr(Ino(3), Kind::File));
    assert_eq!(cache.attr(Ino(3)), None, "the promise may be the one given up");
    cache.store_attr(cache.asked(), &promised(2), plain_attr(Ino(3), Kind::File));
    assert!(cache.attr(Ino(3)).is_some());
}

#[test]
fn names_of_a_long_listing_stay_known_while_names_are_added_here() {
    let metadata = Metadata::new(Arc::new(ManualClock::new(Duration::ZERO)));
    let dir = Ino(5);
    let empty = Listing::new(0, Arc::default());
    metadata.store_listing(metadata.asked(), Seq(1), dir, empty);
    for n in 0..10_000 {
        let mut attr = plain_attr(dir, Kind::Directory);
        (attr.dir_ver, attr.attr_ver) = (n + 1, n + 2);
        let (of, target) = (name(n), Target::Present(Ino(100 + n)));
        let edit = Some(Edit::Added(of.clone(), Ino(100 + n), Kind::File));
        let renamed = Renamed { dir: attr, name: &of, target: Some(target), edit };
        metadata.own_name(metadata.asked(), &promised(n + 2), renamed);
    }
    assert_eq!(metadata.name(dir, &name(9_999)), Some(Target::Present(Ino(10_099))));
    assert_eq!(metadata.name(dir, &name(10_000)), Some(Target::Absent));
}
