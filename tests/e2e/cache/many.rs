//! A cache of very many files.

use dfs_client::cache::Cache;
use dfs_core::Ino;
use dfs_tests::{budget, sys, tree, wait, world};
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(600);
const FILES: u64 = 100_000;
/// Inode numbers that the server of the test never reaches.
const FIRST: u64 = 1 << 40;
/// It takes under a second; the machine may be busy.
const MOUNT_WITHIN: Duration = Duration::from_secs(30);

/// The cache that a daemon has just left: it may outlive its mount for a moment.
fn open(folder: &Path) -> Cache {
    wait::until(LIMIT, "the daemon to leave its cache", || Cache::open(folder, u64::MAX / 2).ok())
}

/// Puts files into a cache folder as a mount would that read them all.
fn fill(folder: &Path) {
    let cache = open(folder);
    for ino in FIRST..FIRST + FILES {
        let file = cache.open_file(Ino(ino), 1, 100).unwrap();
        assert!(file.fill(1, 0, &[7; 100]).unwrap());
    }
    cache.persist().unwrap();
    assert!(cache.stats().files as u64 >= FILES);
}

#[test]
fn cache_of_a_hundred_thousand_files_mounts_at_once() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount_builder(&server, "a").option("cache_size=4g").start();
        for n in 0..20 {
            std::fs::write(a.at(format!("f{n}")), vec![n; 20_000]).unwrap();
        }
        a.unmount();
        fill(a.cache());
        let began = Instant::now();
        a.again();
        let names = sys::names(a.path()).unwrap();
        let took = began.elapsed();
        assert_eq!(names.len(), 20);
        assert!(took < MOUNT_WITHIN, "{took:.1?}");
        let read = || {
            (0..20).for_each(|n| {
                assert_eq!(std::fs::read(a.at(format!("f{n}"))).unwrap(), [n; 20_000])
            })
        };
        let (_, calls) = budget::of(&server, read);
        assert_eq!(calls.get("object_read"), None, "content is here: {calls:?}");
        a.unmount();
        assert_eq!(open(a.cache()).stats().files as u64, FILES + 20, "files were forgotten");
        w.say(format!("{FILES} cached files: mounted and listed in {took:.2?}"));
    });
}

#[test]
fn cache_of_more_files_than_a_shell_may_open_serves_them() {
    const FILES: u64 = 1500;
    world::run(LIMIT, |w| {
        let server = w.server();
        let mount = w.mount_builder(&server, "a").descriptors("1024:").start();
        // Too large for the index.
        let content = |n: u64| tree::version_bytes(n, 66_000);
        let path = |n: u64| mount.at(n.to_string());
        (0..FILES).for_each(|n| std::fs::write(path(n), content(n)).unwrap());
        for n in 0..FILES {
            assert!(std::fs::read(path(n)).unwrap() == content(n), "{n}");
        }
        w.say(format!(
            "{FILES} files written and read by a daemon that was allowed 1024 open files"
        ));
    });
}
