//! One line per refusal: which call fails how.

use super::harness::{World, name, user};
use crate::nameserver::op::*;
use dfs_core::access::Credentials;
use dfs_core::attr::{Kind, SetAttr};
use dfs_core::limits::LINK_MAX;
use dfs_core::{Code, Ino};

const ROOT: Ino = Ino::ROOT;

fn alice() -> Credentials {
    user(1000, 100, &[])
}

fn create(dir: Ino, text: &str) -> Create {
    Create { dir, name: name(text), mode: 0o644.into(), exclusive: true, leased: false }
}

fn mkdir(dir: Ino, text: &str) -> Mkdir {
    Mkdir { dir, name: name(text), mode: 0o777.into(), made: None }
}

fn unlink(dir: Ino, text: &str) -> Unlink {
    Unlink { dir, name: name(text), at: None }
}

fn rmdir(dir: Ino, text: &str) -> Rmdir {
    Rmdir { dir, name: name(text), at: None }
}

fn rename(from: (Ino, &str), to: (Ino, &str)) -> Rename {
    Rename {
        from_dir: from.0,
        from_name: name(from.1),
        to_dir: to.0,
        to_name: name(to.1),
        noreplace: false,
        exchange: false,
        whiteout: false,
        at: None,
    }
}

/// `d/` with `d/sub/leaf`, `empty/`, `f`, `shut/` (mode 0, root's) with a file, `sticky/` with a
/// file of root.
struct Tree {
    world: World,
    d: Ino,
    sub: Ino,
    f: Ino,
    shut: Ino,
    sticky: Ino,
}

fn tree() -> Tree {
    let mut world = World::new();
    let d = world.must(&mkdir(ROOT, "d")).ino;
    let sub = world.must(&mkdir(d, "sub")).ino;
    world.must(&create(sub, "leaf"));
    world.must(&mkdir(ROOT, "empty"));
    let f = world.must(&create(ROOT, "f")).ino;
    let shut = world.must(&Mkdir { mode: 0.into(), ..mkdir(ROOT, "shut") }).ino;
    world.must(&create(shut, "x"));
    let sticky = world.must(&Mkdir { mode: 0o1777.into(), ..mkdir(ROOT, "sticky") }).ino;
    world.must(&create(sticky, "x"));
    Tree { world, d, sub, f, shut, sticky }
}

#[track_caller]
fn refused(world: &mut World, who: &Credentials, op: &dyn Op, code: Code) {
    assert_eq!(world.run(who, op).unwrap_err(), code, "{}", op.verb());
    assert!(world.items.is_empty(), "a refusal tells nobody to forget");
}

#[test]
fn creating_fails_as_on_linux() {
    let Tree { mut world, f, shut, .. } = tree();
    let (w, root) = (&mut world, &Credentials::root());
    refused(w, root, &create(ROOT, "f"), Code::Exists);
    refused(w, root, &mkdir(ROOT, "f"), Code::Exists);
    refused(w, root, &create(f, "x"), Code::NotDirectory);
    refused(w, root, &create(Ino(999), "x"), Code::Stale);
    refused(w, &alice(), &create(shut, "y"), Code::AccessDenied);
    refused(w, &alice(), &Create { exclusive: false, ..create(shut, "x") }, Code::AccessDenied);
    let link = |target: Vec<u8>| Symlink { dir: ROOT, name: name("l"), target };
    refused(w, root, &link(Vec::new()), Code::NotFound);
    refused(w, root, &link(vec![b'x'; 4096]), Code::NameTooLong);
    refused(w, root, &link(b"a\0b".to_vec()), Code::Invalid);
    let node = |kind| Mknod { dir: ROOT, name: name("n"), mode: 0o600.into(), kind, rdev: 9 };
    refused(w, root, &node(Kind::Directory), Code::NotPermitted);
    refused(w, root, &node(Kind::Symlink), Code::Invalid);
    refused(w, &alice(), &node(Kind::CharDevice), Code::NotPermitted);
    assert_eq!(w.must(&node(Kind::CharDevice)).rdev, 9);
}

#[test]
fn nothing_can_be_made_in_a_removed_directory() {
    let Tree { mut world, f, .. } = tree();
    let gone = world.must(&rmdir(ROOT, "empty"));
    assert_eq!(gone.nlink, 0);
    let (w, root) = (&mut world, &Credentials::root());
    refused(w, root, &create(gone.ino, "x"), Code::NotFound);
    refused(w, root, &mkdir(gone.ino, "x"), Code::NotFound);
    refused(w, root, &Link { ino: f, dir: gone.ino, name: name("x"), at: None }, Code::NotFound);
    refused(w, root, &rename((ROOT, "f"), (gone.ino, "x")), Code::NotFound);
    refused(w, root, &unlink(gone.ino, "x"), Code::NotFound);
    w.must(&SetAttributes {
        ino: gone.ino,
        set: SetAttr { mode: Some(0), ..SetAttr::default() },
        opened: false,
    });
}

#[test]
fn linking_fails_as_on_linux() {
    let Tree { mut world, d, f, shut, .. } = tree();
    let (w, root) = (&mut world, &Credentials::root());
    let link = |ino, dir, text| Link { ino, dir, name: name(text), at: None };
    refused(w, root, &link(d, ROOT, "l"), Code::NotPermitted);
    refused(w, root, &link(f, ROOT, "d"), Code::Exists);
    refused(w, &alice(), &link(f, shut, "l"), Code::AccessDenied);
    let mut row = crate::nameserver::resolve::inode(&w.store, f).unwrap();
    row.attr.nlink = LINK_MAX;
    w.edit(row);
    refused(w, root, &link(f, ROOT, "l"), Code::TooManyLinks);
    let open = w.must(&create(ROOT, "open")).ino;
    w.must(&unlink(ROOT, "open"));
    refused(w, root, &link(open, ROOT, "again"), Code::NotFound);
    let symlink = Symlink { dir: ROOT, name: name("s"), target: b"nowhere".to_vec() };
    let symlink = w.must(&symlink).ino;
    assert_eq!(w.must(&link(symlink, ROOT, "s2")).nlink, 2);
}

#[test]
fn removing_fails_as_on_linux() {
    let Tree { mut world, shut, sticky, .. } = tree();
    let (w, root) = (&mut world, &Credentials::root());
    refused(w, root, &unlink(ROOT, "nothing"), Code::NotFound);
    refused(w, root, &unlink(ROOT, "d"), Code::IsDirectory);
    refused(w, root, &rmdir(ROOT, "f"), Code::NotDirectory);
    refused(w, root, &rmdir(ROOT, "d"), Code::NotEmpty);
    refused(w, &alice(), &unlink(shut, "x"), Code::AccessDenied);
    refused(w, &alice(), &unlink(sticky, "x"), Code::NotPermitted);
    refused(w, root, &FreeOrphan { ino: shut }, Code::Busy);
}

#[test]
fn renaming_fails_as_on_linux() {
    let Tree { mut world, d, sub, shut, sticky, .. } = tree();
    let (w, root) = (&mut world, &Credentials::root());
    let no_replace = |op: Rename| Rename { noreplace: true, ..op };
    let swap = |op: Rename| Rename { exchange: true, ..op };
    let white = |op: Rename| Rename { whiteout: true, ..op };
    refused(w, root, &rename((ROOT, "nothing"), (ROOT, "x")), Code::NotFound);
    refused(w, root, &rename((ROOT, "f"), (ROOT, "d")), Code::IsDirectory);
    refused(w, root, &rename((ROOT, "d"), (ROOT, "f")), Code::NotDirectory);
    refused(w, root, &rename((ROOT, "empty"), (ROOT, "d")), Code::NotEmpty);
    refused(w, root, &rename((ROOT, "d"), (sub, "x")), Code::Invalid);
    refused(w, root, &rename((ROOT, "d"), (d, "x")), Code::Invalid);
    refused(w, root, &rename((d, "sub"), (ROOT, "d")), Code::NotEmpty);
    refused(w, root, &swap(rename((d, "sub"), (ROOT, "d"))), Code::Invalid);
    refused(w, root, &swap(rename((ROOT, "f"), (ROOT, "x"))), Code::NotFound);
    refused(w, root, &no_replace(rename((ROOT, "f"), (ROOT, "d"))), Code::Exists);
    refused(w, root, &no_replace(swap(rename((ROOT, "f"), (ROOT, "d")))), Code::Invalid);
    refused(w, root, &white(swap(rename((ROOT, "f"), (ROOT, "d")))), Code::Invalid);
    refused(w, &alice(), &rename((shut, "x"), (ROOT, "x")), Code::AccessDenied);
    refused(w, &alice(), &rename((ROOT, "f"), (shut, "x")), Code::AccessDenied);
    refused(w, &alice(), &rename((sticky, "x"), (ROOT, "x")), Code::NotPermitted);
    w.run(&alice(), &create(ROOT, "mine")).unwrap();
    refused(w, &alice(), &rename((ROOT, "mine"), (sticky, "x")), Code::NotPermitted);
    // Moving a directory elsewhere rewrites its "..", which takes write permission on it.
    let locked = Mkdir { mode: 0o555.into(), ..mkdir(ROOT, "locked") };
    w.run(&alice(), &locked).unwrap();
    refused(w, &alice(), &rename((ROOT, "locked"), (d, "x")), Code::AccessDenied);
    w.run(&alice(), &rename((ROOT, "locked"), (ROOT, "renamed"))).unwrap();
}

#[test]
fn sizing_fails_as_on_linux() {
    let Tree { mut world, d, f, .. } = tree();
    let (w, root) = (&mut world, &Credentials::root());
    let fifo = Mknod { dir: ROOT, name: name("p"), mode: 0o666.into(), kind: Kind::Fifo, rdev: 0 };
    let fifo = w.must(&fifo).ino;
    let truncate = |ino, size, opened| Truncate { ino, size, set: SetAttr::default(), opened };
    refused(w, root, &truncate(d, 0, false), Code::IsDirectory);
    refused(w, root, &truncate(fifo, 0, false), Code::Invalid);
    refused(w, root, &truncate(f, 1 << 63, false), Code::FileTooBig);
    refused(w, &alice(), &truncate(f, 1, false), Code::AccessDenied);
    assert_eq!(w.run(&alice(), &truncate(f, 1, true)).unwrap().object.unwrap().size, 1);
    let size = SetAttr { size: Some(1), ..SetAttr::default() };
    refused(w, root, &SetAttributes { ino: f, set: size, opened: false }, Code::Invalid);
}
