//! What capabilities give and what their lack takes, on a local disk and on a mount.

use super::calls::{ALICE, BOB, Place, STAFF, same_as_local, told};
use super::{LIMIT, open_to_all};
use dfs_core::access::{Acl, Entry, Tag};
use dfs_tests::person::Person;
use dfs_tests::{sys, world};
use rustix::fs::{CWD, FileType, Mode};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;
use std::process::{Command, Stdio};

/// First of the users and groups of a namespace.
const INSIDE: u32 = 100_000;

/// The capabilities that concern files (capabilities(7)).
const CAPABILITIES: [(&str, u64); 8] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("DAC_READ_SEARCH", 2),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("SYS_ADMIN", 21),
    ("MKNOD", 27),
    ("SETFCAP", 31),
];

type Call = fn(&Path) -> std::io::Result<String>;

/// Calls in a folder that [`prepare`] made.
fn calls() -> Vec<(&'static str, Call)> {
    fn chmod(path: &Path, mode: u32) -> std::io::Result<()> {
        std::fs::set_permissions(path, Permissions::from_mode(mode))
    }
    fn done(result: std::io::Result<()>) -> std::io::Result<String> {
        result.map(|()| "done".to_owned())
    }
    vec![
        ("read", |d| std::fs::read_to_string(d.join("secret"))),
        ("write", |d| done(OpenOptions::new().append(true).open(d.join("secret")).map(drop))),
        ("search", |d| std::fs::read_to_string(d.join("closed/inner"))),
        ("list", |d| Ok(sys::names(&d.join("closed"))?.join(" "))),
        ("make", |d| done(File::create(d.join("closed/new")).map(drop))),
        ("chmod", |d| done(chmod(&d.join("foreign"), 0o666))),
        ("chmod 2755", |d| done(chmod(&d.join("own"), 0o2755))),
        ("touch", |d| done(File::open(d.join("foreign"))?.set_modified(std::time::UNIX_EPOCH))),
        ("chown", |d| done(lchown(d.join("foreign"), Some(BOB), None))),
        ("give away", |d| done(lchown(d.join("own"), Some(ALICE), None))),
        ("chgrp", |d| done(lchown(d.join("own"), None, Some(6001)))),
        ("unlink", |d| done(std::fs::remove_file(d.join("sticky/foreign")))),
        ("rename", |d| done(std::fs::rename(d.join("sticky/other"), d.join("sticky/moved")))),
        ("device", |d| {
            let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o600));
            let device = rustix::fs::makedev(1, 3);
            done(Ok(rustix::fs::mknodat(CWD, d.join("device"), kind, mode, device)?))
        }),
        ("make set-gid", |d| {
            let path = d.join("shared/program");
            OpenOptions::new().write(true).create_new(true).mode(0o2775).open(&path)?;
            Ok(format!("{:o}", std::fs::metadata(path)?.mode()))
        }),
        ("cut", |d| {
            done(OpenOptions::new().write(true).truncate(true).open(d.join("p1")).map(drop))
        }),
        ("write a program", |d| {
            done(OpenOptions::new().write(true).open(d.join("p2"))?.write_all(b"x"))
        }),
        ("write a program of no group", |d| {
            done(OpenOptions::new().write(true).open(d.join("p5"))?.write_all(b"x"))
        }),
        ("cut a program of no group", |d| {
            done(OpenOptions::new().write(true).truncate(true).open(d.join("p6")).map(drop))
        }),
        ("give a program away", |d| done(lchown(d.join("p7"), Some(BOB), None))),
        ("list set", |d| {
            let lines = [(Tag::UserObj, 7), (Tag::User(7), 7), (Tag::GroupObj, 7), (Tag::Mask, 7)];
            let lines = lines.into_iter().chain([(Tag::Other, 7)]);
            let acl = Acl::new(lines.map(|(tag, perm)| Entry { tag, perm }).collect()).unwrap();
            done(sys::set_xattr(&d.join("p4"), "system.posix_acl_access", &acl.encode()))
        }),
        ("trusted set", |d| done(sys::set_xattr(&d.join("foreign"), "trusted.a", b"new"))),
        ("trusted get", |d| Ok(format!("{:?}", sys::get_xattr(&d.join("secret"), "trusted.a")?))),
        ("names", |d| Ok(format!("{:?}", sys::list_xattrs(&d.join("secret"))?))),
        ("security", |d| done(sys::set_xattr(&d.join("own"), "security.a", b"x"))),
        ("capability", |d| {
            let value = [0x0200_0001_u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
            done(sys::set_xattr(&d.join("foreign"), "security.capability", &value))
        }),
        ("user in sticky", |d| done(sys::set_xattr(&d.join("sticky"), "user.a", b"x"))),
    ]
}

/// Files of which `uid` owns some.
fn prepare(d: &Path, uid: u32) {
    std::fs::create_dir(d).unwrap();
    std::fs::set_permissions(d, Permissions::from_mode(0o777)).unwrap();
    for (name, owner, group, mode) in [
        ("closed", ALICE, STAFF, 0o700),
        ("sticky", ALICE, STAFF, 0o1777),
        ("shared", ALICE, STAFF, 0o2777),
    ] {
        std::fs::create_dir(d.join(name)).unwrap();
        lchown(d.join(name), Some(owner), Some(group)).unwrap();
        std::fs::set_permissions(d.join(name), Permissions::from_mode(mode)).unwrap();
    }
    for (name, owner, group, mode) in [
        ("secret", ALICE, STAFF, 0o600),
        ("closed/inner", ALICE, STAFF, 0o644),
        ("foreign", ALICE, STAFF, 0o644),
        ("own", uid, STAFF, 0o644),
        ("sticky/foreign", ALICE, STAFF, 0o644),
        ("sticky/other", ALICE, STAFF, 0o644),
        ("p1", ALICE, STAFF, 0o6777),
        ("p2", ALICE, STAFF, 0o6777),
        ("p4", uid, STAFF, 0o2777),
        ("p5", ALICE, STAFF, 0o2706),
        ("p6", ALICE, STAFF, 0o2706),
        ("p7", ALICE, STAFF, 0o4755),
    ] {
        std::fs::write(d.join(name), name).unwrap();
        lchown(d.join(name), Some(owner), Some(group)).unwrap();
        std::fs::set_permissions(d.join(name), Permissions::from_mode(mode)).unwrap();
    }
    sys::set_xattr(&d.join("secret"), "trusted.a", b"value").unwrap();
}

/// Modes and owners below a folder.
fn seen(d: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["", "closed", "sticky", "shared"] {
        let mut names = sys::names(&d.join(folder)).unwrap();
        names.sort();
        for name in names {
            let meta = std::fs::symlink_metadata(d.join(folder).join(&name)).unwrap();
            all.push(format!("{folder}/{name} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid()));
        }
    }
    all
}

#[test]
fn permissions_are_those_of_capabilities_not_of_the_user() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place: &Place| {
            let all: u64 = CAPABILITIES.iter().map(|(_, number)| 1 << number).sum();
            let mut notes = Vec::new();
            let mut sets = vec![("none", 0), ("all", all)];
            sets.extend(CAPABILITIES.map(|(name, number)| (name, 1 << number)));
            let without = |(name, number): (&'static str, u64)| (name, all & !(1 << number));
            for (kind, set) in [("only", sets), ("without", CAPABILITIES.map(without).to_vec())] {
                for (name, capabilities) in set {
                    for uid in [0, BOB] {
                        let what = format!("{uid} {kind} {name}");
                        let (here, there) = (place.here.join(&what), place.there.join(&what));
                        prepare(&here, uid);
                        let capabilities = Some(capabilities);
                        let person = Person { capabilities, ..Person::new(uid, 5002, &[]) };
                        for (call, run) in calls() {
                            let result = person.does(|| run(&here));
                            notes.push(told(&format!("{what}: {call}"), result));
                        }
                        notes.extend(seen(&there));
                    }
                }
            }
            notes
        });
    });
}

/// What the root of a user namespace tries, with the user and group it is outside.
const SCRIPT: &str =
    "try() { if \"$@\" >/dev/null 2>&1; then echo \"$* done\"; else echo \"$* refused\"; fi; }
    try cat mine; try cat foreign; try cat mixed; try chmod 640 mine; try chmod 640 foreign
    try chmod 640 mixed; try chown 0:5 mine; try chown 5:5 foreign; try chown 5:5 mixed
    try mknod device c 1 3; try setfattr -n trusted.a -v x mine; try setfattr -n user.a -v x mine
    try touch -d 2001-01-01 foreign; try touch new; try chown 7:7 new; try rm closed/inner
    stat -c '%n %a %u:%g' mine foreign mixed new";

/// Runs [`SCRIPT`] as root of a namespace that knows the 1,000 users and groups from [`INSIDE`].
fn in_namespace(folder: &Path) -> Vec<String> {
    let become_root =
        "echo ready; read go; exec setpriv --reuid 0 --regid 0 --clear-groups sh -c \"$0\"";
    let mut child = Command::new("unshare")
        .args(["--user", "--keep-caps", "sh", "-c", become_root, SCRIPT])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    out.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    for kind in ["uid", "gid"] {
        let map = format!("/proc/{}/{kind}_map", child.id());
        std::fs::write(map, format!("0 {INSIDE} 1000")).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let lines: Vec<String> = out.lines().map(|line| line.unwrap()).collect();
    assert!(child.wait().unwrap().success(), "{lines:?}");
    for outcome in ["done", "refused"] {
        assert!(lines.iter().any(|line| line.ends_with(outcome)), "{lines:?}");
    }
    lines
}

#[test]
fn permissions_of_a_user_namespace_end_at_its_border() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place: &Place| {
            let here = place.here.join("d");
            std::fs::create_dir(&here).unwrap();
            std::fs::create_dir(here.join("closed")).unwrap();
            for (name, uid, gid, mode) in [
                ("mine", INSIDE + 3, INSIDE + 4, 0o000),
                ("foreign", ALICE, STAFF, 0o600),
                ("mixed", INSIDE + 3, STAFF, 0o000),
                ("closed/inner", INSIDE + 9, INSIDE + 9, 0o600),
                ("closed", INSIDE + 9, INSIDE + 9, 0o500),
            ] {
                if name != "closed" {
                    std::fs::write(here.join(name), name).unwrap();
                }
                lchown(here.join(name), Some(uid), Some(gid)).unwrap();
                std::fs::set_permissions(here.join(name), Permissions::from_mode(mode)).unwrap();
            }
            open_to_all(&[&here]);
            let mut notes = in_namespace(&here);
            for name in ["mine", "foreign", "mixed", "new"] {
                let meta = std::fs::metadata(place.there.join("d").join(name));
                notes.push(told(
                    name,
                    meta.map(|m| (m.mode(), m.uid(), m.gid(), m.mtime() < 1e9 as i64)),
                ));
            }
            notes
        });
    });
}
