//! The cache on disk: its limit, a full disk below it, and bytes that rot in it (issue 8).

mod rot;

use dfs_tests::mount::Mount;
use dfs_tests::{fusectl, shell, sizes, sys, tree, wait, world};
use nix::libc;
use nix::mount::{MsFlags, mount};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
/// What the cache may exceed its limit by: one file in flight, the index and the journals.
const OVERHEAD: u64 = 8 * MIB;

/// A small disk of its own: a tmpfs cleared with the test.
fn small_disk(w: &world::World, name: &str, mib: u64) -> PathBuf {
    let path = w.folder(name).canonicalize().unwrap();
    w.left().mount(&path);
    let size = format!("size={mib}m");
    mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
    assert!(fusectl::mounted(&path).is_some());
    path
}

/// Fills a disk but for `left` bytes.
fn fill(disk: &Path, left: u64) -> PathBuf {
    let stat = nix::sys::statvfs::statvfs(disk).unwrap();
    let free = stat.blocks_available() * stat.fragment_size();
    let filler = disk.join("filler");
    let file = std::fs::File::create(&filler).unwrap();
    let mut at = 0;
    while at + left < free {
        let length = MIB.min(free - left - at);
        if file.write_all_at(&vec![1; length as usize], at).is_err() {
            break;
        }
        at += length;
    }
    filler
}

#[test]
fn cache_stays_within_its_limit() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let small = format!("cache_size={}m", sizes::CACHE_MIB);
        let a = w.mount_builder(&server, "a").option(&small).start();
        let b = w.mount_builder(&server, "b").option(&small).start();
        let limit = sizes::CACHE_MIB * MIB + OVERHEAD;
        let files = 24;
        let each = (3 * sizes::CACHE_MIB * MIB / files) as usize;
        let mut most = 0;
        let mut look = |mount: &Mount, what: &str| {
            let used = sys::disk_usage(mount.cache());
            most = most.max(used);
            assert!(used <= limit, "{} MiB in the cache after {what}", used / MIB);
        };
        for file in 0..files {
            std::fs::write(a.at(format!("f{file}")), tree::version_bytes(file, each)).unwrap();
            look(&a, "a write");
        }
        for round in 0..2 {
            for file in 0..files {
                let read = std::fs::read(b.at(format!("f{file}"))).unwrap();
                assert_eq!(
                    (tree::version_of(&read), read.len()),
                    (Ok(file), each),
                    "round {round}"
                );
                look(&b, "a read");
            }
        }
        w.say(format!(
            "{} MiB written and read twice, at most {} MiB in a cache of {}",
            3 * sizes::CACHE_MIB,
            most / MIB,
            sizes::CACHE_MIB
        ));
    });
}

#[test]
fn cache_smaller_than_a_file_serves_it() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let small = format!("cache_size={}m", sizes::CACHE_MIB);
        let a = w.mount_builder(&server, "a").option(&small).start();
        let b = w.mount_builder(&server, "b").option(&small).start();
        let length = 2 * sizes::CACHE_MIB * MIB;
        let block = |at: u64| tree::version_bytes(at / MIB, MIB as usize);
        let file = std::fs::File::create(a.at("big")).unwrap();
        for at in (0..length).step_by(MIB as usize) {
            file.write_all_at(&block(at), at).unwrap();
        }
        drop(file);
        for mount in [&b, &a] {
            let file = std::fs::File::open(mount.at("big")).unwrap();
            assert_eq!(file.metadata().unwrap().len(), length);
            for at in (0..length).step_by(MIB as usize) {
                let mut bytes = vec![0; MIB as usize];
                file.read_exact_at(&mut bytes, at).unwrap();
                assert!(bytes == block(at), "block at {at}");
            }
            let used = sys::disk_usage(mount.cache());
            assert!(used <= sizes::CACHE_MIB * MIB + OVERHEAD, "{} MiB in the cache", used / MIB);
        }
        w.say(format!("{} MiB through a cache of {} MiB", length / MIB, sizes::CACHE_MIB));
    });
}

#[test]
fn cache_disk_that_is_full_loses_nothing() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let disk = small_disk(w, "cache-disk", 96);
        let a =
            w.mount_builder(&server, "a").cache(&disk.join("c")).option("cache_size=64m").start();
        let b = w.mount(&server, "b");
        std::fs::write(a.at("before"), vec![7; 1_000_000]).unwrap();
        let filler = fill(&disk, 256 * 1024);
        // Small work goes on by evicting, or fails with an honest ENOSPC; nothing is torn.
        let mut failed = 0;
        for file in 0..10u64 {
            let path = a.at(format!("f{file}"));
            match std::fs::write(&path, tree::version_bytes(file, 3_000_000)) {
                Ok(()) => {
                    let read = std::fs::read(b.at(format!("f{file}"))).unwrap();
                    assert_eq!((tree::version_of(&read), read.len()), (Ok(file), 3_000_000));
                }
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
                    failed += 1;
                }
            }
        }
        std::fs::remove_file(filler).unwrap();
        let path = a.at("after");
        std::fs::write(&path, tree::version_bytes(1, 3_000_000)).unwrap();
        assert_eq!(tree::version_of(&std::fs::read(b.at("after")).unwrap()), Ok(1));
        assert_eq!(std::fs::read(a.at("before")).unwrap(), vec![7; 1_000_000]);
        w.say(format!("10 writes on a full cache disk, {failed} refused with ENOSPC, 0 torn"));
    });
}

#[test]
fn server_disk_that_is_full_refuses_writers_and_serves_readers() {
    world::run(LIMIT, |w| {
        let disk = small_disk(w, "server-disk", 64);
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

#[test]
fn cache_survives_a_remount() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let files = 200;
        shell::script(
            Duration::from_secs(120),
            a.path(),
            &format!(
                "mkdir d; cd d; for i in $(seq {files}); do head -c 20000 /dev/zero > f$i; done"
            ),
        );
        a.unmount();
        a.again();
        let read = |n: u32| std::fs::read(a.at(format!("d/f{n}"))).unwrap().len();
        let (_, calls) = dfs_tests::budget::of(&server, || {
            (1..=files).for_each(|n| assert_eq!(read(n), 20_000))
        });
        let content = calls.get("object_read").copied().unwrap_or(0);
        assert_eq!(content, 0, "content came again from the server: {calls:?}");
        w.say(format!(
            "{files} files read after a remount, content from the cache, calls {calls:?}"
        ));
    });
}
