//! The client's daemon is killed with unsaved files, alone or together with the server.

use dfs_tests::{sizes, sys, tree, wait, world};
use nix::libc;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn kills_of_the_client_lose_nothing_acknowledged() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let b = w.mount(&server, "b");
        let mut random = w.random(1);
        let kills = sizes::client_kills();
        for round in 0..kills {
            let saved = tree::random_bytes(&mut random, 100_000);
            let closed = tree::random_bytes(&mut random, 5_000);
            let unsaved = tree::random_bytes(&mut random, 30_000);
            let file = sys::open(&a.at(format!("s{round}")), libc::O_RDWR | libc::O_CREAT).unwrap();
            file.write_all_at(&saved, 0).unwrap();
            file.sync_all().unwrap();
            std::fs::write(a.at(format!("c{round}")), &closed).unwrap();
            let dirty =
                sys::open(&a.at(format!("u{round}")), libc::O_RDWR | libc::O_CREAT).unwrap();
            dirty.write_all_at(&unsaved, 0).unwrap();
            // Made in a directory of its own, and not told yet (docs/design/0025).
            std::fs::create_dir(a.at(format!("d{round}"))).unwrap();
            let ahead = std::fs::File::create_new(a.at(format!("d{round}/new"))).unwrap();
            let ahead2 = std::fs::File::create_new(a.at(format!("d{round}/empty"))).unwrap();
            ahead.write_all_at(&unsaved, 0).unwrap();
            a.kill();
            drop((file, dirty, ahead, ahead2));
            // The dead mount is cleared by the next one.
            a.again();
            for mount in [&a, &b] {
                assert!(std::fs::read(mount.at(format!("s{round}"))).unwrap() == saved);
                assert!(std::fs::read(mount.at(format!("c{round}"))).unwrap() == closed);
            }
            assert!(std::fs::read(b.at(format!("d{round}/empty"))).unwrap().is_empty());
            // Nobody else wrote it: the unsaved bytes are committed after the remount.
            for name in [format!("u{round}"), format!("d{round}/new")] {
                let (path, unsaved) = (b.at(name), unsaved.clone());
                wait::within(BACK_WITHIN, "rescue", move || {
                    wait::until_true(BACK_WITHIN, "the unsaved bytes to be rescued", || {
                        std::fs::read(&path).unwrap() == unsaved
                    })
                });
            }
        }
        w.say(format!("{kills} kills of the daemon: fsync and close kept, unsaved bytes rescued"));
    });
}

#[test]
fn kills_of_client_and_server_together_lose_nothing_acknowledged() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let mut random = w.random(1);
        let kills = sizes::client_kills();
        for round in 0..kills {
            let saved = tree::random_bytes(&mut random, 700_000);
            let file = sys::open(&a.at("f"), libc::O_RDWR | libc::O_CREAT).unwrap();
            file.write_all_at(&saved, 0).unwrap();
            file.sync_all().unwrap();
            std::fs::create_dir(a.at(format!("d{round}"))).unwrap();
            file.write_all_at(b"not saved", 1_000).unwrap();
            server.kill();
            a.kill();
            drop(file);
            server.start();
            a.again();
            let (path, folder) = (a.at("f"), a.at(format!("d{round}")));
            let read = wait::within(BACK_WITHIN, "read", move || {
                assert!(folder.is_dir());
                std::fs::read(path).unwrap()
            });
            assert_eq!(read.len(), saved.len());
            assert!(read[..1_000] == saved[..1_000] && read[1_009..] == saved[1_009..]);
            let patch = &read[1_000..1_009];
            assert!(patch == b"not saved" || patch == &saved[1_000..1_009]);
        }
        w.say(format!("{kills} kills of both: fsync and mkdir kept"));
    });
}

/// What was uploaded ahead of a commit that never came is of no use; the bytes are in the cache.
#[test]
fn killed_client_in_the_middle_of_uploads_has_its_bytes_rescued() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let b = w.mount(&server, "b");
        let bytes = tree::random_bytes(&mut w.random(1), 26 << 20);
        let file = sys::open(&a.at("f"), libc::O_RDWR | libc::O_CREAT).unwrap();
        for (n, part) in bytes.chunks(1 << 20).enumerate() {
            file.write_all_at(part, (n << 20) as u64).unwrap();
        }
        let objects = server.data().join("objects");
        wait::until_true(BACK_WITHIN, "uploads without a commit", || {
            !tree::containing(&objects, &bytes[..4096]).is_empty()
        });
        a.kill();
        drop(file);
        a.again();
        let (here, there) = (a.at("f"), b.at("f"));
        wait::within(BACK_WITHIN, "rescue", move || {
            wait::until_true(BACK_WITHIN, "the unsaved bytes to be rescued", || {
                std::fs::read(&there).unwrap() == bytes
            });
            assert!(std::fs::read(&here).unwrap() == bytes);
        });
    });
}

#[test]
fn killed_client_with_a_conflict_keeps_its_bytes_aside() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let b = w.mount(&server, "b");
        let mut base = vec![b'.'; 200_000];
        base.extend_from_slice(b"end of the base");
        std::fs::create_dir(a.at("d")).unwrap();
        std::fs::write(a.at("d/f"), &base).unwrap();
        // What is local of the base is noted once a second. What is not comes aside as zeros; the
        // manifest says which.
        let written = Instant::now();
        wait::until_true(BACK_WITHIN, "the cache's index to be written", || {
            written.elapsed() > Duration::from_millis(2500)
        });
        let dirty = sys::open(&a.at("d/f"), libc::O_WRONLY).unwrap();
        dirty.write_all_at(b"lost?", 0).unwrap();
        a.kill();
        drop(dirty);
        let path = b.at("d/f");
        wait::within(BACK_WITHIN, "write of the other mount", move || {
            let file = sys::open(&path, libc::O_WRONLY).unwrap();
            file.write_all_at(b"newer", 0).unwrap();
            file.sync_all().unwrap();
        });
        a.again();
        let path = a.at("d/f");
        let read = wait::within(BACK_WITHIN, "read", move || std::fs::read(path).unwrap());
        assert!(read.starts_with(b"newer.") && read.len() == base.len());
        let recovered = a.cache().join("recovered");
        let data = wait::until(BACK_WITHIN, "a copy in the recovery area", || {
            let found = tree::containing(&recovered, b"lost?");
            found.into_iter().find(|path| path.with_extension("txt").exists())
        });
        // The write has cut its block; the rest of it is there all the same.
        let mut want = base.clone();
        want[..5].copy_from_slice(b"lost?");
        assert!(std::fs::read(&data).unwrap() == want, "not base and work");
        let manifest = std::fs::read_to_string(data.with_extension("txt")).unwrap();
        assert!(manifest.contains("path = /d/f\n"), "{manifest}");
        assert!(manifest.contains(&format!("local = 0-{}\n", base.len())), "{manifest}");
        w.say("1 conflict after a kill: newer content stays, unsaved bytes are aside");
    });
}
