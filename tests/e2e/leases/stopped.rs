//! A client that stands still delays others for a bounded time and can do no harm when it wakes up
//! (PROTOCOL G7, G8, 2.3).

use dfs_tests::mount::Mount;
use dfs_tests::{sys, tree, wait, world};
use nix::libc;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);
/// A lapse (15 s and the clock margins) or the guaranteed term and the recall without progress
/// (5 s + 10 s), and what a busy machine may add.
const BOUND: Duration = Duration::from_secs(30);
/// Coming back: one connection, the list of what was lost, the rescue of what was not.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Writes to `name` on `mount` in a task, and gives the time it took.
fn write_beside_a_stopped_holder(mount: &Mount, name: &str) -> Duration {
    let path = mount.at(name);
    let write = wait::start("write of the other mount", move || {
        let file = sys::open(&path, libc::O_WRONLY).unwrap();
        file.write_all_at(b"BBBB", 0).unwrap();
        file.sync_all().unwrap();
    });
    write.timed_within(BOUND).1
}

#[test]
fn stopped_holder_loses_its_lease_and_its_late_bytes_are_saved_aside() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), b"base content").unwrap();
        let held = sys::open(&a.at("f"), libc::O_WRONLY).unwrap();
        held.write_all_at(b"late", 5).unwrap();
        a.daemon().stop();
        let waited = write_beside_a_stopped_holder(&b, "f");
        a.daemon().resume();
        let late = wait::within(BACK_WITHIN, "late fsync", move || {
            let first = held.sync_all().unwrap_err();
            (sys::errno(first), held.write_at(b"later", 0).is_err())
        });
        assert_eq!(late.0, libc::EIO, "the late fsync");
        let read = |mount: &Mount| {
            let path = mount.at("f");
            wait::within(BACK_WITHIN, "read", move || std::fs::read(path).unwrap())
        };
        assert_eq!(read(&b), b"BBBB content");
        assert_eq!(read(&a), b"BBBB content");
        let saved = tree::containing(&a.cache().join("recovered"), b"base late");
        assert!(
            !saved.is_empty(),
            "no copy of the late bytes in {:?}",
            a.cache().join("recovered")
        );
        w.say(format!("the other wrote after {waited:.1?}; late bytes refused, EIO, saved aside"));
    });
}

#[test]
fn stopped_holder_of_names_delays_changes_for_a_bounded_time() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), b"x").unwrap();
        sys::look(&a.at("f")).unwrap();
        a.daemon().stop();
        let path = b.at("f");
        let remove = wait::start("unlink", move || std::fs::remove_file(path).unwrap());
        let waited = remove.timed_within(BOUND).1;
        let path = a.at("f");
        let look = wait::start("stat on the stopped mount", move || sys::look(&path));
        a.daemon().resume();
        assert_eq!(look.within(BACK_WITHIN).unwrap_err(), libc::ENOENT, "the name is gone");
        assert!(!a.at("f").exists());
        w.say(format!("unlink took {waited:.1?}; the stopped mount shows no stale name"));
    });
}

#[test]
fn stopped_holder_without_conflict_loses_nothing() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), b"base content").unwrap();
        let held = sys::open(&a.at("f"), libc::O_WRONLY).unwrap();
        held.write_all_at(b"LATE", 5).unwrap();
        a.daemon().stop();
        let stopped = std::time::Instant::now();
        wait::until_true(LIMIT, "the session to lapse", || {
            stopped.elapsed() > Duration::from_secs(20)
        });
        a.daemon().resume();
        wait::within(BACK_WITHIN, "fsync after a lapse", move || held.sync_all().unwrap());
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"base LATEent");
        w.say("a lapse of 20 s without conflict: the unsaved bytes were committed");
    });
}
