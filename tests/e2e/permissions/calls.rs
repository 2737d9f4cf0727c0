//! Calls chosen for what they do to permissions, on a local disk and on two mounts.

use super::{LIMIT, open_to_all};
use dfs_core::access::{Acl, Entry, Tag};
use dfs_tests::person::Person;
use dfs_tests::shell;
use dfs_tests::sys::{self, errno};
use dfs_tests::world::{self, World};
use nix::libc;
use rustix::fs::{CWD, FallocateFlags, FileType, Mode};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

pub const ALICE: u32 = 4001;
pub const BOB: u32 = 4002;
pub const STAFF: u32 = 5001;

pub fn alice() -> Person {
    Person::new(ALICE, STAFF, &[])
}

pub fn bob() -> Person {
    Person::new(BOB, 5002, &[])
}

pub fn root() -> Person {
    Person::default()
}

/// Where calls are made, and where their effect is looked at.
pub struct Place {
    pub here: PathBuf,
    pub there: PathBuf,
}

/// Runs `calls` on a local disk and on two mounts; what it notes must be the same.
pub fn same_as_local(w: &World, calls: impl Fn(&Place) -> Vec<String>) {
    let (_server, a, b) = w.two_mounts();
    let local = w.folder("local");
    open_to_all(&[w.dir(), &local, a.path()]);
    let wanted = calls(&Place { here: local.clone(), there: local });
    let got = calls(&Place { here: a.at(""), there: b.at("") });
    assert_eq!(got.len(), wanted.len());
    let differ = |number: &usize| got[*number] != wanted[*number];
    let differences: Vec<String> = (0..got.len())
        .filter(differ)
        .map(|n| {
            format!(
                "{n}: {}, on ext4 {} (before: {:?})",
                got[n],
                wanted[n],
                &wanted[n.saturating_sub(4)..n]
            )
        })
        .collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    w.say(format!("{} results as on ext4", got.len()));
}

/// What a call gave, or its errno.
pub fn told<T: std::fmt::Debug>(what: &str, result: std::io::Result<T>) -> String {
    format!("{what}: {:?}", result.map_err(errno))
}

pub fn mode_of(path: &Path) -> String {
    let meta = std::fs::metadata(path).unwrap();
    format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid())
}

/// `VFS_CAP_REVISION_2` with CAP_NET_RAW permitted and effective.
fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 13, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect()
}

type Change = fn(&Path) -> std::io::Result<()>;

/// Changes of a file that may take privileges from it.
fn changes() -> Vec<(&'static str, Change)> {
    fn open(path: &Path) -> std::io::Result<File> {
        OpenOptions::new().write(true).open(path)
    }
    vec![
        ("write", |p| open(p)?.write_all(b"x")),
        ("write nothing", |p| open(p)?.write(b"").map(drop)),
        ("truncate", |p| {
            let path = std::ffi::CString::new(p.as_os_str().as_encoded_bytes())?;
            Ok(nix::unistd::truncate(path.as_c_str(), 1)?)
        }),
        ("ftruncate", |p| open(p)?.set_len(7)),
        ("O_TRUNC", |p| OpenOptions::new().write(true).truncate(true).open(p).map(drop)),
        ("fallocate", |p| Ok(rustix::fs::fallocate(open(p)?, FallocateFlags::empty(), 0, 9)?)),
        ("punch", |p| {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(open(p)?, punch, 0, 1)?)
        }),
        ("copy_file_range", |p| {
            let from = File::open(p.with_file_name("source"))?;
            Ok(rustix::fs::copy_file_range(from, None, open(p)?, None, 4).map(drop)?)
        }),
        ("chown to oneself", |p| chown(p, Some(std::fs::metadata(p)?.uid()), None)),
        ("chgrp", |p| chown(p, None, Some(STAFF))),
        ("fchown of an open file", |p| {
            let file = open(p)?;
            file.write_all_at(b"y", 0)?;
            fchown(&file, None, Some(STAFF))
        }),
        ("chmod", |p| std::fs::set_permissions(p, Permissions::from_mode(0o6775))),
        ("touch", |p| open(p)?.set_modified(std::time::SystemTime::UNIX_EPOCH)),
    ]
}

#[test]
fn permissions_privileges_fall_as_on_ext4() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place| {
            let mut notes = Vec::new();
            std::fs::write(place.here.join("source"), "source").unwrap();
            for (what, change) in changes() {
                for mode in [0o6777, 0o6767, 0o2777, 0o2767, 0o4777] {
                    for (who, person) in [("root", root()), ("owner", alice()), ("other", bob())] {
                        if who == "other" && mode & 0o010 == 0 {
                            continue; // docs/SEMANTICS.md, "Not promised"
                        }
                        let name = format!("{what} {mode:o} {who}");
                        let path = place.here.join(&name);
                        std::fs::write(&path, "text").unwrap();
                        chown(&path, Some(ALICE), Some(STAFF)).unwrap();
                        sys::set_xattr(&path, "security.capability", &capability()).unwrap();
                        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                        notes.push(told(&name, person.does(|| change(&path))));
                        notes.push(format!("here {}", mode_of(&path)));
                        let seen = place.there.join(&name);
                        notes.push(format!("there {}", mode_of(&seen)));
                        let left = sys::get_xattr(&seen, "security.capability");
                        notes.push(told("capability", left.map(|value| value.len())));
                    }
                }
            }
            notes
        });
    });
}

#[test]
fn permissions_unsaved_writes_take_privileges_at_once() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place| {
            let path = place.here.join("program");
            std::fs::write(&path, "text").unwrap();
            chown(&path, Some(ALICE), Some(STAFF)).unwrap();
            sys::set_xattr(&path, "security.capability", &capability()).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o6775)).unwrap();
            let file = alice().does(|| OpenOptions::new().write(true).open(&path)).unwrap();
            let mut notes = vec![mode_of(&path)];
            alice().does(|| file.write_all_at(b"x", 0)).unwrap();
            notes.push(mode_of(&path));
            notes.push(told("capability", sys::get_xattr(&path, "security.capability")));
            notes.push(told("list", sys::list_xattrs(&path)));
            // The owner may give the bits again; what was written before takes nothing then.
            let give = || std::fs::set_permissions(&path, Permissions::from_mode(0o6755));
            notes.push(told("chmod", alice().does(give)));
            drop(file);
            notes.push(mode_of(&place.there.join("program")));
            notes
        });
    });
}

#[test]
fn permissions_follow_groups_of_the_caller_as_they_are_now() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place| {
            let many: Vec<u32> = (6000..6100).collect();
            let dir = place.here.join("shared");
            std::fs::create_dir(&dir).unwrap();
            chown(&dir, Some(0), Some(6099)).unwrap();
            std::fs::set_permissions(&dir, Permissions::from_mode(0o2770)).unwrap();
            let member = Person { groups: many.clone(), ..bob() };
            let make = |name: &str| File::create(dir.join(name)).map(drop);
            let mut notes = vec![
                told("no member", bob().does(|| make("no"))),
                told("the hundredth group", member.does(|| make("yes"))),
                mode_of(&place.there.join("shared/yes")),
            ];
            notes.extend(bob().does(|| {
                let mut notes = Vec::new();
                for round in 0..20 {
                    let name = round.to_string();
                    let (person, groups) = (bob(), if round % 2 == 0 { &many[..] } else { &[] });
                    person.regroup(groups);
                    notes.push(told(&name, make(&name)));
                    notes.push(told("list", sys::names(&dir).map(|names| names.len())));
                    notes.push(told("remove", std::fs::remove_file(dir.join(&name))));
                }
                notes
            }));
            notes
        });
    });
}

#[test]
fn permissions_of_special_files_are_as_on_ext4() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place| {
            let mut notes = Vec::new();
            for (who, person) in [("root", root()), ("alice", alice())] {
                for kind in [
                    FileType::Fifo,
                    FileType::Socket,
                    FileType::RegularFile,
                    FileType::CharacterDevice,
                    FileType::BlockDevice,
                    FileType::Directory,
                    FileType::Symlink,
                ] {
                    let name = format!("{who} {kind:?}");
                    let path = place.here.join(&name);
                    let device = rustix::fs::makedev(1, 3);
                    let mode = Mode::from_raw_mode(0o6644);
                    let make = || Ok(rustix::fs::mknodat(CWD, &path, kind, mode, device)?);
                    let person = Person { umask: 0o027, ..person.clone() };
                    notes.push(told(&name, person.does(make)));
                    let seen = std::fs::symlink_metadata(place.there.join(&name));
                    notes.push(told("seen", seen.map(|m| (m.mode(), m.uid(), m.gid(), m.rdev()))));
                }
            }
            let zero = place.here.join("zero");
            let (device, mode) = (rustix::fs::makedev(1, 5), Mode::from_raw_mode(0o666));
            rustix::fs::mknodat(CWD, &zero, FileType::CharacterDevice, mode, device).unwrap();
            let read = || File::open(place.there.join("zero"))?.read(&mut [1; 4]);
            notes.push(told("read a device", alice().does(read)));
            notes
        });
    });
}

#[test]
fn permissions_of_extended_attributes_are_as_on_ext4() {
    world::run(LIMIT, |w| {
        same_as_local(w, |place| {
            let mut notes = Vec::new();
            let here = |name: &str| place.here.join(name);
            for name in ["file", "fifo", "link", "dir", "sticky"] {
                match name {
                    "file" => std::fs::write(here(name), "").unwrap(),
                    "fifo" => sys::make_fifo(&here(name)).unwrap(),
                    "link" => std::os::unix::fs::symlink("file", here(name)).unwrap(),
                    _ => std::fs::create_dir(here(name)).unwrap(),
                }
                std::os::unix::fs::lchown(here(name), Some(ALICE), Some(STAFF)).unwrap();
            }
            std::fs::set_permissions(here("sticky"), Permissions::from_mode(0o1777)).unwrap();
            let acl = Acl::new(vec![
                Entry { tag: Tag::UserObj, perm: 6 },
                Entry { tag: Tag::User(BOB), perm: 4 },
                Entry { tag: Tag::GroupObj, perm: 4 },
                Entry { tag: Tag::Mask, perm: 6 },
                Entry { tag: Tag::Other, perm: 0 },
            ]);
            let acl = acl.unwrap().encode();
            let long = format!("user.{}", "n".repeat(250));
            let longer = format!("{long}n");
            for file in ["file", "fifo", "link", "dir", "sticky"] {
                for (who, person) in [("root", root()), ("alice", alice()), ("bob", bob())] {
                    for (name, value) in [
                        ("user.a", &b"value"[..]),
                        ("user.empty", b""),
                        ("user.", b""),
                        ("user", b""),
                        (&long, b"long"),
                        (&longer, b"longer"),
                        ("trusted.a", b"value"),
                        ("security.a", b"value"),
                        ("system.a", b"value"),
                        ("other.a", b"value"),
                        ("system.posix_acl_access", &acl),
                        ("system.posix_acl_default", &acl),
                        ("system.posix_acl_access", &acl[..11]),
                        ("system.posix_acl_access", &acl[..12]),
                        ("system.posix_acl_access", b""),
                    ] {
                        let (path, seen) = (here(file), place.there.join(file));
                        let what = format!("{who} {file} {name} {}", value.len());
                        let set = person.does(|| sys::set_xattr(&path, name, value));
                        notes.push(told(&what, set));
                        notes.push(told("get", person.does(|| sys::get_xattr(&seen, name))));
                        notes.push(told("list", person.does(|| sys::list_xattrs(&seen))));
                        let remove = person.does(|| sys::remove_xattr(&path, name));
                        notes.push(told("remove", remove));
                        let again = person.does(|| sys::remove_xattr(&path, name));
                        notes.push(told("again", again));
                    }
                }
            }
            notes.extend(sizes_of_attributes(place));
            notes
        });
    });
}

/// Attributes of all lengths, and answers that do not fit.
fn sizes_of_attributes(place: &Place) -> Vec<String> {
    let (path, seen) = (place.here.join("sizes"), place.there.join("sizes"));
    std::fs::write(&path, "").unwrap();
    let set = |value: &[u8]| sys::set_xattr(&path, "user.a", value);
    let get = |room: usize| {
        let mut value = vec![0; room];
        Ok(rustix::fs::getxattr(&seen, "user.a", &mut value[..])?)
    };
    let list = |room: usize| Ok(rustix::fs::listxattr(&seen, &mut vec![0; room][..])?);
    let mut notes = vec![told("65537 bytes", set(&vec![0; 65_537]))];
    notes.push(told("2000 bytes", set(&vec![0; 2000])));
    for room in [0, 1, 1999, 2000, 2001] {
        notes.push(told("get", get(room)));
    }
    for room in [0, 1, 6, 7, 8] {
        notes.push(told("list", list(room)));
    }
    use rustix::fs::XattrFlags as Flags;
    for (name, flags) in [
        ("user.a", Flags::CREATE),
        ("user.b", Flags::REPLACE),
        ("user.b", Flags::CREATE),
        ("user.b", Flags::REPLACE),
        ("user.b", Flags::CREATE | Flags::REPLACE),
        ("user.c", Flags::CREATE | Flags::REPLACE),
    ] {
        let set = rustix::fs::setxattr(&path, name, b"v", flags).map_err(Into::into);
        notes.push(told(&format!("{name} {flags:?}"), set));
    }
    notes
}

#[test]
fn permissions_taken_on_one_mount_are_gone_on_the_other() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        open_to_all(&[w.dir(), a.path()]);
        let (here, there) = (a.at("d/f"), b.at("d/f"));
        std::fs::create_dir(a.at("d")).unwrap();
        std::fs::write(&here, "secret").unwrap();
        chown(&here, Some(ALICE), Some(STAFF)).unwrap();
        let list = |perm| {
            let lines = [
                (Tag::UserObj, 6),
                (Tag::User(BOB), perm),
                (Tag::GroupObj, 0),
                (Tag::Mask, 7),
                (Tag::Other, 0),
            ];
            Acl::new(lines.map(|(tag, perm)| Entry { tag, perm }).to_vec()).unwrap().encode()
        };
        // Also while the file is being written: that the content is still to come is no reason.
        for writer in [None, Some(OpenOptions::new().append(true).open(&here).unwrap())] {
            let chmod = |path: &Path, mode| {
                std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            };
            let ways: [(&str, &dyn Fn(bool)); 4] = [
                ("mode", &|yes| chmod(&here, if yes { 0o604 } else { 0o600 })),
                ("list", &|yes| {
                    let value = list(if yes { 4 } else { 0 });
                    sys::set_xattr(&here, "system.posix_acl_access", &value).unwrap();
                }),
                ("owner", &|yes| {
                    chmod(&here, 0o600);
                    chown(&here, Some(if yes { BOB } else { ALICE }), None).unwrap();
                }),
                ("directory", &|yes| {
                    chmod(&here, 0o604);
                    chmod(&a.at("d"), if yes { 0o701 } else { 0o700 });
                }),
            ];
            for (way, change) in ways {
                for round in 0..25 {
                    let allowed = round % 2 == 0;
                    if let Some(file) = &writer {
                        let mut file = file;
                        file.write_all(b".").unwrap();
                    }
                    change(allowed);
                    let opened = bob().does(|| File::open(&there).map(drop).map_err(errno));
                    let wanted = if allowed { Ok(()) } else { Err(libc::EACCES) };
                    let writing = writer.is_some();
                    assert_eq!(opened, wanted, "{way}, round {round}, being written: {writing}");
                }
                change(true);
                chmod(&a.at("d"), 0o777);
                let _ = sys::remove_xattr(&here, "system.posix_acl_access");
                chown(&here, Some(ALICE), None).unwrap();
            }
        }
        w.say("200 changes of permission, each seen by the next open on the other mount");
    });
}

#[test]
fn regression_directory_is_listed_by_who_may_not_search_it() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let script = "chmod 755 . && mkdir d && touch d/x d/y && chown 4003 d && chmod 600 d";
        shell::script(LIMIT, a.path(), script);
        shell::script(LIMIT, w.dir(), "chmod 755 .");
        // Nothing of it is known here yet.
        let list = "setpriv --reuid 4003 --regid 4003 --clear-groups ls -f d | sort | tr '\\n' ' '";
        assert_eq!(shell::script(LIMIT, b.path(), list), ". .. x y ");
    });
}

#[test]
fn permissions_of_a_read_only_mount_allow_no_change() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        open_to_all(&[w.dir(), a.path()]);
        std::fs::create_dir(a.at("d")).unwrap();
        std::fs::write(a.at("f"), "text").unwrap();
        sys::set_xattr(&a.at("f"), "user.x", b"value").unwrap();
        std::fs::set_permissions(a.at("f"), Permissions::from_mode(0o666)).unwrap();
        let b = w.mount_builder(&server, "b").option("ro").start();
        let (f, d) = (b.at("f"), b.at("d"));
        let mode = Permissions::from_mode(0o600);
        for (what, result) in [
            ("open", OpenOptions::new().write(true).open(&f).map(drop)),
            ("create", File::create(b.at("new")).map(drop)),
            ("chmod", std::fs::set_permissions(&f, mode)),
            ("chown", chown(&f, Some(1), None)),
            ("mkdir", std::fs::create_dir(b.at("new"))),
            ("rmdir", std::fs::remove_dir(&d)),
            ("unlink", std::fs::remove_file(&f)),
            ("rename", std::fs::rename(&f, b.at("new"))),
            ("link", std::fs::hard_link(&f, b.at("new"))),
            ("symlink", std::os::unix::fs::symlink("f", b.at("new"))),
            ("mknod", sys::make_fifo(&b.at("new"))),
            ("setxattr", sys::set_xattr(&f, "user.x", b"other")),
            ("removexattr", sys::remove_xattr(&f, "user.x")),
            ("truncate", {
                let path = std::ffi::CString::new(f.as_os_str().as_encoded_bytes()).unwrap();
                nix::unistd::truncate(path.as_c_str(), 0).map_err(Into::into)
            }),
        ] {
            assert_eq!(result.map_err(errno), Err(libc::EROFS), "{what}");
        }
        assert_eq!(std::fs::read(&f).unwrap(), b"text");
        assert_eq!(sys::get_xattr(&f, "user.x").unwrap(), b"value");
        w.say("14 calls refused with EROFS, reading goes on");
    });
}
