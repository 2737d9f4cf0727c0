//! The server is gone for a while: who waits, who fails in time, who can still be answered
//! (PROTOCOL 2.3, 5.4).

use dfs_tests::mount::Mount;
use dfs_tests::{shell, sys, wait, world};
use nix::libc;
use nix::sys::signal::Signal;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
/// Coming back: one connection, the grace of the server if others have not come back.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// The promise of PROTOCOL 5.4.
const INTERRUPTED_WITHIN: Duration = Duration::from_millis(200);
/// After 2 s a call counts as one that waits for a lost server; the tests are slow at times.
const NOTICED_WITHIN: Duration = Duration::from_millis(2500);

#[test]
fn gone_hard_mount_waits_and_goes_on() {
    world::run(LIMIT, |w| {
        let (server, a, b) = w.two_mounts();
        let file = sys::open(&a.at("f"), libc::O_RDWR | libc::O_CREAT).unwrap();
        file.write_all_at(b"before ", 0).unwrap();
        server.kill();
        file.write_all_at(b"after", 7).unwrap();
        let (path, other) = (a.at("made"), b.at("made too"));
        let make = wait::start("mkdir", move || std::fs::create_dir(path).unwrap());
        let make_other = wait::start("mkdir", move || std::fs::create_dir(other).unwrap());
        let save = wait::start("fsync", move || file.sync_all().unwrap());
        make.must_wait(Duration::from_secs(5));
        make_other.must_wait(Duration::ZERO);
        save.must_wait(Duration::ZERO);
        let back = Instant::now();
        server.start();
        make.within(BACK_WITHIN);
        make_other.within(BACK_WITHIN);
        save.within(BACK_WITHIN);
        let took = back.elapsed();
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"before after");
        assert!(b.at("made").is_dir() && a.at("made too").is_dir());
        w.say(format!("2 mkdir and 1 fsync waited, done {took:.1?} after the server came back"));
    });
}

#[test]
fn gone_hard_mount_goes_on_after_the_session_term() {
    world::run(LIMIT, |w| {
        let (server, a, b) = w.two_mounts();
        let file = sys::open(&a.at("f"), libc::O_RDWR | libc::O_CREAT).unwrap();
        file.write_all_at(b"unsaved", 0).unwrap();
        let path = a.at("f");
        server.kill();
        let gone = Instant::now();
        wait::until_true(LIMIT, "a term to pass", || gone.elapsed() > Duration::from_secs(20));
        let look = wait::start("stat after the term", move || sys::look(&path).unwrap());
        let save = wait::start("fsync", move || file.sync_all().unwrap());
        save.must_wait(Duration::from_secs(1));
        server.start();
        save.within(BACK_WITHIN);
        look.within(BACK_WITHIN);
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"unsaved");
        w.say("20 s without a server, nothing lost");
    });
}

#[test]
fn gone_soft_mount_fails_in_the_stated_time() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount_builder(&server, "a").option("soft=5").start();
        std::fs::create_dir(a.at("d")).unwrap();
        server.kill();
        let path = a.at("d/new");
        let (error, took) = wait::start("mkdir", move || std::fs::create_dir(path).unwrap_err())
            .timed_within(Duration::from_secs(20));
        assert_eq!(sys::errno(error), libc::EIO);
        assert!(took > Duration::from_secs(3), "EIO after {took:?}");
        assert!(took < Duration::from_secs(9), "EIO after {took:?}");
        server.start();
        let path = a.at("d/newer");
        wait::within(BACK_WITHIN, "mkdir", move || {
            wait::until_true(BACK_WITHIN, "mkdir after the server is back", || {
                std::fs::create_dir(&path).is_ok()
            })
        });
        w.say(format!("soft=5 gave EIO after {took:.1?}, and works again"));
    });
}

/// How long a process blocked in a call on `mount` lives after `signal`.
fn interrupted(mount: &Mount, signal: Signal, name: &str) -> Duration {
    // Whoever is started in the background of a script ignores SIGINT, and so would its children.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", "mkdir"]).arg(mount.at(name));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = shell::Running::start(command);
    let blocked = Instant::now();
    wait::until_true(Duration::from_secs(10), "mkdir to block", || {
        blocked.elapsed() > Duration::from_millis(500)
    });
    assert!(child.is_running(), "mkdir {name} did not wait");
    let sent = Instant::now();
    child.signal(signal);
    let status = child.end_within(Duration::from_secs(10));
    assert!(!status.success(), "mkdir {name} made it");
    sent.elapsed()
}

#[test]
fn gone_signals_end_blocked_calls() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        sys::names(a.path()).unwrap();
        server.kill();
        let mut times = Vec::new();
        for round in 0..3 {
            for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
                times.push(interrupted(&a, signal, &format!("{signal}{round}")));
            }
        }
        times.sort();
        let middle = times[times.len() / 2];
        assert!(
            middle < INTERRUPTED_WITHIN,
            "half of the calls took {middle:?} or more: {times:?}"
        );
        server.start();
        let path = a.at("after");
        wait::within(BACK_WITHIN, "mkdir", move || std::fs::create_dir(path).unwrap());
        w.say(format!("{} blocked calls ended by signals, median {middle:.0?}", times.len()));
    });
}

/// A server that hangs does not refuse: nobody knows before that it does not answer.
#[test]
fn gone_signals_end_calls_that_a_hung_server_took() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        std::fs::create_dir(a.at("before")).unwrap();
        server.process().stop();
        let took = interrupted(&a, Signal::SIGINT, "hung");
        assert!(took < NOTICED_WITHIN, "{took:?}");
        server.process().resume();
        let path = a.at("after");
        wait::within(BACK_WITHIN, "mkdir", move || std::fs::create_dir(path).unwrap());
        w.say(format!("a blocked call ended {took:.0?} after its signal"));
    });
}

#[test]
fn lease_waits_end_with_a_signal_too() {
    world::run_alone(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("g"), b"x").unwrap();
        let blocked = [
            (format!("echo y >> '{}'", b.at("f").display()), Signal::SIGKILL),
            (format!("exec 3<>'{}'; exec flock 3", b.at("g").display()), Signal::SIGTERM),
        ];
        // Started before files are open here: a start closes copies of them, which commits.
        let waiting: Vec<_> = blocked
            .iter()
            .map(|(script, signal)| {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("read go; {script}")]);
                (shell::Running::start_with_input(command), script, *signal)
            })
            .collect();
        let held = std::fs::File::create(a.at("f")).unwrap();
        held.write_all_at(b"x", 0).unwrap();
        let locked = sys::open(&a.at("g"), libc::O_RDWR).unwrap();
        rustix::fs::flock(&locked, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let mut times = Vec::new();
        for (mut child, script, signal) in waiting {
            child.input("go\n");
            let started = Instant::now();
            wait::until_true(Duration::from_secs(10), "the child to block", || {
                started.elapsed() > Duration::from_secs(1)
            });
            assert!(child.is_running(), "{script}: did not wait");
            let sent = Instant::now();
            child.signal(signal);
            child.end_within(Duration::from_secs(5));
            times.push(sent.elapsed());
        }
        w.say(format!("waits for a lease and for a lock ended by signals after {times:.0?}"));
    });
}

#[test]
fn gone_cached_places_still_answer() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        for name in 0..10 {
            std::fs::write(a.at(format!("f{name}")), vec![7; 50_000]).unwrap();
        }
        let look = move |root: std::path::PathBuf| {
            assert_eq!(sys::names(&root).unwrap().len(), 10);
            for name in 0..10 {
                let path = root.join(format!("f{name}"));
                sys::look(&path).unwrap();
                assert_eq!(std::fs::read(&path).unwrap().len(), 50_000);
            }
            nix::sys::statvfs::statvfs(&root).unwrap();
        };
        look(a.path().to_path_buf());
        server.kill();
        let root = a.path().to_path_buf();
        let ((), took) =
            wait::start("ls, df, cat", move || look(root)).timed_within(Duration::from_secs(5));
        server.start();
        w.say(format!("ls, stat, read of 10 files and df without a server: {took:.0?}"));
    });
}
