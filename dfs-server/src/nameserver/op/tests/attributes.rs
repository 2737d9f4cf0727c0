//! Modes, owners and times: who may, and what follows.

use super::harness::{World, name, user};
use crate::nameserver::op::*;
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, Kind, SetAttr, SetTime};
use dfs_core::time::Timestamp;
use dfs_core::{Code, Ino};

/// Owner of the file, in the file's group too.
fn alice() -> Credentials {
    user(1000, 100, &[300])
}

/// In the file's group.
fn bob() -> Credentials {
    user(1001, 100, &[])
}

/// Nobody to it.
fn eve() -> Credentials {
    user(1002, 102, &[])
}

fn at(seconds: i64) -> SetTime {
    SetTime::To(Timestamp { seconds, nanos: 123_456_789 })
}

fn mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

fn owner(uid: Option<u32>, gid: Option<u32>) -> SetAttr {
    SetAttr { uid, gid, ..SetAttr::default() }
}

fn times(atime: Option<SetTime>, mtime: Option<SetTime>) -> SetAttr {
    SetAttr { atime, mtime, ..SetAttr::default() }
}

/// A file of Alice and group 100, mode 0664.
fn file() -> (World, Ino) {
    let mut world = World::new();
    let op = Create {
        dir: Ino::ROOT,
        name: name("f"),
        mode: 0o664.into(),
        exclusive: true,
        leased: false,
    };
    let ino = world.run(&alice(), &op).unwrap().object.unwrap().ino;
    (world, ino)
}

fn set(world: &mut World, who: &Credentials, ino: Ino, set: SetAttr) -> Result<Attr, Code> {
    let op = SetAttributes { ino, set, opened: false };
    Ok(world.run(who, &op)?.object.unwrap())
}

#[test]
fn mode_changes_by_owner_only_and_keeps_sgid_in_the_group() {
    let (mut w, f) = file();
    assert_eq!(set(&mut w, &bob(), f, mode(0o600)), Err(Code::NotPermitted));
    assert_eq!(set(&mut w, &alice(), f, mode(0o6755)).unwrap().mode, 0o6755);
    set(&mut w, &Credentials::root(), f, owner(None, Some(200))).unwrap();
    assert_eq!(set(&mut w, &alice(), f, mode(0o6755)).unwrap().mode, 0o4755);
    assert_eq!(set(&mut w, &Credentials::root(), f, mode(0o6755)).unwrap().mode, 0o6755);
}

#[test]
fn owner_changes_as_posix_says() {
    let (mut w, f) = file();
    for (who, change) in [
        (alice(), owner(Some(1001), None)),
        (alice(), owner(None, Some(200))),
        (bob(), owner(None, Some(100))),
        (bob(), owner(Some(1001), None)),
    ] {
        assert_eq!(set(&mut w, &who, f, change), Err(Code::NotPermitted), "{change:?}");
    }
    set(&mut w, &alice(), f, owner(Some(1000), Some(300))).unwrap();
    let attr = set(&mut w, &Credentials::root(), f, owner(Some(1001), Some(7))).unwrap();
    assert_eq!((attr.uid, attr.gid), (1001, 7));
}

#[test]
fn new_owner_strips_suid_and_sgid_of_files_only() {
    let (mut w, f) = file();
    set(&mut w, &alice(), f, mode(0o6755)).unwrap();
    assert_eq!(set(&mut w, &alice(), f, owner(None, Some(300))).unwrap().mode, 0o755);
    set(&mut w, &Credentials::root(), f, mode(0o6755)).unwrap();
    assert_eq!(set(&mut w, &Credentials::root(), f, owner(Some(1), None)).unwrap().mode, 0o755);
    let dir = Mkdir { dir: Ino::ROOT, name: name("d"), mode: 0o777.into(), made: None };
    let dir = w.must(&dir).ino;
    set(&mut w, &Credentials::root(), dir, mode(0o6775)).unwrap();
    assert_eq!(set(&mut w, &Credentials::root(), dir, owner(Some(1), None)).unwrap().mode, 0o6775);
}

#[test]
fn writing_drops_suid_for_who_may_write() {
    let (mut w, f) = file();
    set(&mut w, &alice(), f, mode(0o6775)).unwrap();
    let drop = SetAttr { drop_suid: true, ..SetAttr::default() };
    assert_eq!(set(&mut w, &eve(), f, drop), Err(Code::AccessDenied));
    assert_eq!(set(&mut w, &bob(), f, drop).unwrap().mode, 0o775);
    set(&mut w, &alice(), f, mode(0o2664)).unwrap();
    assert_eq!(set(&mut w, &bob(), f, drop).unwrap().mode, 0o2664, "no program, own group");
    let op = Truncate { ino: f, size: 9, set: drop, opened: true };
    assert_eq!(w.run(&eve(), &op).unwrap().object.unwrap().mode, 0o664);
}

#[test]
fn times_set_to_now_need_write_permission_others_ownership() {
    let (mut w, f) = file();
    let now = Some(SetTime::Now);
    for who in [alice(), bob()] {
        let attr = set(&mut w, &who, f, times(now, now)).unwrap();
        assert_eq!((attr.atime.seconds, attr.mtime.seconds), (w.clock, w.clock));
    }
    assert_eq!(set(&mut w, &eve(), f, times(now, now)), Err(Code::AccessDenied));
    for chosen in [times(Some(at(5)), None), times(now, Some(at(5))), times(now, None)] {
        assert_eq!(set(&mut w, &bob(), f, chosen), Err(Code::NotPermitted), "{chosen:?}");
        assert!(set(&mut w, &alice(), f, chosen).is_ok());
    }
    let attr = set(&mut w, &alice(), f, times(Some(at(-5)), Some(at(1 << 40)))).unwrap();
    assert_eq!((SetTime::To(attr.atime), SetTime::To(attr.mtime)), (at(-5), at(1 << 40)));
    let broken = SetTime::To(Timestamp { seconds: 0, nanos: 1_000_000_000 });
    assert_eq!(set(&mut w, &alice(), f, times(Some(broken), None)), Err(Code::Invalid));
}

#[test]
fn truncating_with_mtime_now_needs_write_permission_only() {
    let (mut w, f) = file();
    let ride = times(None, Some(SetTime::Now));
    let op = Truncate { ino: f, size: 10, set: ride, opened: false };
    assert_eq!(w.run(&eve(), &op).unwrap_err(), Code::AccessDenied);
    assert_eq!(w.run(&bob(), &op).unwrap().object.unwrap().size, 10);
    // The owner is no exception once the mode says so.
    set(&mut w, &alice(), f, mode(0o444)).unwrap();
    assert_eq!(w.run(&alice(), &op).unwrap_err(), Code::AccessDenied);
}

#[test]
fn setting_nothing_changes_nothing() {
    let (mut w, f) = file();
    let before = w.attr(f);
    assert_eq!(set(&mut w, &eve(), f, SetAttr::default()).unwrap(), before);
    assert!(w.items.is_empty());
}

#[test]
fn symbolic_links_have_owners_and_times_but_no_mode() {
    let mut w = World::new();
    let op = Symlink { dir: Ino::ROOT, name: name("l"), target: b"t".to_vec() };
    let link = w.run(&alice(), &op).unwrap().object.unwrap();
    assert_eq!((link.kind, link.mode, link.size), (Kind::Symlink, 0o777, 1));
    assert_eq!(set(&mut w, &alice(), link.ino, mode(0o600)), Err(Code::NotSupported));
    assert!(set(&mut w, &alice(), link.ino, times(Some(at(1)), Some(at(2)))).is_ok());
}

#[test]
fn new_inodes_inherit_from_a_set_group_id_directory() {
    let mut w = World::new();
    let dir = w.must(&Mkdir { dir: Ino::ROOT, name: name("d"), mode: 0o7777.into(), made: None });
    assert_eq!(dir.mode, 0o1777, "mkdir takes no suid and sgid");
    set(&mut w, &Credentials::root(), dir.ino, owner(None, Some(500))).unwrap();
    set(&mut w, &Credentials::root(), dir.ino, mode(0o2777)).unwrap();
    let create = |text, mode: u32| Create {
        dir: dir.ino,
        name: name(text),
        mode: mode.into(),
        exclusive: true,
        leased: false,
    };
    let made = |w: &mut World, op: &dyn Op| w.run(&alice(), op).unwrap().object.unwrap();
    let plain = made(&mut w, &create("f", 0o644));
    assert_eq!((plain.uid, plain.gid, plain.mode), (1000, 500, 0o644));
    assert_eq!(made(&mut w, &create("g", 0o6755)).mode, 0o4755, "no program for a foreign group");
    let sub =
        made(&mut w, &Mkdir { dir: dir.ino, name: name("sub"), mode: 0o755.into(), made: None });
    assert_eq!((sub.gid, sub.mode), (500, 0o2755));
}

#[test]
fn directory_is_made_as_its_client_has_made_it() {
    let mut w = World::new();
    // The world's next moment; that a time before it is kept is seen through the protocol.
    let at = Timestamp { seconds: w.clock + 1, nanos: 0 };
    let make = |ino, text| Mkdir {
        dir: Ino::ROOT,
        name: name(text),
        mode: 0o750.into(),
        made: Some((Ino(ino), at)),
    };
    let made = w.must(&make(7_000, "d"));
    assert_eq!((made.ino, made.mode, made.mtime, made.btime), (Ino(7_000), 0o750, at, at));
    assert_eq!(w.run(&Credentials::root(), &make(7_000, "e")), Err(Code::Invalid), "it exists");
    w.check_tree();
}
