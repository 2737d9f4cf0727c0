//! The cache on disk: its limit, full disks below it and below the server, bytes that rot in it
//! (issue 8).

mod full;
mod many;
mod rot;

use dfs_tests::mount::Mount;
use dfs_tests::{shell, sizes, sys, tree, world};
use std::os::unix::fs::FileExt;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
/// What the cache may exceed its limit by: one file in flight, the index and the journals.
const OVERHEAD: u64 = 8 * MIB;

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
