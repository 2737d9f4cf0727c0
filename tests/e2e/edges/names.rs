//! Names, paths, links, directories, times, extended attributes.

use super::{Answers, Differs, Group};
use dfs_tests::sys;
use nix::libc;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

pub const GROUPS: &[(&str, Group)] = &[
    ("bytes", bytes),
    ("lengths", lengths),
    ("deep", deep),
    ("directories", directories),
    ("symlinks", symlinks),
    ("links", links),
    ("renames", renames),
    ("kinds", kinds),
    ("times", times),
    ("change-times", change_times),
    ("attributes", attributes),
];

pub const KNOWN: &[Differs] = &[];

/// Every byte a name can hold.
fn bytes(folder: &Path, answers: &mut Answers) {
    for byte in (1..=255u8).filter(|byte| *byte != b'/') {
        let path = folder.join(OsStr::from_bytes(&[b'n', byte, b'n']));
        answers.done(format!("create with byte {byte}"), File::create_new(&path));
    }
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    answers.note("listing", &found);
    for name in found {
        answers.done(format!("unlink {name:?}"), std::fs::remove_file(folder.join(&name)));
    }
}

fn lengths(folder: &Path, answers: &mut Answers) {
    for length in [254, 255, 256] {
        let path = folder.join("x".repeat(length));
        answers.done(format!("create, {length}"), File::create_new(&path));
        answers.done(format!("stat, {length}"), std::fs::metadata(&path));
        answers.done(format!("mkdir, {length}"), std::fs::create_dir(path.with_extension("d")));
        answers.done(format!("rename, {length}"), std::fs::rename(&path, folder.join("short")));
        answers.done(format!("back, {length}"), std::fs::rename(folder.join("short"), &path));
        answers.done(format!("symlink, {length}"), symlink("a", folder.join("y".repeat(length))));
    }
    for length in [4094, 4095, 4096] {
        let link = folder.join(format!("link{length}"));
        answers.done(format!("target of {length}"), symlink("t".repeat(length), &link));
        answers.call(
            format!("readlink of {length}"),
            std::fs::read_link(&link).map(|t| t.as_os_str().len()),
        );
        let mut path = folder.as_os_str().as_bytes().to_vec();
        while path.len() < length {
            path.extend_from_slice(if length - path.len() > 1 { b"/." } else { b"/" });
        }
        answers.done(format!("path of {length}"), std::fs::metadata(OsStr::from_bytes(&path)));
    }
    answers.done("empty name", File::create_new(""));
}

/// A tree much deeper than a path is long.
fn deep(folder: &Path, answers: &mut Answers) {
    const DEPTH: usize = 1_000;
    let open = |at: &File| {
        rustix::fs::openat(at, "directory", OFlags::DIRECTORY, Mode::empty()).map(File::from)
    };
    let mut levels = vec![File::open(folder).unwrap()];
    for level in 0..DEPTH {
        let made = rustix::fs::mkdirat(&levels[level], "directory", Mode::RWXU);
        if made.is_err() {
            answers.done(format!("mkdir at {level}"), made);
            return;
        }
        levels.push(open(&levels[level]).unwrap());
    }
    let last = levels.last().unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY;
    answers.done("create at the end", rustix::fs::openat(last, "file", flags, Mode::RUSR));
    answers.done("unlink at the end", rustix::fs::unlinkat(last, "file", AtFlags::empty()));
    let up = rustix::fs::statat(last, "..", AtFlags::empty()).unwrap().st_ino;
    answers.note("parent of the end", up == levels[DEPTH - 1].metadata().unwrap().ino());
    let into_itself = rustix::fs::renameat(&levels[0], "directory", last, "loop");
    answers.done("rename into itself, deep", into_itself);
    while levels.pop().is_some() && !levels.is_empty() {
        let parent = levels.last().unwrap();
        let removed = rustix::fs::unlinkat(parent, "directory", AtFlags::REMOVEDIR);
        if removed.is_err() {
            answers.done(format!("rmdir at {}", levels.len()), removed);
            return;
        }
    }
    answers.note("left", sys::names(folder).unwrap());
}

fn directories(folder: &Path, answers: &mut Answers) {
    let at = |name: &str| folder.join(name);
    std::fs::create_dir_all(at("d/inner")).unwrap();
    std::fs::write(at("f"), b"f").unwrap();
    answers.note("links of a directory", std::fs::metadata(at("d")).unwrap().nlink());
    answers.done("rmdir, not empty", std::fs::remove_dir(at("d")));
    answers.done("rmdir of .", nix_rmdir(&at("d/.")));
    answers.done("rmdir of ..", nix_rmdir(&at("d/inner/..")));
    answers.done("rmdir of a file", std::fs::remove_dir(at("f")));
    answers.done("unlink of a directory", std::fs::remove_file(at("d")));
    answers.done("mkdir, exists", std::fs::create_dir(at("d")));
    answers.done("mkdir over a file", std::fs::create_dir(at("f")));
    answers.done("mkdir in a file", std::fs::create_dir(at("f/x")));
    answers.done("mkdir with slash", std::fs::create_dir(at("slash/")));
    for (what, path, flags) in [
        ("write a directory", "d", libc::O_WRONLY),
        ("read-write a directory", "d", libc::O_RDWR),
        ("create over a directory", "d", libc::O_RDONLY | libc::O_CREAT),
        ("truncate a directory", "d", libc::O_RDONLY | libc::O_TRUNC),
        ("O_DIRECTORY on a file", "f", libc::O_DIRECTORY),
        ("O_DIRECTORY on a directory", "d", libc::O_DIRECTORY),
        ("file with slash", "f/", libc::O_RDONLY),
        ("create with slash", "new/", libc::O_WRONLY | libc::O_CREAT),
        ("O_PATH", "f", libc::O_PATH),
        ("exclusive, exists", "f", libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL),
        ("absent", "absent", libc::O_RDONLY),
        ("below absent", "absent/x", libc::O_WRONLY | libc::O_CREAT),
        ("below a file", "f/x", libc::O_RDONLY),
    ] {
        answers.done(what, sys::open(&at(path), flags));
    }
    let handle = File::open(at("d")).unwrap();
    answers.done("read of a directory", std::io::Read::read(&mut &handle, &mut [0; 10]));
    answers.done("fsync of a directory", handle.sync_all());
    std::fs::remove_dir(at("d/inner")).unwrap();
    std::fs::remove_dir(at("d")).unwrap();
    answers.note("links of a removed one", handle.metadata().unwrap().nlink());
    let flags = OFlags::CREATE | OFlags::WRONLY;
    answers.done("create in a removed one", rustix::fs::openat(&handle, "x", flags, Mode::RUSR));
    answers.done("mkdir in a removed one", rustix::fs::mkdirat(&handle, "x", Mode::RWXU));
    answers.note(
        "listing of a removed one",
        rustix::fs::Dir::read_from(&handle).map(|d| d.count() <= 2),
    );
}

fn nix_rmdir(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::rmdir(path)
}

fn symlinks(folder: &Path, answers: &mut Answers) {
    let at = |name: &str| folder.join(name);
    symlink("b", at("a")).unwrap();
    symlink("a", at("b")).unwrap();
    answers.done("loop", std::fs::metadata(at("a")));
    answers.done("open of a loop", File::open(at("a")));
    std::fs::write(at("end"), b"end").unwrap();
    symlink("end", at("chain0")).unwrap();
    for number in 1..=41 {
        symlink(format!("chain{}", number - 1), at(&format!("chain{number}"))).unwrap();
    }
    answers.call("chain of 40", std::fs::read(at("chain39")));
    answers.call("chain of 41", std::fs::read(at("chain40")));
    symlink("nothing", at("dangling")).unwrap();
    answers.done("O_NOFOLLOW", sys::open(&at("chain0"), libc::O_NOFOLLOW));
    answers.done("O_PATH|O_NOFOLLOW", sys::open(&at("chain0"), libc::O_PATH | libc::O_NOFOLLOW));
    answers.done("O_EXCL on a dangling link", File::create_new(at("dangling")));
    answers.done("mkdir on a dangling link", std::fs::create_dir(at("dangling")));
    answers.done("write through a dangling link", std::fs::write(at("dangling"), b"x"));
    answers.call("its target", std::fs::read(at("nothing")));
    answers.done("empty target", symlink("", at("empty")));
    answers
        .note("size is that of the target", std::fs::symlink_metadata(at("chain0")).unwrap().len());
    answers.note("mode", std::fs::symlink_metadata(at("chain0")).unwrap().permissions().mode());
    answers.done("link with slash", File::open(at("chain0/")));
    answers.done("user attribute of a link", sys::set_xattr(&at("chain0"), "user.x", b"1"));
    answers.done("readlink of a file", std::fs::read_link(at("end")));
}

fn links(folder: &Path, answers: &mut Answers) {
    let at = |name: &str| folder.join(name);
    std::fs::write(at("f"), b"f").unwrap();
    std::fs::create_dir(at("d")).unwrap();
    symlink("f", at("s")).unwrap();
    answers.done("link", std::fs::hard_link(at("f"), at("f2")));
    answers.note("count", std::fs::metadata(at("f")).unwrap().nlink());
    answers.done("link, exists", std::fs::hard_link(at("f"), at("f2")));
    answers.done("link of a directory", std::fs::hard_link(at("d"), at("d2")));
    answers.done("link of a symbolic link", std::fs::hard_link(at("s"), at("s2")));
    answers.note("it is one", std::fs::symlink_metadata(at("s2")).unwrap().is_symlink());
    let follow = rustix::fs::linkat(CWD, at("s"), CWD, at("s3"), AtFlags::SYMLINK_FOLLOW);
    answers.done("link that follows", follow);
    answers.note("it is none", std::fs::symlink_metadata(at("s3")).unwrap().is_file());
    let file = File::open(at("f")).unwrap();
    let empty = rustix::fs::linkat(&file, "", CWD, at("f3"), AtFlags::EMPTY_PATH);
    answers.done("link of a descriptor", empty);
    for name in ["f", "f2", "f3", "s3"] {
        std::fs::remove_file(at(name)).unwrap();
    }
    answers.note("count without names", file.metadata().unwrap().nlink());
    let empty = rustix::fs::linkat(&file, "", CWD, at("f4"), AtFlags::EMPTY_PATH);
    answers.done("link of a file without names", empty);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &file, &mut bytes).unwrap();
    answers.note("content without names", bytes);
    answers.done("chmod without names", file.set_permissions(PermissionsExt::from_mode(0o600)));
    answers.done("utimens without names", file.set_modified(std::time::UNIX_EPOCH));
    answers.done("link to elsewhere", std::fs::hard_link("/proc/self/status", at("p")));
    answers.done("rename to elsewhere", std::fs::rename(at("d"), "/proc/d"));
}

fn renames(folder: &Path, answers: &mut Answers) {
    let at = |name: &str| folder.join(name);
    let flags = |from: &str, to: &str, flags: RenameFlags| {
        rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags)
    };
    for name in ["d1/inner", "d2", "full/x"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    for name in ["f1", "f2", "f3"] {
        std::fs::write(at(name), name).unwrap();
    }
    std::fs::hard_link(at("f1"), at("f1-too")).unwrap();
    for (from, to) in [
        ("f1", "f1"),
        ("f1", "f1-too"),
        ("f1", "d1"),
        ("d1", "f1"),
        ("d1", "d1/inner"),
        ("d1", "d1/inner/x"),
        ("d1", "full"),
        ("d1", "d2"),
        ("absent", "x"),
        ("f1", "absent/x"),
        ("f1", "f2/x"),
        ("f1/", "x"),
        ("f1", "x/"),
        ("d2", "x/"),
        (".", "x"),
        ("x/..", "y"),
    ] {
        answers.done(format!("rename {from} {to}"), std::fs::rename(at(from), at(to)));
    }
    answers.note("names", sys::names(folder).unwrap());
    answers.done("NOREPLACE, exists", flags("f1", "f2", RenameFlags::NOREPLACE));
    answers.done("NOREPLACE", flags("f2", "f4", RenameFlags::NOREPLACE));
    answers.done("EXCHANGE, absent", flags("f1", "absent", RenameFlags::EXCHANGE));
    answers.done("EXCHANGE", flags("f1", "x", RenameFlags::EXCHANGE));
    answers.done("EXCHANGE with parent", flags("full", "full/x", RenameFlags::EXCHANGE));
    answers.done(
        "EXCHANGE|NOREPLACE",
        flags("f1", "x", RenameFlags::EXCHANGE | RenameFlags::NOREPLACE),
    );
    answers.done("rename with WHITEOUT", flags("f3", "f5", RenameFlags::WHITEOUT));
    answers.done("unknown flag", flags("f1", "x", RenameFlags::from_bits_retain(64)));
    let kind = |name: &str| std::fs::symlink_metadata(at(name)).map(|m| m.is_dir());
    answers.call("f1 is a directory now", kind("f1"));
    answers.call("x is a file now", kind("x"));
}

fn kinds(folder: &Path, answers: &mut Answers) {
    let at = |name: &str| folder.join(name);
    answers.done("fifo", sys::make_fifo(&at("fifo")));
    answers.done(
        "O_NONBLOCK write of a fifo",
        sys::open(&at("fifo"), libc::O_WRONLY | libc::O_NONBLOCK),
    );
    let reader = sys::open(&at("fifo"), libc::O_RDONLY | libc::O_NONBLOCK).unwrap();
    let mut writer = sys::open(&at("fifo"), libc::O_WRONLY).unwrap();
    std::io::Write::write_all(&mut writer, b"through").unwrap();
    let mut bytes = [0; 7];
    std::io::Read::read_exact(&mut &reader, &mut bytes).unwrap();
    answers.note("through the fifo", bytes);
    answers.done("socket", std::os::unix::net::UnixListener::bind(at("socket")).map(drop));
    answers.done("open of a socket", File::open(at("socket")));
    answers.done("bind again", std::os::unix::net::UnixListener::bind(at("socket")).map(drop));
    let listener = std::os::unix::net::UnixListener::bind(at("socket2")).unwrap();
    answers.done("connect", std::os::unix::net::UnixStream::connect(at("socket2")));
    drop(listener);
    let null = rustix::fs::makedev(1, 3);
    let mode = Mode::from_raw_mode(0o666);
    let made =
        rustix::fs::mknodat(CWD, at("null"), rustix::fs::FileType::CharacterDevice, mode, null);
    answers.done("device", made);
    answers.note("its number", std::fs::metadata(at("null")).unwrap().rdev());
    answers.done("write to it", std::fs::write(at("null"), b"gone"));
    let block = rustix::fs::makedev(7, 77);
    let made =
        rustix::fs::mknodat(CWD, at("block"), rustix::fs::FileType::BlockDevice, mode, block);
    answers.done("block device", made);
    answers.note("is one", std::fs::metadata(at("block")).unwrap().file_type().is_block_device());
    let made = rustix::fs::mknodat(CWD, at("file"), rustix::fs::FileType::RegularFile, mode, 0);
    answers.done("mknod of a file", made);
    answers.done("user attribute of a fifo", sys::set_xattr(&at("fifo"), "user.x", b"1"));
    answers.done("truncate of a fifo", nix::unistd::truncate(&at("fifo"), 0));
}

/// As far as both sides count: ext4 ends in 2446.
fn times(folder: &Path, answers: &mut Answers) {
    let path = folder.join("f");
    let file = File::create(&path).unwrap();
    for (seconds, nanos) in [
        (-2_147_483_648, 0),
        (-1, 999_999_999),
        (-1, 0),
        (0, 0),
        (0, 1),
        (4_294_967_295, 123_456_789),
        (4_294_967_296, 1),
        (15_032_385_534, 999_999_999),
    ] {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
        let both = Timestamps { last_access: time, last_modification: time };
        answers.done(format!("set {seconds}.{nanos}"), rustix::fs::futimens(&file, &both));
        let m = std::fs::metadata(&path).unwrap();
        answers.note(
            format!("get {seconds}.{nanos}"),
            [m.atime(), m.atime_nsec(), m.mtime(), m.mtime_nsec()],
        );
    }
    for (what, nanos) in [("negative", -1), ("a whole second", 1_000_000_000)] {
        let time = Timespec { tv_sec: 0, tv_nsec: nanos };
        let both = Timestamps { last_access: time, last_modification: time };
        answers.done(format!("nanoseconds {what}"), rustix::fs::futimens(&file, &both));
    }
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let both = Timestamps { last_access: omit, last_modification: omit };
    answers.done("omit both", rustix::fs::futimens(&file, &both));
    answers.note("unchanged", std::fs::metadata(&path).unwrap().mtime());
    let one =
        Timestamps { last_access: Timespec { tv_sec: 5, tv_nsec: 0 }, last_modification: omit };
    answers.done("omit one", rustix::fs::futimens(&file, &one));
    let m = std::fs::metadata(&path).unwrap();
    answers.note("only the access time", [m.atime(), m.mtime()]);
}

/// Which calls move which times of a file and its directory.
fn change_times(folder: &Path, answers: &mut Answers) {
    let at = |name: &str| folder.join(name);
    std::fs::write(at("f"), b"12345").unwrap();
    std::fs::create_dir(at("d")).unwrap();
    let steps: &[(&str, &dyn Fn())] = &[
        ("write", &|| std::fs::write(at("f"), b"12").unwrap()),
        ("truncate", &|| nix::unistd::truncate(&at("f"), 1).unwrap()),
        ("truncate to the same", &|| nix::unistd::truncate(&at("f"), 1).unwrap()),
        ("chmod", &|| std::fs::set_permissions(at("f"), PermissionsExt::from_mode(0o640)).unwrap()),
        ("chmod to the same", &|| {
            std::fs::set_permissions(at("f"), PermissionsExt::from_mode(0o640)).unwrap()
        }),
        ("chown", &|| std::os::unix::fs::chown(at("f"), Some(1), Some(1)).unwrap()),
        ("attribute", &|| sys::set_xattr(&at("f"), "user.x", b"1").unwrap()),
        ("no attribute", &|| sys::remove_xattr(&at("f"), "user.x").unwrap()),
        ("link", &|| std::fs::hard_link(at("f"), at("g")).unwrap()),
        ("unlink", &|| std::fs::remove_file(at("g")).unwrap()),
        ("rename", &|| std::fs::rename(at("f"), at("h")).unwrap()),
        ("back", &|| std::fs::rename(at("h"), at("f")).unwrap()),
        ("open", &|| drop(File::open(at("f")).unwrap())),
        ("open to write", &|| drop(sys::open(&at("f"), libc::O_WRONLY).unwrap())),
        ("empty truncation at open", &|| drop(File::create(at("f")).unwrap())),
        ("the same again", &|| drop(File::create(at("f")).unwrap())),
        ("into a directory", &|| std::fs::rename(at("f"), at("d/f")).unwrap()),
        ("out of it", &|| std::fs::rename(at("d/f"), at("f")).unwrap()),
    ];
    let times = |name: &str| {
        std::fs::metadata(at(name))
            .map(|m| [(m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())])
    };
    for (what, step) in steps {
        let before = ["f", "."].map(times);
        // Times of a local disk move with the kernel's tick.
        let begun = std::time::Instant::now();
        let tick = std::time::Duration::from_millis(12);
        dfs_tests::wait::until_true(tick * 100, "time goes on", || begun.elapsed() > tick);
        step();
        let after = ["f", "."].map(times);
        for ((name, before), after) in ["file", "directory"].iter().zip(before).zip(after) {
            let moved = before.ok().zip(after.ok()).map(|(b, a)| [a[0] > b[0], a[1] > b[1]]);
            answers.note(format!("{what}: {name} [mtime, ctime] moved"), moved);
        }
    }
}

fn attributes(folder: &Path, answers: &mut Answers) {
    let path = folder.join("f");
    std::fs::write(&path, b"").unwrap();
    let get = |name: &str| sys::get_xattr(&path, name);
    answers.done("set", sys::set_xattr(&path, "user.a", b"1"));
    answers.done("empty", sys::set_xattr(&path, "user.empty", b""));
    answers.call("get empty", get("user.empty"));
    answers.call("get", get("user.a"));
    answers.call("get absent", get("user.absent"));
    answers.done("remove absent", sys::remove_xattr(&path, "user.absent"));
    answers.done("no namespace", sys::set_xattr(&path, "foo.a", b"1"));
    answers.done("bare namespace", sys::set_xattr(&path, "user.", b"1"));
    answers.done("longest name", sys::set_xattr(&path, &format!("user.{}", "n".repeat(250)), b"1"));
    answers
        .done("name too long", sys::set_xattr(&path, &format!("user.{}", "n".repeat(251)), b"1"));
    answers.done("value too long", sys::set_xattr(&path, "user.big", &[0; 65_537]));
    answers.done("trusted", sys::set_xattr(&path, "trusted.a", b"1"));
    answers.done("security", sys::set_xattr(&path, "security.a", b"1"));
    let mut small = [0; 1];
    answers.done("list into too little", rustix::fs::llistxattr(&path, &mut small[..]));
    sys::set_xattr(&path, "user.a", b"123").unwrap();
    answers.done("get into too little", rustix::fs::lgetxattr(&path, "user.a", &mut small[..]));
    answers.call("list", sys::list_xattrs(&path));
    answers.done("on a directory", sys::set_xattr(folder, "user.a", b"1"));
}
