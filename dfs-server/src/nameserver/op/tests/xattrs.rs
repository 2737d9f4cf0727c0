//! Extended attributes: namespaces, permissions, limits.

use super::harness::{World, name, user};
use crate::nameserver::op::*;
use crate::nameserver::resolve;
use dfs_core::access::{Acl, Credentials, Entry, Tag};
use dfs_core::attr::Kind;
use dfs_core::limits::{XATTR_LIST_MAX, XATTR_TOTAL_MAX, XATTR_VALUE_MAX};
use dfs_core::{Code, Ino};

fn alice() -> Credentials {
    user(1000, 100, &[])
}

fn set(ino: Ino, text: &str, value: &[u8]) -> SetXattr {
    let (name, value) = (text.as_bytes().to_vec(), value.to_vec());
    SetXattr { ino, name, value, mode: XattrMode::Any }
}

fn remove(ino: Ino, text: &str) -> RemoveXattr {
    RemoveXattr { ino, name: text.as_bytes().to_vec() }
}

fn node(w: &mut World, kind: Kind) -> Ino {
    let op = Mknod {
        dir: Ino::ROOT,
        name: name(&format!("{kind:?}")),
        mode: 0o644.into(),
        kind,
        rdev: 0,
    };
    w.run(&alice(), &op).unwrap().object.unwrap().ino
}

#[test]
fn setting_and_removing_moves_the_flag() {
    let mut w = World::new();
    let f = node(&mut w, Kind::File);
    assert!(w.must(&set(f, "user.a", b"1")).has_xattrs);
    w.must(&set(f, "user.b", b""));
    w.must(&set(f, "user.a", b"2"));
    let (_, all) = resolve::xattrs(&w.store, f).unwrap();
    assert_eq!(all, [(b"user.a".to_vec(), b"2".to_vec()), (b"user.b".to_vec(), Vec::new())]);
    assert!(w.must(&remove(f, "user.a")).has_xattrs);
    assert!(!w.must(&remove(f, "user.b")).has_xattrs);
    assert_eq!(w.run(&alice(), &remove(f, "user.b")).unwrap_err(), Code::NoData);
}

#[test]
fn modes_demand_presence_or_absence() {
    let mut w = World::new();
    let f = node(&mut w, Kind::File);
    let with = |mode| SetXattr { mode, ..set(f, "user.a", b"1") };
    assert_eq!(w.run(&alice(), &with(XattrMode::Replace)).unwrap_err(), Code::NoData);
    assert_eq!(w.run(&alice(), &with(XattrMode::Never)).unwrap_err(), Code::NoData);
    w.run(&alice(), &with(XattrMode::Create)).unwrap();
    assert_eq!(w.run(&alice(), &with(XattrMode::Create)).unwrap_err(), Code::Exists);
    w.run(&alice(), &with(XattrMode::Replace)).unwrap();
    assert_eq!(w.run(&alice(), &with(XattrMode::Never)).unwrap_err(), Code::Exists);
}

#[test]
fn namespaces_have_their_own_permissions() {
    let mut w = World::new();
    let (f, fifo) = (node(&mut w, Kind::File), node(&mut w, Kind::Fifo));
    let dir =
        w.must(&Mkdir { dir: Ino::ROOT, name: name("d"), mode: 0o1777.into(), made: None }).ino;
    let (eve, root) = (user(1002, 102, &[]), Credentials::root());
    let long = format!("user.{}", "x".repeat(251));
    let lines = [Tag::UserObj, Tag::GroupObj, Tag::Mask, Tag::Other];
    let list = Acl::new(lines.map(|tag| Entry { tag, perm: 6 }).to_vec()).unwrap().encode();
    for (who, ino, text, wanted) in [
        (&alice(), f, "user.x", None),
        (&eve, f, "user.x", Some(Code::AccessDenied)),
        (&alice(), fifo, "user.x", Some(Code::NotPermitted)),
        (&root, fifo, "user.x", Some(Code::NotPermitted)),
        (&alice(), dir, "user.x", Some(Code::NotPermitted)),
        (&root, dir, "user.x", None),
        (&alice(), f, "trusted.x", Some(Code::NotPermitted)),
        (&root, f, "trusted.x", None),
        (&alice(), f, "security.x", Some(Code::NotPermitted)),
        (&root, f, "security.x", None),
        (&alice(), f, "system.posix_acl_access", None),
        (&eve, f, "system.posix_acl_access", Some(Code::NotPermitted)),
        (&alice(), f, "system.posix_acl_default", Some(Code::AccessDenied)),
        (&root, dir, "system.posix_acl_default", None),
        (&root, f, "system.other", Some(Code::NotSupported)),
        (&root, f, "plain", Some(Code::NotSupported)),
        (&root, f, "user.", Some(Code::Invalid)),
        (&root, f, "", Some(Code::OutOfRange)),
        (&root, f, long.as_str(), Some(Code::OutOfRange)),
    ] {
        let value = if text.contains("acl") { &list[..] } else { b"v" };
        let got = w.run(who, &set(ino, text, value)).err();
        assert_eq!(got, wanted, "user {} sets {text} of {ino}", who.uid);
        let got = w.run(who, &remove(ino, text)).err();
        // There is none to remove, and nobody is told so.
        let wanted = wanted.filter(|_| ino != f || text != "system.posix_acl_default");
        assert_eq!(got, wanted, "user {} removes {text} of {ino}", who.uid);
    }
}

#[test]
fn sizes_are_bounded() {
    let mut w = World::new();
    let f = node(&mut w, Kind::File);
    let root = Credentials::root();
    let largest = vec![0; XATTR_VALUE_MAX];
    let too_large = vec![0; XATTR_VALUE_MAX + 1];
    assert_eq!(w.run(&root, &set(f, "user.a", &too_large)).unwrap_err(), Code::ArgumentsTooLong);
    for i in 0..XATTR_TOTAL_MAX / XATTR_VALUE_MAX {
        w.must(&set(f, &format!("user.{i}"), &largest));
    }
    assert_eq!(w.run(&root, &set(f, "user.more", b"1")).unwrap_err(), Code::NoSpace);
    w.must(&set(f, "user.0", b"replaced"));
    w.must(&set(f, "user.more", b"1"));

    let dir =
        w.must(&Mkdir { dir: Ino::ROOT, name: name("d"), mode: 0o755.into(), made: None }).ino;
    let text = |i: usize| format!("user.{i:0250}");
    for i in 0..XATTR_LIST_MAX / 256 {
        w.must(&set(dir, &text(i), b""));
    }
    assert_eq!(w.run(&root, &set(dir, &text(999), b"")).unwrap_err(), Code::NoSpace);
}
