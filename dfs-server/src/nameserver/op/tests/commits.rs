//! Commits, truncations, clones and compactions: what is refused, and what else they change.

use super::content::{UNIT, bytes, commit, file, inline};
use super::harness::{World, name, user};
use crate::metastore::Read;
use crate::nameserver::op::*;
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, SetAttr, SetTime};
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::hub::Item;
use dfs_core::limits::COMMIT_INLINE_MAX;
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::{Code, Ino};

#[test]
fn commit_that_does_not_fit_is_refused() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let op = commit(&w, f, 0, 5, vec![inline(0, b"hello")]);
    w.must(&op);
    let run = |w: &mut World, op: Commit| w.run(&Credentials::root(), &op).err();
    assert_eq!(run(&mut w, op), Some(Code::StaleVersion), "the base moved");

    let object = |ino, range, offset| {
        let name = ObjectName { ino, born: 1, n: 0 };
        vec![Extent { range, source: Source::Object(name, offset) }]
    };
    let short = Extent { range: Range::new(0, 4), source: Source::Inline(vec![0; 3].into()) };
    let many =
        (0..=COMMIT_INLINE_MAX / UNIT).map(|i| inline(i * UNIT, &[0; UNIT as usize])).collect();
    for (what, size, extents) in [
        ("behind the end", 4, vec![inline(0, b"hello")]),
        ("out of order", 9, vec![inline(4, b"b"), inline(0, b"a")]),
        ("overlapping", 9, vec![inline(0, b"ab"), inline(1, b"b")]),
        ("empty", 9, vec![inline(3, b"")]),
        ("short", 9, vec![short]),
        ("across stripes", 40, object(f, Range::new(10, 20), 0)),
        ("of another file", 40, object(Ino(77), Range::new(0, 9), 0)),
        ("longer than an object", 40, object(f, Range::new(0, 9), UNIT - 8)),
        ("too much inline", 1 << 20, many),
    ] {
        let op = commit(&w, f, 5.min(size), size, extents);
        assert_eq!(run(&mut w, op), Some(Code::Invalid), "{what}");
    }
    let large = commit(&w, f, 0, 1 << 63, Vec::new());
    assert_eq!(run(&mut w, large), Some(Code::FileTooBig));
    let backwards = commit(&w, f, 6, 5, Vec::new());
    assert_eq!(run(&mut w, backwards), Some(Code::Invalid));
    let dir = Commit { ino: Ino::ROOT, ..commit(&w, f, 0, 0, Vec::new()) };
    assert_eq!(run(&mut w, dir), Some(Code::IsDirectory));
    assert_eq!(bytes(&w, f), b"hello");
}

/// A commit by `who`, with attributes riding along.
fn commit_as(w: &mut World, who: &Credentials, f: Ino, set: SetAttr) -> Result<Attr, Code> {
    let op = Commit { set, ..commit(w, f, 0, 1, vec![inline(0, b"x")]) };
    Ok(w.run(who, &op)?.object.unwrap())
}

#[test]
fn commit_holds_the_time_of_a_foreign_write_near_now() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let bob = user(1001, 101, &[]);
    let at = |seconds| Some(SetTime::To(Timestamp { seconds, nanos: 0 }));
    let time = |seconds| SetAttr { mtime: at(seconds), ..SetAttr::default() };
    let clock = w.clock;
    let mtime = |w: &mut World, who: &Credentials, seconds| {
        commit_as(w, who, f, time(seconds)).unwrap().mtime.seconds
    };
    assert_eq!(mtime(&mut w, &bob, 5), clock + 1 - 2);
    assert_eq!(mtime(&mut w, &bob, clock + 1), clock + 1);
    assert_eq!(mtime(&mut w, &bob, clock + 900), clock + 3 + 2);
    assert_eq!(mtime(&mut w, &Credentials::root(), 5), 5, "its owner may set any time");
    assert_eq!(commit_as(&mut w, &bob, f, SetAttr::default()).unwrap().mtime.seconds, w.clock);
    let chosen = SetAttr { atime: at(5), ..SetAttr::default() };
    assert_eq!(commit_as(&mut w, &bob, f, chosen), Err(Code::NotPermitted));
}

#[test]
fn commit_carries_attributes_alone_or_with_content() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let mode = |mode| SetAttr { mode: Some(mode), ..SetAttr::default() };
    let attr = commit_as(&mut w, &Credentials::root(), f, mode(0o6755)).unwrap();
    assert_eq!((attr.mode, attr.size), (0o6755, 1));
    let drop = SetAttr { drop_suid: true, ..SetAttr::default() };
    assert_eq!(commit_as(&mut w, &user(7, 7, &[]), f, drop).unwrap().mode, 0o755);
    let alone = |set| Commit { set, attrs_only: true, ..commit(&w, f, 0, 0, Vec::new()) };
    let (change, nothing) = (alone(mode(0o600)), alone(SetAttr::default()));
    let version = w.attr(f).content_ver;
    let attr = w.must(&change);
    assert_eq!((attr.mode, attr.size, attr.content_ver), (0o600, 1, version));
    assert_eq!(w.items, [Item::Attr { ino: f }]);
    assert_eq!(w.must(&nothing), attr);
    let sized = SetAttr { size: Some(0), ..SetAttr::default() };
    assert_eq!(commit_as(&mut w, &Credentials::root(), f, sized), Err(Code::Invalid));
}

#[test]
fn orphan_takes_commits_until_it_is_freed() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    w.must(&Unlink { dir: Ino::ROOT, name: name("f"), at: None });
    let op = commit(&w, f, 0, 1, vec![inline(0, b"x")]);
    w.must(&op);
    w.run(&Credentials::root(), &FreeOrphan { ino: f }).unwrap();
    w.run(&Credentials::root(), &FreeOrphan { ino: f }).unwrap();
    assert_eq!(w.run(&Credentials::root(), &op).unwrap_err(), Code::Stale);
}

#[test]
fn truncating_to_the_same_size_moves_no_version() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let op = commit(&w, f, 0, 1, vec![inline(0, b"x")]);
    let version = w.must(&op).content_ver;
    let op = Truncate { ino: f, size: 1, set: SetAttr::default(), opened: false };
    let attr = w.must(&op);
    assert_eq!((attr.content_ver, attr.mtime.seconds), (version, w.clock));
    assert_eq!(w.items, [Item::Attr { ino: f }]);
}

#[test]
fn compaction_replaces_only_the_record_it_read() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let op = commit(&w, f, 0, 9, vec![inline(0, b"ab"), inline(7, b"yz")]);
    let before = w.must(&op);
    let read = w.store.stripes(f, 0, 0).unwrap().pop().unwrap().1;
    let object = ObjectName { ino: f, born: 99, n: 0 };
    let after = w.must(&Compact { ino: f, index: 0, read: read.clone(), object });
    assert_eq!((after.attr_ver, after.content_ver), (before.attr_ver, before.content_ver));
    assert!(w.items.is_empty());
    let whole = Extent { range: Range::new(0, 9), source: Source::Object(object, 0) };
    assert_eq!(w.store.stripes(f, 0, 0).unwrap(), [(0, vec![whole])]);
    let again = Compact { ino: f, index: 0, read, object: ObjectName { born: 100, ..object } };
    assert_eq!(w.run(&Credentials::root(), &again).unwrap_err(), Code::StaleVersion);
}

#[test]
fn compaction_leaves_alone_what_was_written_meanwhile() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let op = commit(&w, f, 0, 9, vec![inline(0, b"abc"), inline(7, b"yz")]);
    w.must(&op);
    let read = w.store.stripes(f, 0, 0).unwrap().pop().unwrap().1;
    // Appended, overwritten, and the end of the file cut off in between.
    let op = commit(&w, f, 8, 12, vec![inline(1, b"B"), inline(9, b"new")]);
    w.must(&op);
    let object = ObjectName { ino: f, born: 99, n: 0 };
    let after = w.must(&Compact { ino: f, index: 0, read, object });
    let stored = |start, end, at| Extent {
        range: Range::new(start, end),
        source: Source::Object(object, at),
    };
    let want = vec![stored(0, 1, 0), inline(1, b"B"), stored(2, 8, 2), inline(9, b"new")];
    assert_eq!(w.store.stripes(f, 0, 0).unwrap(), [(0, want)]);
    assert_eq!(after.blocks, 1);
    let op = commit(&w, f, 1, 1, vec![]);
    assert_eq!(w.must(&op).blocks, 1);
}

#[test]
fn punching_an_endless_hole_visits_stored_stripes_only() {
    let mut w = World::new();
    let f = file(&mut w, "f");
    let size = i64::MAX as u64;
    let op = commit(&w, f, 0, size, vec![inline(0, b"x")]);
    w.must(&op);
    let hole = Extent { range: Range::new(0, size), source: Source::Hole };
    let op = commit(&w, f, size, size, vec![hole]);
    let attr = w.must(&op);
    assert_eq!((attr.size, attr.blocks), (size, 0));
    assert!(w.store.stripes(f, 0, size).unwrap().is_empty());
}

#[test]
fn clone_needs_to_read_and_write() {
    let mut w = World::new();
    let (a, b) = (file(&mut w, "a"), file(&mut w, "b"));
    let op = commit(&w, a, 0, 1, vec![inline(0, b"x")]);
    w.must(&op);
    let clone =
        |opened, dst_off| CloneRange { src: a, src_off: 0, len: 1, dst: b, dst_off, opened };
    let eve = user(7, 7, &[]);
    assert_eq!(w.run(&eve, &clone(false, 0)).unwrap_err(), Code::AccessDenied);
    assert_eq!(w.run(&eve, &clone(true, 3)).unwrap().object.unwrap().size, 4);
    let far = clone(true, i64::MAX as u64);
    assert_eq!(w.run(&eve, &far).unwrap_err(), Code::FileTooBig);
}
