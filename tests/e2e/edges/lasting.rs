//! Inode numbers and file handles through everything that may come between: forgotten caches, other
//! mounts, mounting again, a killed server.

use super::many::list;
use super::one_mount;
use dfs_tests::mount::Mount;
use dfs_tests::server::Server;
use dfs_tests::unwrapped::{FileHandle, name_to_handle, open_by_handle};
use dfs_tests::{programs, shell, sys, world};
use nix::libc;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);

/// One entry of each kind.
fn make_kinds(folder: &Path) {
    let at = |name: &str| folder.join(name);
    std::fs::create_dir_all(at("d/e")).unwrap();
    std::fs::write(at("d/e/f"), b"content").unwrap();
    std::fs::write(at("f"), b"file").unwrap();
    std::fs::hard_link(at("f"), at("g")).unwrap();
    std::os::unix::fs::symlink("f", at("s")).unwrap();
    sys::make_fifo(&at("fifo")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    for (name, kind) in [("char", FileType::CharacterDevice), ("block", FileType::BlockDevice)] {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o600), makedev(1, 3)).unwrap();
    }
}

type Numbers = BTreeMap<String, (u64, FileType)>;

/// Numbers and kinds as a listing tells them, which are those of `lstat`.
fn numbers(mount: &Mount) -> Numbers {
    let mut all = Numbers::new();
    let folders = ["", "d", "d/e", "large", "large/d", "large/d/e"];
    for folder in folders.into_iter().filter(|folder| mount.at(folder).is_dir()) {
        for entry in list(&mount.at(folder)) {
            let path = format!("{folder}/{}", entry.name);
            // `..` of the mount's root is the folder it is mounted on.
            if path != "/.." {
                let meta = std::fs::symlink_metadata(mount.at(folder).join(&entry.name)).unwrap();
                assert_eq!(entry.ino, meta.ino(), "{path}");
                assert_eq!(entry.kind, FileType::from_raw_mode(meta.mode()), "{path}");
                all.insert(path, (entry.ino, entry.kind));
            }
        }
    }
    all
}

/// A number that needs more than half of its 64 bits.
const LARGE: u64 = (1 << 52) + 77;

/// Lets a server give out numbers from `first` on, as after so many files.
fn count_from(server: &Server, first: u64) {
    programs::need("sqlite3");
    server.stop();
    let sql = format!("update number set value = {first} where name = 'ino_limit' returning value");
    let set = shell::script(LIMIT, server.data(), &format!("sqlite3 meta.db \"{sql}\""));
    assert_eq!(set.trim(), first.to_string());
    server.start();
}

/// Makes the kernel forget inodes and names that nobody uses.
fn drop_caches() {
    std::fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
}

/// What lies between two looks.
type Between = (&'static str, fn(&Server, &mut Mount));

const BETWEEN: &[Between] = &[
    ("nothing", |_, _| ()),
    ("caches dropped", |_, _| drop_caches()),
    ("mounted again", |_, a| {
        a.unmount();
        a.again();
    }),
    ("server killed", |server, _| server.kill_and_restart()),
    ("server killed, caches dropped", |server, _| {
        server.kill_and_restart();
        drop_caches();
    }),
    ("server restarted while nothing is mounted", |server, a| {
        a.unmount();
        server.stop();
        server.start();
        a.again();
    }),
];

#[test]
fn edges_numbers_of_inodes_stay() {
    world::run(LIMIT, |w| {
        let (server, mut a) = one_mount(w);
        make_kinds(a.path());
        count_from(&server, LARGE);
        std::fs::create_dir(a.at("large")).unwrap();
        make_kinds(&a.at("large"));
        let first = numbers(&a);
        assert!(first["d/e/f"].0 < LARGE && first["large/f"].0 >= LARGE);
        let find = format!("find . -inum {}", first["large/f"].0);
        let found = shell::script(LIMIT, a.path(), &(find + " | sort"));
        assert_eq!(found, "./large/f\n./large/g\n");
        assert_eq!(first["/f"], first["/g"]);
        assert_eq!(first["d/e/f"].1, FileType::RegularFile);
        let kinds: std::collections::HashSet<_> =
            first.values().map(|(_, kind)| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), 7, "{kinds:?}");
        for (what, happens) in BETWEEN {
            happens(&server, &mut a);
            assert_eq!(numbers(&a), first, "{what}");
        }
        assert_eq!(numbers(&w.mount(&server, "b")), first, "another mount");
        w.say(format!("{} numbers through {} events", first.len(), BETWEEN.len() + 1));
    });
}

fn read(mount: &Mount, handle: &FileHandle) -> std::io::Result<String> {
    let on = File::open(mount.path()).unwrap();
    let mut text = String::new();
    open_by_handle(&on, handle, libc::O_RDONLY)?.read_to_string(&mut text)?;
    Ok(text)
}

fn is_stale(mount: &Mount, handle: &FileHandle, what: &str) {
    assert_eq!(sys::errno(read(mount, handle).unwrap_err()), libc::ESTALE, "{what}");
}

#[test]
fn edges_file_handles_outlive_caches_mounts_and_the_server() {
    world::run(LIMIT, |w| {
        let (server, mut a) = one_mount(w);
        make_kinds(a.path());
        count_from(&server, LARGE);
        let [file, folder] = ["d/e/f", "d/e"].map(|path| name_to_handle(&a.at(path)).unwrap());
        std::fs::write(a.at("last"), b"last").unwrap();
        let number = std::fs::metadata(a.at("last")).unwrap().ino();
        let gone = name_to_handle(&a.at("last")).unwrap();
        assert_eq!(read(&a, &gone).unwrap(), "last");
        std::fs::remove_file(a.at("last")).unwrap();
        is_stale(&a, &gone, "just removed");
        for (what, happens) in BETWEEN {
            happens(&server, &mut a);
            assert_eq!(read(&a, &file).unwrap(), "content", "{what}");
            let on = File::open(a.path()).unwrap();
            let inside = open_by_handle(&on, &folder, libc::O_RDONLY | libc::O_DIRECTORY).unwrap();
            let inside = rustix::fs::openat(inside, "f", rustix::fs::OFlags::RDONLY, Mode::empty());
            assert_eq!(std::io::read_to_string(File::from(inside.unwrap())).unwrap(), "content");
            // The number was the largest: it must not be given to the next file.
            let new = a.at(format!("after {what}"));
            std::fs::write(&new, b"another").unwrap();
            assert_ne!(std::fs::metadata(&new).unwrap().ino(), number, "{what}");
            is_stale(&a, &gone, what);
        }
        // Numbers are the server's: handles of one mount are good for another.
        let b = w.mount(&server, "b");
        assert_eq!(read(&b, &file).unwrap(), "content");
        is_stale(&b, &gone, "another mount");
        std::fs::remove_file(b.at("d/e/f")).unwrap();
        is_stale(&a, &file, "removed by another mount");
        w.say(format!("3 handles through {} events", BETWEEN.len() + 2));
    });
}
