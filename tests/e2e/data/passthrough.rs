//! Large files that the kernel reads from the cache by itself (`docs/design/0016`).

use dfs_tests::mapping::{Mapping, Sharing};
use dfs_tests::mount::Mount;
use dfs_tests::{sys, tree, wait, world};
use nix::libc;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);
/// What a reader may take to see what another mount saved.
const SOON: Duration = Duration::from_secs(20);
const LENGTH: usize = 3 << 20;

/// Opens a file that is wholly in the cache. An open waits for the handle before it, though not long: on
/// a busy machine it may take another one.
fn reader(mount: &Mount, name: &str) -> File {
    std::fs::read(mount.at(name)).unwrap();
    wait::until(SOON, "a reader whom the kernel serves by itself", || {
        let file = File::open(mount.at(name)).unwrap();
        is_served_by_the_kernel(mount, &file).then_some(file)
    })
}

/// Whether a read is answered while the daemon is stopped. What it reads is in nobody's memory but
/// the working file's: the kernel drops the pages of its own before.
fn is_served_by_the_kernel(mount: &Mount, file: &File) -> bool {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let daemon = mount.daemon();
    daemon.stop();
    let copy = file.try_clone().unwrap();
    let read = wait::start("a read past the daemon", move || {
        let mut bytes = [0; 4096];
        copy.read_exact_at(&mut bytes, 1 << 20).unwrap();
        // Closed later: that asks the daemon.
        copy
    });
    let served = read.ends_within(Duration::from_secs(1));
    daemon.resume();
    if served.is_none() {
        read.within(SOON);
    }
    served.is_some()
}

fn at(file: &File, place: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, place).unwrap();
    bytes
}

fn write_at(path: &Path, place: u64, bytes: &[u8]) {
    sys::open(path, libc::O_WRONLY).unwrap().write_all_at(bytes, place).unwrap();
}

#[test]
fn passthrough_reads_go_on_while_the_daemon_is_stopped() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        std::fs::write(a.at("f"), tree::version_bytes(1, LENGTH)).unwrap();
        drop(reader(&a, "f"));
        let off = w.mount_builder(&server, "off").option("passthrough=off").start();
        std::fs::read(off.at("f")).unwrap();
        let file = File::open(off.at("f")).unwrap();
        assert!(!is_served_by_the_kernel(&off, &file), "passthrough=off");
        w.say("read while stopped with passthrough=on only");
    });
}

#[test]
fn passthrough_reader_and_its_mapping_see_what_another_mount_saves_in_place() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), vec![b'o'; LENGTH]).unwrap();
        let file = reader(&b, "f");
        let mapping = Mapping::new(&file, LENGTH, Sharing::Shared, true).unwrap();
        assert_eq!(mapping.get(70_000, 4), b"oooo");
        write_at(&a.at("f"), 70_000, b"news");
        assert_eq!(std::fs::read(b.at("f")).unwrap()[69_999..70_005], *b"onewso", "a new open");
        assert_eq!(
            at(&file, 69_999, 6),
            b"onewso",
            "the open reader, once a new open was answered"
        );
        assert_eq!(mapping.get(69_999, 6), b"onewso", "its mapping");
        // Everything is another one, and there is more of it.
        let longer = vec![b'n'; 2 * LENGTH];
        let over = sys::open(&a.at("f"), libc::O_WRONLY | libc::O_TRUNC).unwrap();
        over.write_all_at(&longer, 0).unwrap();
        drop(over);
        wait::until_true(SOON, "the open reader follows", || {
            // It grows with what arrives.
            let mut bytes = vec![0; 2 * LENGTH];
            file.read_exact_at(&mut bytes, 0).is_ok() && bytes == longer
        });
        wait::until_true(SOON, "a mapping follows", || mapping.get(0, LENGTH) == longer[..LENGTH]);
        // Shorter than the mapping: what is left of it can be read.
        sys::open(&a.at("f"), libc::O_WRONLY).unwrap().set_len(1 << 20).unwrap();
        assert_eq!(std::fs::read(b.at("f")).unwrap().len(), 1 << 20);
        assert_eq!(mapping.get((1 << 20) - 4, 4), b"nnnn");
        assert_eq!(file.read_at(&mut [0; 10], 1 << 20).unwrap(), 0);
        w.say("changed in place, replaced, made longer and shorter under a reader");
    });
}

#[test]
fn passthrough_reader_beside_writers_of_its_mount_sees_every_write() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), vec![b'o'; LENGTH]).unwrap();
        let file = reader(&a, "f");
        let only = sys::open(&a.at("f"), libc::O_WRONLY).unwrap();
        only.write_all_at(b"one", 100).unwrap();
        assert_eq!(at(&file, 99, 5), b"oone"[..].iter().chain(b"o").copied().collect::<Vec<_>>());
        let both = sys::open(&a.at("f"), libc::O_RDWR).unwrap();
        both.write_all_at(b"two", 200_000).unwrap();
        assert_eq!(at(&both, 200_000, 3), b"two");
        assert_eq!(at(&both, 100, 3), b"one");
        assert_eq!(at(&file, 200_000, 3), b"two");
        let end = sys::open(&a.at("f"), libc::O_WRONLY | libc::O_APPEND).unwrap();
        std::io::Write::write_all(&mut &end, b"end").unwrap();
        assert_eq!(at(&file, LENGTH as u64, 3), b"end", "what tail -f waits for");
        assert_eq!(file.metadata().unwrap().len(), LENGTH as u64 + 3);
        drop((only, both, end));
        let there = std::fs::read(b.at("f")).unwrap();
        assert_eq!(there.len(), LENGTH + 3);
        assert_eq!((&there[100..103], &there[200_000..200_003]), (&b"one"[..], &b"two"[..]));
        assert_eq!(there[LENGTH..], *b"end");
        w.say("written in place, through both kinds of handles, and appended");
    });
}

#[test]
fn passthrough_stores_of_a_mapping_beside_a_reader_are_on_the_other_mount_after_close() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), vec![b'o'; LENGTH]).unwrap();
        let file = reader(&a, "f");
        let both = sys::open(&a.at("f"), libc::O_RDWR).unwrap();
        let mut mapping = Mapping::new(&both, LENGTH, Sharing::Shared, false).unwrap();
        mapping.put(300_000, b"stored");
        assert_eq!(at(&file, 300_000, 6), b"stored", "the reader beside it");
        assert_eq!(at(&both, 300_000, 6), b"stored", "a read of the same handle");
        both.sync_all().unwrap();
        assert_eq!(std::fs::read(b.at("f")).unwrap()[299_999..300_007], *b"ostoredo", "fsync");
        // Into the same page again, beside a write to the same block, and a write of the other mount.
        mapping.put(300_010, b"again");
        both.write_all_at(b"write", 300_100).unwrap();
        drop(both);
        let there = std::fs::read(b.at("f")).unwrap();
        assert_eq!(
            (&there[300_010..300_015], &there[300_100..300_105]),
            (&b"again"[..], &b"write"[..])
        );
        write_at(&b.at("f"), 2_000_000, b"other");
        // Nobody has a handle any more: the last stores are saved by themselves.
        mapping.put(300_020, b"last");
        wait::until_true(Duration::from_secs(20), "stores without a handle", || {
            std::fs::read(b.at("f")).unwrap()[300_020..300_024] == *b"last"
        });
        assert_eq!(std::fs::read(b.at("f")).unwrap()[2_000_000..2_000_005], *b"other");
        assert_eq!(mapping.get(2_000_000, 5), b"other");
        assert_eq!(std::fs::read(a.at("f")).unwrap(), std::fs::read(b.at("f")).unwrap());
        w.say("stores saved by fsync, by close and by themselves");
    });
}

#[test]
fn passthrough_reader_keeps_a_file_that_is_unlinked_replaced_or_truncated() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let old = tree::version_bytes(1, LENGTH);
        for name in ["unlinked", "replaced", "here"] {
            std::fs::write(a.at(name), &old).unwrap();
        }
        let open = ["unlinked", "replaced", "here"].map(|name| reader(&b, name));
        std::fs::remove_file(a.at("unlinked")).unwrap();
        std::fs::write(a.at("new"), b"new").unwrap();
        std::fs::rename(a.at("new"), a.at("replaced")).unwrap();
        std::fs::remove_file(b.at("here")).unwrap();
        for file in &open {
            assert!(at(file, 0, LENGTH) == old);
        }
        assert_eq!(std::fs::read(b.at("replaced")).unwrap(), b"new");
        std::fs::write(b.at("cut"), &old).unwrap();
        let file = reader(&b, "cut");
        sys::open(&b.at("cut"), libc::O_WRONLY).unwrap().set_len(10).unwrap();
        assert_eq!(file.read_at(&mut [0; 100], 0).unwrap(), 10);
        w.say("read to the end after their names were gone");
    });
}

#[test]
fn passthrough_readers_and_mappings_keep_their_bytes_when_the_cache_is_full() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let b = w.mount_builder(&server, "b").option("cache_size=64m").start();
        for file in 0..30 {
            std::fs::write(a.at(format!("f{file}")), tree::version_bytes(file, 4 << 20)).unwrap();
        }
        let file = reader(&b, "f0");
        let closed = reader(&b, "f1");
        let mapping = Mapping::new(&closed, 4 << 20, Sharing::Shared, true).unwrap();
        drop(closed);
        for file in 2..30 {
            let read = std::fs::read(b.at(format!("f{file}"))).unwrap();
            assert_eq!(tree::version_of(&read), Ok(file));
        }
        assert_eq!(tree::version_of(&at(&file, 0, 4 << 20)), Ok(0), "an open reader");
        assert_eq!(tree::version_of(&mapping.get(0, 4 << 20)), Ok(1), "a mapping that is left");
        assert!(sys::disk_usage(b.cache()) <= 72 << 20, "the cache keeps its limit");
        w.say("120 MiB through a cache of 64 beside a reader and a mapping");
    });
}

#[test]
fn passthrough_begins_anew_after_the_daemon_was_killed() {
    world::run_alone(LIMIT, |w| {
        let (_server, mut a, b) = w.two_mounts();
        std::fs::write(a.at("f"), tree::version_bytes(1, LENGTH)).unwrap();
        drop(reader(&a, "f"));
        a.kill();
        a.again();
        assert_eq!(tree::version_of(&std::fs::read(a.at("f")).unwrap()), Ok(1));
        let file = reader(&a, "f");
        std::fs::write(b.at("f"), tree::version_bytes(2, LENGTH)).unwrap();
        assert_eq!(tree::version_of(&std::fs::read(a.at("f")).unwrap()), Ok(2));
        assert_eq!(tree::version_of(&at(&file, 0, LENGTH)), Ok(2));
        // What is stored past a daemon that dies before it looks is saved by the next one.
        let both = sys::open(&a.at("f"), libc::O_RDWR).unwrap();
        let mut mapping = Mapping::new(&both, LENGTH, Sharing::Shared, false).unwrap();
        mapping.put(1_000_000, b"stored");
        a.kill();
        drop((mapping, both, file));
        a.again();
        wait::until_true(Duration::from_secs(60), "the store of before", || {
            std::fs::read(b.at("f")).unwrap()[1_000_000..1_000_006] == *b"stored"
        });
        w.say("killed, mounted again, read by the kernel again, nothing lost");
    });
}
