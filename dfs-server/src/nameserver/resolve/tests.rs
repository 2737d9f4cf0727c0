//! Lookups, listings and reads.

use super::*;
use crate::metastore::{Batch, Dentry, MemoryStore, cookie_base};
use crate::nameserver::op::tests::{KEY, World, name, user};
use crate::nameserver::op::{Commit, Create, Mkdir};
use dfs_core::access::{Credentials, READ};
use dfs_core::attr::SetAttr;
use dfs_core::extent::{Extent, Source};
use dfs_core::range::Range;
use proptest::prelude::*;

fn cx(who: &Credentials) -> Context<'_> {
    Context { who, cookie_key: &KEY }
}

fn mkdir(w: &mut World, dir: Ino, text: &str, mode: u32) -> Ino {
    w.must(&Mkdir { dir, name: name(text), mode: mode.into(), made: None }).ino
}

fn create(w: &mut World, dir: Ino, text: &str) -> Ino {
    w.must(&Create { dir, name: name(text), mode: 0o640.into(), exclusive: true, leased: false })
        .ino
}

#[test]
fn path_walk_needs_search_on_the_way() {
    let mut w = World::new();
    let d = mkdir(&mut w, Ino::ROOT, "d", 0o700);
    let f = create(&mut w, d, "f");
    let (root, eve) = (Credentials::root(), user(7, 7, &[]));
    let walk = |who: &Credentials, path: &[&str]| {
        let path: Vec<Name> = path.iter().map(|text| name(text)).collect();
        let found = lookup_path(&cx(who), &w.store, Ino::ROOT, &path);
        found.map(|found| found.map(|attr| attr.ino)).map_err(|e| e.code)
    };
    assert_eq!(walk(&root, &[]), Ok(Some(Ino::ROOT)));
    assert_eq!(walk(&root, &["d", "f"]), Ok(Some(f)));
    assert_eq!(walk(&root, &["d", "x", "y"]), Ok(None));
    assert_eq!(walk(&root, &["d", "f", "y"]), Err(Code::NotDirectory));
    assert_eq!(walk(&eve, &["d"]), Ok(Some(d)));
    assert_eq!(walk(&eve, &["d", "f"]), Err(Code::AccessDenied));
}

#[test]
fn access_answers_for_the_caller() {
    let mut w = World::new();
    let f = create(&mut w, Ino::ROOT, "f");
    let eve = user(7, 7, &[]);
    assert!(access(&cx(&eve), &w.store, f, 0).is_ok());
    assert_eq!(access(&cx(&eve), &w.store, f, READ).unwrap_err().code, Code::AccessDenied);
    assert!(access(&cx(&Credentials::root()), &w.store, f, READ | WRITE).is_ok());
    assert_eq!(access(&cx(&eve), &w.store, Ino(99), 0).unwrap_err().code, Code::Stale);
}

#[test]
fn names_with_one_hash_take_neighbouring_cookies() {
    let mut w = World::new();
    let wanted = name("wanted");
    let base = cookie_base(&KEY, &wanted);
    let fill = |w: &mut World, cookie: u64, text: &str, present: bool| {
        let mut batch = Batch::default();
        let (dir, kind) = (Ino::ROOT, Kind::File);
        let entry = Dentry { dir, cookie, name: name(text), ino: Ino(5), kind };
        batch.dentries.insert((dir, cookie), present.then_some(entry));
        w.commit(&batch);
    };
    for i in 0..256 {
        assert_eq!(free_cookie(&KEY, &w.store, Ino::ROOT, &wanted).unwrap(), base + i);
        fill(&mut w, base + i, &format!("other{i}"), true);
    }
    let full = free_cookie(&KEY, &w.store, Ino::ROOT, &wanted).unwrap_err();
    assert_eq!(full.code, Code::NoSpace);
    assert_eq!(entry(&KEY, &w.store, Ino::ROOT, &wanted).unwrap(), None);
    fill(&mut w, base + 7, "gone", false);
    assert_eq!(free_cookie(&KEY, &w.store, Ino::ROOT, &wanted).unwrap(), base + 7);
    fill(&mut w, base + 7, "wanted", true);
    let found = entry(&KEY, &w.store, Ino::ROOT, &wanted).unwrap().unwrap();
    assert_eq!(found.cookie, base + 7);
}

#[test]
fn listing_needs_read_and_gives_attributes_with_search() {
    let mut w = World::new();
    let d = mkdir(&mut w, Ino::ROOT, "d", 0o704);
    let f = create(&mut w, d, "f");
    let eve = user(7, 7, &[]);
    let page = list(&cx(&eve), &w.store, d, 0, 10, true).unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!((page.entries[0].0.ino, &page.entries[0].1), (f, &None));
    let page = list(&cx(&Credentials::root()), &w.store, d, 0, 10, true).unwrap();
    assert_eq!(page.entries[0].1, Some(w.attr(f)));
    let shut = mkdir(&mut w, Ino::ROOT, "shut", 0o711);
    let code = |dir| list(&cx(&eve), &w.store, dir, 0, 10, true).unwrap_err().code;
    assert_eq!((code(shut), code(f)), (Code::AccessDenied, Code::NotDirectory));
}

proptest! {
    #[test]
    fn pages_give_every_entry_once(count in 0..40usize, limit in 1..9usize) {
        let mut w = World::new();
        let made: Vec<Ino> =
            (0..count).map(|i| create(&mut w, Ino::ROOT, &format!("f{i}"))).collect();
        let (mut cookie, mut seen) = (0, Vec::new());
        loop {
            let root = Credentials::root();
            let page = list(&cx(&root), &w.store, Ino::ROOT, cookie, limit, false).unwrap();
            prop_assert!(page.entries.len() == limit || page.end);
            for (entry, _) in &page.entries {
                prop_assert!(entry.cookie > cookie);
                cookie = entry.cookie;
                seen.push(entry.ino);
            }
            if page.end {
                break;
            }
        }
        seen.sort();
        prop_assert_eq!(seen, made);
    }
}

/// Replaces a file's stripes by one inline byte in each of `stripes`.
fn scatter(w: &mut World, ino: Ino, stripes: impl Iterator<Item = u64>, size: u64, len: usize) {
    let unit = inode(&w.store, ino).unwrap().unit;
    let mut batch = Batch::default();
    for index in stripes {
        let range = Range::of_len(index * unit, len as u64);
        let extent = Extent { range, source: Source::Inline(vec![1; len].into()) };
        batch.stripes.insert((ino, index), Some(vec![extent]));
    }
    let mut row = inode(&w.store, ino).unwrap();
    row.attr.size = size;
    batch.inodes.insert(ino, Some(row));
    w.commit(&batch);
}

/// Reads on from the end of each answer.
fn read_all(store: &MemoryStore, ino: Ino) -> (Vec<Extent>, usize) {
    let root = Credentials::root();
    let (mut at, mut answers, mut extents) = (0, 0, Vec::new());
    loop {
        let range = Range::new(at, u64::MAX);
        let part = content(&cx(&root), store, ino, range, false).unwrap();
        answers += 1;
        extents.extend(part.extents);
        if !part.more {
            return (extents, answers);
        }
        at = extents.last().unwrap().range.end;
    }
}

#[test]
fn content_of_a_sparse_giant_is_found() {
    let mut w = World::new();
    let f = create(&mut w, Ino::ROOT, "f");
    let size = i64::MAX as u64;
    let unit = inode(&w.store, f).unwrap().unit;
    scatter(&mut w, f, [0, 1 << 20, (size - 1) / unit].into_iter(), size, 1);
    let (extents, answers) = read_all(&w.store, f);
    assert_eq!((extents.len(), answers), (3, 1));
}

#[test]
fn content_comes_in_bounded_answers() {
    let mut w = World::new();
    let f = create(&mut w, Ino::ROOT, "f");
    let unit = inode(&w.store, f).unwrap().unit;
    scatter(&mut w, f, 0..300, 300 * unit, 65_536);
    let (extents, answers) = read_all(&w.store, f);
    assert!(extents.windows(2).all(|w| w[0].range.end <= w[1].range.start));
    let bytes: u64 = extents.iter().map(Extent::inline_len).sum();
    assert_eq!((bytes, answers), (300 * 65_536, 5));
}

#[test]
fn content_is_cut_to_range_and_size() {
    let mut w = World::new();
    let f = create(&mut w, Ino::ROOT, "f");
    let source = Source::Inline("hello".into());
    let extents = vec![Extent { range: Range::new(0, 5), source }];
    let set = SetAttr::default();
    w.must(&Commit {
        ino: f,
        base_ver: 0,
        min_size: 0,
        size: 9,
        extents,
        set,
        attrs_only: false,
        later: false,
    });
    let eve = user(7, 7, &[]);
    let read = |range, opened| content(&cx(&eve), &w.store, f, range, opened);
    assert_eq!(read(Range::ALL, false).unwrap_err().code, Code::AccessDenied);
    let part = read(Range::new(1, 3), true).unwrap();
    assert_eq!(part.extents[0].source, Source::Inline("el".into()));
    assert!(read(Range::new(9, 20), true).unwrap().extents.is_empty());
    let dir = content(&cx(&Credentials::root()), &w.store, Ino::ROOT, Range::ALL, false);
    assert_eq!(dir.unwrap_err().code, Code::IsDirectory);
}
