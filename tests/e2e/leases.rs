//! Write leases between two mounts (PROTOCOL 4.1).

mod stopped;

use dfs_tests::load;
use dfs_tests::mount::Mount;
use dfs_tests::{programs, shell, sizes, sys, wait, world};
use nix::libc;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(180);
/// The guaranteed term `G`.
const TERM: Duration = Duration::from_secs(5);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(8);

fn open_for_write(mount: &Mount, name: &str) -> wait::Task<File> {
    let path = mount.at(name);
    wait::start("open for write", move || sys::open(&path, libc::O_WRONLY).unwrap())
}

#[test]
fn lease_goes_to_the_waiter_at_close() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let mut first = File::create(a.at("f")).unwrap();
        first.write_all(b"from a").unwrap();
        let second = open_for_write(&b, "f");
        second.must_wait(Duration::from_secs(2));
        first.write_all(b", all of it").unwrap();
        drop(first);
        let closed = Instant::now();
        let file = second.within(Duration::from_secs(3));
        let waited = closed.elapsed();
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"from a, all of it");
        file.write_all_at(b"FROM", 0).unwrap();
        drop(file);
        assert_eq!(std::fs::read(a.at("f")).unwrap(), b"FROM a, all of it");
        w.say(format!("1 waiter, served {waited:.0?} after the close"));
    });
}

/// The lease is kept after a close. Work that begins under it has a guaranteed term of its own,
/// though the one of the grant is long over.
#[test]
fn lease_kept_after_a_close_has_a_guaranteed_term_for_the_next_writer() {
    world::run_alone(LIMIT, |w| {
        let (server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), b"old").unwrap();
        let granted = Instant::now();
        wait::until_true(LIMIT, "the term of the grant to end", || {
            granted.elapsed() > TERM + Duration::from_millis(1500)
        });
        let (first, calls) =
            dfs_tests::budget::of(&server, || sys::open(&a.at("f"), libc::O_WRONLY).unwrap());
        assert_eq!(calls.get("acquire"), None, "the lease is here: {calls:?}");
        first.write_all_at(b"half ", 0).unwrap();
        let second = open_for_write(&b, "f");
        second.must_wait(TERM - Duration::from_secs(2));
        first.write_all_at(b"whole", 5).unwrap();
        let (second, waited) = second.timed_within(TERM + SLACK);
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"half whole");
        drop((first, second));
        w.say(format!("1 waiter, served after {waited:.1?}, with the writer's handle still open"));
    });
}

#[test]
fn lease_goes_to_the_waiter_after_the_guaranteed_term() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let first = File::create(a.at("f")).unwrap();
        first.write_all_at(b"unsaved bytes of a", 0).unwrap();
        let second = open_for_write(&b, "f");
        let busy = Instant::now();
        // Work in progress: the term is guaranteed while it lasts.
        while busy.elapsed() < TERM - Duration::from_secs(2) {
            first.write_all_at(b"unsaved", 0).unwrap();
            std::thread::park_timeout(Duration::from_millis(100));
        }
        second.must_wait(Duration::from_millis(1));
        let (file, waited) = second.timed_within(TERM + SLACK);
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"unsaved bytes of a", "committed first");
        file.write_all_at(b"BB", 0).unwrap();
        drop(file);
        // The handle of a lives on, on the newest version.
        wait::within(TERM + SLACK, "a's next write", move || {
            first.write_all_at(b"AA", 2).unwrap();
            first.sync_all().unwrap();
        });
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"BBAAved bytes of a");
        w.say(format!("taken after {waited:.1?} with the holder's bytes; its handle went on"));
    });
}

#[test]
fn lease_nonblocking_open_says_wouldblock_at_once() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let mut first = File::create(a.at("f")).unwrap();
        first.write_all(b"x").unwrap();
        let path = b.at("f");
        let (error, took) = wait::start("nonblocking open", move || {
            sys::open(&path, libc::O_WRONLY | libc::O_NONBLOCK).unwrap_err()
        })
        .timed_within(Duration::from_secs(3));
        assert_eq!(sys::errno(error), libc::EWOULDBLOCK);
        drop(first);
        // Without recall: the lease is free once its idle holder has given it back.
        let idle = dfs_core::limits::LEASE_IDLE + SLACK;
        wait::until_true(idle, "a nonblocking open", || {
            sys::open(&b.at("f"), libc::O_WRONLY | libc::O_NONBLOCK).is_ok()
        });
        w.say(format!("refused after {took:.0?}, given when free"));
    });
}

#[test]
fn lease_wait_ends_with_busy() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let b = w.mount_builder(&server, "b").option("lease_wait=2").start();
        let mut first = File::create(a.at("f")).unwrap();
        first.write_all(b"x").unwrap();
        let path = b.at("f");
        let (error, took) =
            wait::start("open", move || sys::open(&path, libc::O_WRONLY).unwrap_err())
                .timed_within(Duration::from_secs(2) + SLACK);
        assert_eq!(sys::errno(error), libc::EBUSY);
        assert!(took > Duration::from_millis(1500), "gave up after {took:?}");
        w.say(format!("gave up after {took:.1?} with lease_wait=2"));
    });
}

#[test]
fn lease_of_read_write_opens_is_as_the_option_says() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let lazy = w.mount(&server, "b");
        let eager = w.mount_builder(&server, "c").option("rdwr_lease=open").start();
        let mut first = File::create(a.at("f")).unwrap();
        first.write_all(b"saved").unwrap();
        first.sync_all().unwrap();
        first.write_all(b", unsaved").unwrap();
        let path = lazy.at("f");
        let mut second = wait::within(Duration::from_secs(3), "lazy open", move || {
            sys::open(&path, libc::O_RDWR).unwrap()
        });
        let mut text = String::new();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "saved");
        let path = eager.at("f");
        let third = wait::start("eager open", move || sys::open(&path, libc::O_RDWR).unwrap());
        third.must_wait(Duration::from_secs(2));
        drop(first);
        drop(third.within(TERM + SLACK));
        wait::within(TERM + SLACK, "write of the lazy one", move || {
            second.write_all_at(b"SAVED", 0).unwrap();
        });
        assert_eq!(std::fs::read(a.at("f")).unwrap(), b"SAVED, unsaved");
        w.say("rdwr_lease=try opens beside a writer, rdwr_lease=open waits");
    });
}

#[test]
fn lease_rwlock_makes_readers_wait_for_the_writer() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mount = |name| w.mount_builder(&server, name).option("rwlock=on").start();
        let (a, b) = (mount("a"), mount("b"));
        let mut first = File::create(a.at("f")).unwrap();
        first.write_all(b"half").unwrap();
        let path = b.at("f");
        let reader = wait::start("open for read", move || {
            let mut text = String::new();
            File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        reader.must_wait(Duration::from_secs(2));
        first.write_all(b" and half").unwrap();
        drop(first);
        assert_eq!(reader.within(TERM + SLACK), "half and half");
        w.say("1 reader waited for the writer's close");
    });
}

#[test]
fn appends_of_two_mounts_are_all_there_and_whole() {
    world::run(Duration::from_secs(1200), |w| {
        let (_server, a, b) = w.two_mounts();
        let lines = sizes::appended_lines();
        File::create(a.at("log")).unwrap();
        let append = |mount: &Mount, tag: &str, how: &str| {
            let mut command = Command::new(programs::ours("dfs-test-load"));
            command.arg("append").arg(mount.at("log")).args([tag, &lines.to_string(), how]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            shell::Running::start(command)
        };
        let mut children = [append(&a, "a", "once"), append(&b, "b", "reopen")];
        for child in &mut children {
            assert!(child.end_within(Duration::from_secs(600)).success());
        }
        for mount in [&a, &b] {
            load::check_lines(&mount.at("log"), &["a", "b"], lines).unwrap();
        }
        w.say(format!("2 x {lines} appended lines, all there, whole and in order"));
    });
}

#[test]
fn record_locks_exclude_across_mounts() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("counter"), b"0").unwrap();
        let mine = sys::open(&a.at("counter"), libc::O_RDWR).unwrap();
        sys::try_record_lock(&mine, true).unwrap();
        let other = sys::open(&b.at("counter"), libc::O_RDWR).unwrap();
        let refused = sys::try_record_lock(&other, true).unwrap_err();
        assert!([libc::EAGAIN, libc::EACCES].contains(&sys::errno(refused)));
        let waiter = wait::start("F_SETLKW", move || {
            sys::wait_record_lock(&other).unwrap();
            sys::record_unlock(&other).unwrap();
        });
        waiter.must_wait(Duration::from_secs(1));
        sys::record_unlock(&mine).unwrap();
        waiter.within(Duration::from_secs(5));
        let rounds = 100;
        let count = |path: std::path::PathBuf| {
            wait::start("counter", move || (0..rounds).for_each(|_| increment(&path)))
        };
        let (one, two) = (count(a.at("counter")), count(b.at("counter")));
        one.within(LIMIT);
        two.within(LIMIT);
        let text = std::fs::read_to_string(a.at("counter")).unwrap();
        assert_eq!(text.trim(), (2 * rounds).to_string());
        w.say(format!("2 x {rounds} increments under a lock, none lost"));
    });
}

/// Adds one to a number in a file, under its record lock.
fn increment(path: &std::path::Path) {
    let file = sys::open(path, libc::O_RDWR).unwrap();
    sys::wait_record_lock(&file).unwrap();
    let mut text = [b' '; 20];
    let length = file.read_at(&mut text, 0).unwrap();
    let number: u64 = std::str::from_utf8(&text[..length]).unwrap().trim().parse().unwrap();
    file.write_all_at(format!("{:<20}", number + 1).as_bytes(), 0).unwrap();
    sys::record_unlock(&file).unwrap();
}
