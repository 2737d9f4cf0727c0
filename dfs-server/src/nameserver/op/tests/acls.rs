//! Access control lists on the server: who gets in, what is inherited, what chmod does to them; and
//! the capabilities of programs, which fall with their content.

use super::harness::{World, name, user};
use crate::nameserver::op::*;
use crate::nameserver::resolve;
use dfs_core::access::{ACL_ACCESS, ACL_DEFAULT, Acl, Credentials, EXEC, Entry, READ, Tag, WRITE};
use dfs_core::attr::{Attr, Kind, NewMode, SetAttr};
use dfs_core::xattr::CAPABILITY;
use dfs_core::{Code, Ino};

fn alice() -> Credentials {
    user(1000, 100, &[])
}

fn bob() -> Credentials {
    user(1001, 101, &[])
}

fn acl(lines: &[(Tag, u32)]) -> Acl {
    Acl::new(lines.iter().map(|&(tag, perm)| Entry { tag, perm }).collect()).unwrap()
}

/// Bob gets `perm`, as far as `mask` lets him; nobody else but the owner gets anything.
fn for_bob(perm: u32, mask: u32) -> Acl {
    use Tag::*;
    acl(&[(UserObj, 7), (User(1001), perm), (GroupObj, 0), (Mask, mask), (Other, 0)])
}

fn set(ino: Ino, name: &[u8], value: Vec<u8>) -> SetXattr {
    SetXattr { ino, name: name.to_vec(), value, mode: XattrMode::Any }
}

fn file(w: &mut World, dir: Ino, mode: u32, umask: u32) -> Attr {
    let mode = NewMode { mode, umask };
    let op = Create { dir, name: name("f"), mode, exclusive: true, leased: false };
    w.run(&alice(), &op).unwrap().object.unwrap()
}

fn stored(w: &World, ino: Ino, name: &[u8]) -> Option<Acl> {
    let (_, all) = resolve::xattrs(&w.store, ino).unwrap();
    let found = all.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| Acl::decode(value).unwrap())
}

fn can(w: &World, who: &Credentials, ino: Ino, mask: u32) -> bool {
    let cx = Context { who, cookie_key: &super::harness::KEY };
    resolve::access(&cx, &w.store, ino, mask).is_ok()
}

#[test]
fn acl_decides_who_gets_in_and_moves_the_mode() {
    let mut w = World::new();
    let f = file(&mut w, Ino::ROOT, 0o2755, 0).ino;
    let sets = |perm, mask| set(f, ACL_ACCESS, for_bob(perm, mask).encode());
    let after = w.run(&alice(), &sets(6, 7)).unwrap().object.unwrap();
    assert_eq!((after.mode, after.has_xattrs), (0o2770, true));
    assert!(can(&w, &bob(), f, READ | WRITE) && !can(&w, &bob(), f, EXEC));
    assert!(!can(&w, &user(1002, 100, &[]), f, READ), "the owning group has nothing");
    w.run(&alice(), &sets(6, 4)).unwrap();
    assert!(can(&w, &bob(), f, READ) && !can(&w, &bob(), f, WRITE), "masked");
    assert!(can(&w, &alice(), f, READ | WRITE | EXEC), "the owner is not masked");
    let chmod = SetAttr { mode: Some(0o2620), ..SetAttr::default() };
    w.must(&SetAttributes { ino: f, set: chmod, opened: false });
    assert_eq!(stored(&w, f, ACL_ACCESS).unwrap().mode(), 0o620);
    assert!(can(&w, &bob(), f, WRITE) && !can(&w, &bob(), f, READ), "chmod moves the mask");
    // The owner left the group: as with chmod, the bit goes.
    let outside = user(1000, 102, &[]);
    assert_eq!(w.run(&outside, &sets(6, 7)).unwrap().object.unwrap().mode, 0o770);
}

#[test]
fn acl_that_is_only_a_mode_is_not_kept() {
    let mut w = World::new();
    let f = file(&mut w, Ino::ROOT, 0o644, 0).ino;
    w.must(&set(f, ACL_ACCESS, for_bob(6, 7).encode()));
    let plain = acl(&[(Tag::UserObj, 6), (Tag::GroupObj, 0), (Tag::Other, 4)]);
    let after = w.must(&set(f, ACL_ACCESS, plain.encode()));
    assert_eq!((after.mode, after.has_xattrs), (0o604, false));
    let remove = RemoveXattr { ino: f, name: ACL_ACCESS.to_vec() };
    w.run(&alice(), &remove).expect("a list that is not there is removed well");
    assert_eq!(w.run(&bob(), &remove).unwrap_err(), Code::NotPermitted);
    let default = RemoveXattr { ino: f, name: ACL_DEFAULT.to_vec() };
    w.run(&bob(), &default).expect("files have no default list");
}

#[test]
fn acl_of_a_directory_replaces_the_umask_for_what_is_made_in_it() {
    let mut w = World::new();
    let dir =
        w.must(&Mkdir { dir: Ino::ROOT, name: name("d"), mode: 0o777.into(), made: None }).ino;
    let default = for_bob(6, 7);
    w.must(&set(dir, ACL_DEFAULT, default.encode()));
    let f = file(&mut w, dir, 0o664, 0o077);
    assert_eq!(f.mode, 0o660);
    assert_eq!(stored(&w, f.ino, ACL_ACCESS), Some(for_bob(6, 6).inherited(0o664)));
    assert_eq!(stored(&w, f.ino, ACL_DEFAULT), None);
    assert!(can(&w, &bob(), f.ino, READ | WRITE));
    let mode = NewMode { mode: 0o755, umask: 0o077 };
    let sub = w.must(&Mkdir { dir, name: name("sub"), mode, made: None });
    assert_eq!(sub.mode, 0o750);
    assert_eq!(stored(&w, sub.ino, ACL_DEFAULT), Some(default));
    let link = w.must(&Symlink { dir, name: name("l"), target: b"f".to_vec() });
    assert_eq!((link.mode, link.has_xattrs), (0o777, false));
    let plain = file(&mut w, Ino::ROOT, 0o664, 0o077);
    assert_eq!(plain.mode, 0o600, "without default list the umask counts");
}

#[test]
fn acl_in_a_form_of_its_own_is_refused() {
    let mut w = World::new();
    let f = file(&mut w, Ino::ROOT, 0o644, 0).ino;
    let good = for_bob(6, 7).encode();
    for (value, wanted) in [
        (b"text".to_vec(), Code::NotSupported),
        (Vec::new(), Code::Invalid),
        (good[..good.len() - 8].to_vec(), Code::Invalid),
        (good[..good.len() - 1].to_vec(), Code::Invalid),
    ] {
        assert_eq!(w.run(&alice(), &set(f, ACL_ACCESS, value)).unwrap_err(), wanted);
    }
}

#[test]
fn regression_capabilities_of_a_program_fall_with_its_content_and_owner() {
    let capable = |w: &World, ino| {
        let (attr, all) = resolve::xattrs(&w.store, ino).unwrap();
        assert_eq!(attr.has_xattrs, !all.is_empty());
        all.iter().any(|(name, _)| name == CAPABILITY)
    };
    let mut w = World::new();
    let f = file(&mut w, Ino::ROOT, 0o755, 0).ino;
    let size = |size| Truncate { ino: f, size, set: SetAttr::default(), opened: false };
    let change = |set| SetAttributes { ino: f, set, opened: false };
    let none = SetAttr::default;
    let cases: [(&dyn Op, bool); 4] = [
        (&size(5), false),
        (&change(SetAttr { gid: Some(7), ..none() }), false),
        (&change(SetAttr { mode: Some(0o700), ..none() }), true),
        (&RemoveXattr { ino: f, name: CAPABILITY.to_vec() }, false),
    ];
    for (op, stays) in cases {
        w.must(&set(f, CAPABILITY, b"value".to_vec()));
        w.must(op);
        assert_eq!(capable(&w, f), stays, "{}", op.verb());
    }
    // The kernel removes them in the name of whoever writes.
    w.must(&set(f, CAPABILITY, b"value".to_vec()));
    let remove = RemoveXattr { ino: f, name: CAPABILITY.to_vec() };
    assert_eq!(w.run(&bob(), &remove).unwrap_err(), Code::NotPermitted);
    w.run(&alice(), &remove).unwrap();
    assert_eq!(w.attr(f).kind, Kind::File);
}
