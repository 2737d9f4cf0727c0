//! Full disks: below the cache of a client, and below the data of the server.

use super::MIB;
use dfs_tests::mount::Mount;
use dfs_tests::server::Server;
use dfs_tests::{sys, tree, wait, world};
use nix::libc;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
/// Bytes of each file of the tests with a full cache disk.
const EACH: usize = 3_000_000;

/// A server, a small disk, a mount with its cache on it and another with plenty of room.
fn beside_a_small_cache_disk(w: &world::World) -> (Server, PathBuf, Mount, Mount) {
    let server = w.server();
    let disk = w.small_disk("cache-disk", 96);
    let a = w.mount_builder(&server, "a").cache(&disk.join("c")).option("cache_size=64m").start();
    let b = w.mount(&server, "b");
    (server, disk, a, b)
}

fn free(disk: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(disk).unwrap();
    stat.blocks_available() * stat.fragment_size()
}

/// Fills a disk but for `left` bytes, appending to what filled it before.
fn fill(disk: &Path, left: u64) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = File::options().append(true).create(true).open(&filler).unwrap();
    loop {
        let room = free(disk).saturating_sub(left).min(MIB);
        match file.write_all(&vec![1; room as usize]) {
            Ok(()) if room > 0 => {}
            Err(error) if error.kind() != ErrorKind::StorageFull => panic!("{error}"),
            _ => return filler,
        }
    }
}

fn write(mount: &Mount, name: &str, ver: u64) -> std::io::Result<()> {
    std::fs::write(mount.at(name), tree::version_bytes(ver, EACH))
}

fn check(mount: &Mount, name: &str, ver: u64) {
    let read = std::fs::read(mount.at(name)).unwrap();
    assert_eq!((tree::version_of(&read), read.len()), (Ok(ver), EACH), "{name}");
}

/// The disk is full to the last block, most of it with clean content and some other program's file.
#[test]
fn cache_disk_that_is_full_makes_room_from_clean_content() {
    world::run(LIMIT, |w| {
        let (_server, disk, a, b) = beside_a_small_cache_disk(w);
        for file in 0..4 {
            write(&a, &format!("old{file}"), file).unwrap();
        }
        for file in 0..3 {
            write(&b, &format!("far{file}"), 50 + file).unwrap();
        }
        let filler = fill(&disk, 0);
        assert!(free(&disk) < 64 * 1024, "{} bytes are free", free(&disk));
        for file in 0..10 {
            write(&a, &format!("new{file}"), 10 + file).unwrap();
            check(&b, &format!("new{file}"), 10 + file);
        }
        // What had to go comes again, and what was never here comes too.
        (0..4).for_each(|file| check(&a, &format!("old{file}"), file));
        (0..3).for_each(|file| check(&a, &format!("far{file}"), 50 + file));
        (0..10).for_each(|file| check(&a, &format!("new{file}"), 10 + file));
        // One file larger than all the clean content: committed as it goes.
        let big = File::create(a.at("big")).unwrap();
        for part in 0..40 {
            big.write_all_at(&tree::version_bytes(part, MIB as usize), part * MIB).unwrap();
        }
        big.sync_all().unwrap();
        let mut read = Vec::new();
        File::open(b.at("big")).unwrap().read_to_end(&mut read).unwrap();
        for (part, bytes) in read.chunks(MIB as usize).enumerate() {
            assert_eq!(tree::version_of(bytes), Ok(part as u64));
        }
        std::fs::remove_file(filler).unwrap();
        w.say(
            "10 files and one of 40 MiB written, 17 read on a full cache disk, 0 refused, 0 torn",
        );
    });
}

/// Nothing can make way: every clean byte went before the other program took the rest.
#[test]
fn cache_disk_without_any_room_serves_reads_and_refuses_writes_honestly() {
    world::run(LIMIT, |w| {
        let (_server, disk, a, b) = beside_a_small_cache_disk(w);
        for file in 0..3 {
            write(&a, &format!("old{file}"), file).unwrap();
            write(&b, &format!("far{file}"), 50 + file).unwrap();
        }
        let filler = fill(&disk, 0);
        let refused = wait::until(Duration::from_secs(60), "a write to be refused", || {
            fill(&disk, 0);
            write(&a, "refused", 99).err()
        });
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC), "{refused}");
        fill(&disk, 0);
        (0..3).for_each(|file| check(&a, &format!("old{file}"), file));
        (0..3).for_each(|file| check(&a, &format!("far{file}"), 50 + file));
        std::fs::remove_file(filler).unwrap();
        write(&a, "after", 1).unwrap();
        check(&b, "after", 1);
        (0..3).for_each(|file| check(&a, &format!("old{file}"), file));
        w.say(
            "a cache disk without a free block: 6 files read, a write refused with ENOSPC, 0 lost",
        );
    });
}

#[test]
fn server_disk_that_is_full_refuses_writers_and_serves_readers() {
    world::run(LIMIT, |w| {
        let disk = w.small_disk("server-disk", 64);
        let server = w.server_builder().data(&disk.join("data")).start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        std::fs::write(a.at("old"), tree::version_bytes(1, 2_000_000)).unwrap();
        let filler = fill(&disk, 4096);
        let path = a.at("new");
        let error = wait::within(Duration::from_secs(60), "write to a full server", move || {
            let written = std::fs::File::create(path).and_then(|file| {
                file.write_all_at(&tree::version_bytes(2, 20_000_000), 0)?;
                file.sync_all()
            });
            written.unwrap_err()
        });
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        assert_eq!(tree::version_of(&std::fs::read(b.at("old")).unwrap()), Ok(1));
        assert_eq!(sys::look(&b.at("old")).unwrap().numbers[5], 2_000_000);
        std::fs::remove_file(filler).unwrap();
        let (path, other) = (a.at("later"), b.at("later"));
        wait::within(Duration::from_secs(60), "work with space again", move || {
            let text = "space is back";
            wait::until_true(Duration::from_secs(30), "a write to succeed", || {
                std::fs::write(&path, text).is_ok()
            });
            assert_eq!(std::fs::read_to_string(other).unwrap(), text);
        });
        w.say("the writer got ENOSPC, readers went on, space back means work goes on");
    });
}

/// What did not fit and has no name any more is nobody's: neither side keeps its bytes.
#[test]
fn removed_file_that_did_not_fit_at_the_server_is_let_go() {
    world::run(LIMIT, |w| {
        let disk = w.small_disk("server-disk", 64);
        let server = w.server_builder().data(&disk.join("data")).start();
        let mut a = w.mount(&server, "a");
        let filler = fill(&disk, 16 * MIB);
        let path = a.at("new");
        let error = wait::within(Duration::from_secs(60), "write to a full server", move || {
            let file = File::create(path).unwrap();
            file.write_all_at(&tree::version_bytes(2, 30_000_000), 0).unwrap();
            file.sync_all().unwrap_err()
        });
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        wait::until_true(Duration::from_secs(30), "what is left of the close", || {
            a.log().contains("cannot commit in the background")
        });
        std::fs::remove_file(a.at("new")).unwrap();
        let content = a.cache().join("data");
        wait::until_true(Duration::from_secs(30), "the unsaved bytes to be gone", || {
            sys::disk_usage(&content) < MIB
        });
        std::fs::remove_file(filler).unwrap();
        a.unmount();
        assert_eq!(std::fs::read_dir(a.cache().join("recovered")).unwrap().count(), 0);
    });
}

/// The disk is full to its last block, so that the log of the metadata cannot grow either.
#[test]
fn server_disk_without_any_room_refuses_changes_and_loses_none() {
    world::run(LIMIT, |w| {
        let disk = w.small_disk("server-disk", 64);
        let server = w.server_builder().data(&disk.join("data")).start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let mut there: BTreeSet<String> = (0..300).map(|n| format!("d{n}")).collect();
        there.iter().for_each(|name| std::fs::create_dir(a.at(name)).unwrap());
        write(&a, "old", 1).unwrap();
        assert!(server.stop().success());
        server.start();
        std::fs::create_dir(a.at("after the start")).unwrap();
        there.extend(["old".to_owned(), "after the start".to_owned()]);
        let filler = fill(&disk, 0);
        let folder = a.at("new");
        let refused = wait::within(Duration::from_secs(60), "mkdir on a full server", move || {
            std::fs::create_dir(folder).unwrap_err()
        });
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC), "{refused}");
        // What frees room goes on: the log of the metadata has room of its own.
        let removed: Vec<String> =
            there.iter().filter(|name| name.starts_with('d')).take(100).cloned().collect();
        for name in &removed {
            fill(&disk, 0);
            std::fs::remove_dir(a.at(name)).unwrap();
            there.remove(name);
        }
        let want: Vec<String> = there.iter().cloned().collect();
        assert_eq!(sys::names(b.path()).unwrap(), want, "readers go on");
        check(&b, "old", 1);
        std::fs::remove_file(filler).unwrap();
        let folder = a.at("later");
        wait::within(Duration::from_secs(60), "work with space again", move || {
            wait::until_true(Duration::from_secs(30), "a folder to be made", || {
                std::fs::create_dir(&folder).is_ok()
            });
        });
        there.insert("later".to_owned());
        let want: Vec<String> = there.into_iter().collect();
        assert_eq!(sys::names(b.path()).unwrap(), want);
        server.kill_and_restart();
        let fresh = w.mount(&server, "c");
        for mount in [&a, &b, &fresh] {
            assert_eq!(sys::names(mount.path()).unwrap(), want);
            check(mount, "old", 1);
        }
        w.say(format!(
            "a server disk without a free block: {} removals, {} names kept",
            removed.len(),
            want.len()
        ));
    });
}
