//! What single privileges give, and what their lack takes.

use super::harness::{World, name, user};
use crate::nameserver::op::*;
use dfs_core::access::{Credentials, Privilege, Privileges, Realm};
use dfs_core::attr::{Kind, SetAttr, SetTime};
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::xattr::CAPABILITY;
use dfs_core::{Code, Ino};

/// User 1002 with one privilege alone.
fn with(privilege: Privilege) -> Credentials {
    let privileges = Privileges::of_capabilities(1 << privilege as u64);
    Credentials { privileges, ..user(1002, 102, &[]) }
}

/// The superuser without one privilege.
fn without(privilege: Privilege) -> Credentials {
    let root = Credentials::root();
    Credentials { privileges: root.privileges.clone().without(privilege), ..root }
}

/// A file and a closed directory of user 1000 and group 100.
fn world() -> (World, Ino, Ino) {
    let mut w = World::new();
    let alice = user(1000, 100, &[]);
    let make = Create {
        dir: Ino::ROOT,
        name: name("f"),
        mode: 0o640.into(),
        exclusive: true,
        leased: false,
    };
    let file = w.run(&alice, &make).unwrap().object.unwrap().ino;
    let make = Mkdir { dir: Ino::ROOT, name: name("d"), mode: 0o700.into(), made: None };
    let dir = w.run(&alice, &make).unwrap().object.unwrap().ino;
    (w, file, dir)
}

#[test]
fn privileges_are_what_they_are_named_for() {
    let change = |ino, set| SetAttributes { ino, set, opened: false };
    let time = Some(SetTime::To(Timestamp { seconds: 1, nanos: 0 }));
    let set_xattr = |ino, text: &[u8]| SetXattr {
        ino,
        name: text.to_vec(),
        value: b"v".to_vec(),
        mode: XattrMode::Any,
    };
    let device = |dir| Mknod {
        dir,
        name: name("dev"),
        mode: 0o600.into(),
        kind: Kind::CharDevice,
        rdev: 0x103,
    };
    let ops = |f, d| -> Vec<(Privilege, Box<dyn Op>)> {
        // As the driver sends it: the bits go with a new owner.
        let chown = SetAttr { uid: Some(7), drop_suid: true, ..SetAttr::default() };
        let chmod = SetAttr { mode: Some(0o600), ..SetAttr::default() };
        let touch = SetAttr { mtime: time, atime: time, ..SetAttr::default() };
        let make = Mkdir { dir: d, name: name("x"), mode: 0o755.into(), made: None };
        vec![
            (Privilege::Chown, Box::new(change(f, chown))),
            (Privilege::Owner, Box::new(change(f, chmod))),
            (Privilege::Owner, Box::new(change(f, touch))),
            (Privilege::Override, Box::new(make)),
            (Privilege::Override, Box::new(set_xattr(f, b"user.x"))),
            (Privilege::Admin, Box::new(set_xattr(f, b"trusted.x"))),
            (Privilege::Admin, Box::new(set_xattr(f, b"security.x"))),
            (Privilege::SetCapability, Box::new(set_xattr(f, CAPABILITY))),
        ]
    };
    let count = ops(Ino(1), Ino(1)).len();
    for number in 0..count {
        let (mut w, f, d) = world();
        let (privilege, op) = ops(f, d).swap_remove(number);
        assert!(w.run(&user(1002, 102, &[]), &*op).is_err(), "nobody in particular: {}", op.verb());
        assert!(w.run(&without(privilege), &*op).is_err(), "no {privilege:?}: {}", op.verb());
        let got = w.run(&with(privilege), &*op).err();
        assert_eq!(got, None, "{privilege:?} alone: {}", op.verb());
    }
    let (mut w, _, d) = world();
    let refused = w.run(&without(Privilege::MakeDevice), &device(Ino::ROOT));
    assert_eq!(refused.unwrap_err(), Code::NotPermitted);
    let refused = w.run(&with(Privilege::MakeDevice), &device(d));
    assert_eq!(refused.unwrap_err(), Code::AccessDenied, "the directory is closed to it");
}

#[test]
fn privileges_of_set_id_bits_keep_them() {
    let set = |mode| SetAttr { mode: Some(mode), ..SetAttr::default() };
    let change = |ino, set| SetAttributes { ino, set, opened: true };
    let dropping = SetAttr { drop_suid: true, ..SetAttr::default() };
    for (who, kept) in [(Credentials::root(), 0o2640), (without(Privilege::SetId), 0o640)] {
        let (mut w, f, _) = world();
        assert_eq!(w.run(&who, &change(f, set(0o2640))).unwrap().object.unwrap().mode, kept);
        w.run(&Credentials::root(), &change(f, set(0o2640))).unwrap();
        let mode = w.run(&who, &change(f, dropping)).unwrap().object.unwrap().mode;
        assert_eq!(mode, kept, "set-group-id without group-execute");
    }
}

#[test]
fn privileges_to_give_away_take_no_bits() {
    let give = SetAttr { uid: Some(7), drop_suid: true, ..SetAttr::default() };
    let (giver, outside) = (with(Privilege::Chown), Code::NotPermitted);
    let member = Credentials { gid: 100, ..giver.clone() };
    for (who, mode, wanted) in [
        (&giver, 0o640, Ok(0o640)),
        (&giver, 0o4640, Err(outside)),
        (&giver, 0o2640, Err(outside)),
        (&giver, 0o2650, Err(outside)),
        (&member, 0o2650, Err(outside)),
        (&member, 0o2640, Ok(0o2640)),
        (&Credentials::root(), 0o6650, Ok(0o650)),
    ] {
        let (mut w, ino, _) = world();
        let chmod = SetAttr { mode: Some(mode), ..SetAttr::default() };
        w.run(&Credentials::root(), &SetAttributes { ino, set: chmod, opened: false }).unwrap();
        let got = w.run(who, &SetAttributes { ino, set: give, opened: false });
        assert_eq!(got.map(|done| done.object.unwrap().mode), wanted, "{mode:o} {}", who.gid);
    }
}

#[test]
fn privileges_of_a_namespace_reach_what_it_knows() {
    let realm = Realm { uids: vec![Range::new(1000, 1003)], gids: vec![Range::new(100, 103)] };
    let inside = |realm| Credentials {
        privileges: Privileges::of_user(0).within(realm),
        ..user(1002, 102, &[])
    };
    let elsewhere = Realm { uids: vec![Range::new(5000, 6000)], ..realm.clone() };
    let (mut w, f, _) = world();
    let chmod = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    let op = SetAttributes { ino: f, set: chmod, opened: false };
    assert_eq!(w.run(&inside(elsewhere), &op).unwrap_err(), Code::NotPermitted);
    w.run(&inside(realm.clone()), &op).unwrap();
    let value = b"v".to_vec();
    let op = SetXattr { ino: f, name: b"trusted.x".to_vec(), value, mode: XattrMode::Any };
    assert_eq!(w.run(&inside(realm), &op).unwrap_err(), Code::NotPermitted);
}
