//! What others are told to forget, and which keys are held.

use super::harness::{KEY, World, name};
use crate::nameserver::op::*;
use dfs_core::Ino;
use dfs_core::access::Credentials;
use dfs_core::attr::Kind;
use dfs_core::hub::{Hold, IntentKey, Item};

const ROOT: Ino = Ino::ROOT;

fn names(dir: Ino, texts: &[&str]) -> Item {
    Item::DirNames { dir, names: texts.iter().map(|text| name(text)).collect() }
}

fn mkdir(w: &mut World, dir: Ino, text: &str) -> Ino {
    w.must(&Mkdir { dir, name: name(text), mode: 0o755.into(), made: None }).ino
}

fn create(w: &mut World, dir: Ino, text: &str) -> Ino {
    w.must(&Create { dir, name: name(text), mode: 0o644.into(), exclusive: true, leased: false })
        .ino
}

fn rename(from: (Ino, &str), to: (Ino, &str), exchange: bool) -> Rename {
    let (from_name, to_name) = (name(from.1), name(to.1));
    Rename {
        from_dir: from.0,
        from_name,
        to_dir: to.0,
        to_name,
        noreplace: false,
        exchange,
        whiteout: false,
        at: None,
    }
}

fn intents(w: &World, op: &dyn Op) -> Vec<(IntentKey, Hold)> {
    op.intents(&Context { who: &Credentials::root(), cookie_key: &KEY }, &w.store).unwrap()
}

#[test]
fn creating_tells_of_the_name_and_its_directory() {
    let mut w = World::new();
    create(&mut w, ROOT, "f");
    assert_eq!(w.items, [names(ROOT, &["f"]), Item::Attr { ino: ROOT }]);
    let op = Create { dir: ROOT, name: name("g"), mode: 0.into(), exclusive: true, leased: false };
    let wanted = [
        (IntentKey::Dir(ROOT), Hold::Shared),
        (IntentKey::Name(ROOT, name("g")), Hold::Exclusive),
        (IntentKey::Attr(ROOT), Hold::Shared),
    ];
    assert_eq!(intents(&w, &op), wanted);
}

#[test]
fn opening_what_exists_tells_nobody() {
    let mut w = World::new();
    let f = create(&mut w, ROOT, "f");
    let op = Create { dir: ROOT, name: name("f"), mode: 0.into(), exclusive: false, leased: false };
    let outcome = w.run(&Credentials::root(), &op).unwrap();
    assert_eq!((outcome.object.unwrap().ino, outcome.created), (f, false));
    assert!(w.items.is_empty());
}

#[test]
fn unlinking_tells_whether_it_was_the_last_name() {
    let mut w = World::new();
    let f = create(&mut w, ROOT, "f");
    w.must(&Link { ino: f, dir: ROOT, name: name("g"), at: None });
    assert_eq!(w.items, [names(ROOT, &["g"]), Item::Attr { ino: ROOT }, Item::Attr { ino: f }]);
    w.must(&Unlink { dir: ROOT, name: name("f"), at: None });
    assert_eq!(w.items.last(), Some(&Item::Attr { ino: f }));
    let op = Unlink { dir: ROOT, name: name("g"), at: None };
    assert!(intents(&w, &op).contains(&(IntentKey::Attr(f), Hold::Exclusive)));
    assert_eq!(w.must(&op).nlink, 0);
    assert_eq!(w.items.last(), Some(&Item::Nlink0 { ino: f }));
}

#[test]
fn removing_a_directory_holds_it_alone() {
    let mut w = World::new();
    let d = mkdir(&mut w, ROOT, "d");
    let op = Rmdir { dir: ROOT, name: name("d"), at: None };
    let held = intents(&w, &op);
    assert!(held.contains(&(IntentKey::Dir(d), Hold::Exclusive)));
    assert!(held.contains(&(IntentKey::Attr(d), Hold::Exclusive)));
    w.must(&op);
    assert_eq!(w.items, [names(ROOT, &["d"]), Item::Attr { ino: ROOT }, Item::Nlink0 { ino: d }]);
}

#[test]
fn renaming_tells_of_both_names_and_every_inode() {
    let mut w = World::new();
    let (d, f) = (mkdir(&mut w, ROOT, "d"), create(&mut w, ROOT, "f"));
    let version = w.attr(ROOT).dir_ver;
    w.must(&rename((ROOT, "f"), (ROOT, "g"), false));
    assert_eq!(
        w.items,
        [names(ROOT, &["f", "g"]), Item::Attr { ino: ROOT }, Item::Attr { ino: f }]
    );
    assert_eq!(w.attr(ROOT).dir_ver, version + 1, "one operation, one step");
    let victim = create(&mut w, d, "x");
    w.must(&rename((ROOT, "g"), (d, "x"), false));
    let wanted = [
        names(ROOT, &["g"]),
        Item::Attr { ino: ROOT },
        names(d, &["x"]),
        Item::Attr { ino: d },
        Item::Attr { ino: f },
        Item::Nlink0 { ino: victim },
    ];
    assert_eq!(w.items, wanted);
    let other = create(&mut w, ROOT, "y");
    w.must(&rename((ROOT, "y"), (d, "x"), true));
    assert_eq!(w.items[4..], [Item::Attr { ino: other }, Item::Attr { ino: f }]);
}

#[test]
fn only_a_directory_that_changes_parents_holds_the_tree() {
    let mut w = World::new();
    let (a, b) = (mkdir(&mut w, ROOT, "a"), mkdir(&mut w, ROOT, "b"));
    create(&mut w, ROOT, "f");
    let target = mkdir(&mut w, b, "a");
    let tree = (IntentKey::Dir(Ino(0)), Hold::Exclusive);
    let holds = |w: &World, op: Rename| intents(w, &op).contains(&tree);
    assert!(holds(&w, rename((ROOT, "a"), (b, "a"), false)));
    assert!(holds(&w, rename((ROOT, "f"), (b, "a"), true)), "the directory moves back");
    assert!(!holds(&w, rename((ROOT, "f"), (b, "g"), false)));
    assert!(!holds(&w, rename((ROOT, "a"), (ROOT, "c"), false)));
    let replaces = intents(&w, &rename((ROOT, "a"), (b, "a"), false));
    assert!(replaces.contains(&(IntentKey::Dir(target), Hold::Exclusive)));
    w.must(&rename((ROOT, "a"), (b, "a"), false));
    assert_eq!((w.attr(a).parent, w.attr(ROOT).nlink, w.attr(b).nlink), (b, 3, 3));
    w.check_tree();
}

#[test]
fn replacing_a_name_keeps_its_place_in_the_listing() {
    let mut w = World::new();
    create(&mut w, ROOT, "old");
    create(&mut w, ROOT, "new");
    let cookie = |w: &World| {
        let found = crate::nameserver::resolve::entry(&KEY, &w.store, ROOT, &name("old"));
        found.unwrap().unwrap().cookie
    };
    let before = cookie(&w);
    w.must(&rename((ROOT, "new"), (ROOT, "old"), false));
    assert_eq!(cookie(&w), before);
}

#[test]
fn a_whiteout_takes_the_old_name() {
    let mut w = World::new();
    let d = mkdir(&mut w, ROOT, "d");
    let found = |w: &World, dir, text| {
        crate::nameserver::resolve::entry(&KEY, &w.store, dir, &name(text)).unwrap().unwrap().ino
    };
    let (sub, f) = (mkdir(&mut w, ROOT, "sub"), create(&mut w, ROOT, "f"));
    for (from, dir, to, moved) in [("sub", d, "sub", sub), ("f", ROOT, "g", f)] {
        w.must(&Rename { whiteout: true, ..rename((ROOT, from), (dir, to), false) });
        assert_eq!(found(&w, dir, to), moved);
        let white = w.attr(found(&w, ROOT, from));
        assert_eq!((white.kind, white.mode, white.rdev), (Kind::CharDevice, 0, 0));
        w.check_tree();
    }
    assert_eq!((w.attr(ROOT).nlink, w.attr(ROOT).size), (3, 4), "d, sub, f, g");
}
