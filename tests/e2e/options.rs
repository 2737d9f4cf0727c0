//! The mount command: what it accepts and refuses, and what a mount can be changed to.

use dfs_tests::process::Process;
use dfs_tests::{fusectl, programs, shell, sys, world};
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn options_mistakes_are_one_line_and_mount_nothing() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mistakes = [
            ("cache_siz=1g", "cache_size"),
            ("reads=never", "snapshot"),
            ("soft=x", "soft"),
            ("rwlock=maybe", "rwlock"),
            ("cache_size=1m", "cache_size"),
            ("lease_wait=0", "lease_wait"),
        ];
        for (option, hint) in mistakes {
            let (mount, output) = w.mount_builder(&server, "a").option(option).attempt();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{option}: {}", shell::describe(&output));
            assert_eq!(text.trim_end().lines().count(), 1, "{option}: {text}");
            assert!(text.contains(hint), "{option}: {text}");
            assert!(fusectl::mounted(mount.path()).is_none(), "{option}: mounted");
        }
        w.say(format!("{} mistakes, one line each", mistakes.len()));
    });
}

#[test]
fn options_server_that_is_not_there_is_said_in_five_seconds() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        server.kill();
        let began = Instant::now();
        let (mount, output) = w.mount_builder(&server, "a").attempt();
        let took = began.elapsed();
        assert_eq!(output.status.code(), Some(32), "{}", shell::describe(&output));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.contains(&server.source()), "{text}");
        assert!(took < Duration::from_secs(5), "said so after {took:?}");
        assert!(fusectl::mounted(mount.path()).is_none());
        w.say(format!("said so after {took:.1?}"));
    });
}

#[test]
fn options_cache_of_a_live_mount_is_refused_at_once() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let refused = |why: &str| {
            let began = Instant::now();
            let (b, output) = w.mount_builder(&server, "b").cache(a.cache()).attempt();
            let took = began.elapsed();
            assert_eq!(output.status.code(), Some(32), "{why}: {}", shell::describe(&output));
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(text.trim_end().lines().count(), 1, "{text}");
            assert!(text.contains(&format!("the mount on {}", a.path().display())), "{text}");
            assert!(text.contains("cache=DIR"), "{text}");
            assert!(took < Duration::from_secs(2), "{why}: said so after {took:?}");
            assert!(fusectl::mounted(b.path()).is_none());
        };
        refused("serving");
        a.daemon().stop();
        refused("stopped");
        a.daemon().resume();
        std::fs::write(a.at("f"), b"x").unwrap();
        w.say("refused at once, the first goes on");
    });
}

#[test]
fn options_cache_is_taken_over_from_a_daemon_that_ends() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let (one, two) = (w.folder("one"), w.folder("two"));
        let cache = w.dir().join("cache");
        w.left().mount(&one);
        w.left().mount(&two);
        let fuse = programs::ours("dfs-fuse");
        let mount = |at: &Path| {
            let mut command = Command::new(&fuse);
            command.arg(server.source()).arg(at).arg("-o");
            command.arg(format!("cache={},cache_size=1g", cache.display()));
            let output = shell::output_within(Duration::from_secs(60), command);
            assert!(output.status.success(), "{}", shell::describe(&output));
            let daemon = Process::find("dfs-fuse", at).expect("a daemon");
            w.left().process(daemon);
            daemon
        };
        let mut daemon = mount(&one);
        for round in 0..10 {
            let (from, to) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
            std::fs::write(from.join("f"), format!("round {round}")).unwrap();
            // No helper waits for the daemon, and nobody for the end of a killed one.
            match round % 4 {
                0 | 1 => umount2(from, MntFlags::empty()).unwrap(),
                _ => daemon.signal(Signal::SIGKILL),
            }
            daemon = mount(to);
            assert_eq!(std::fs::read_to_string(to.join("f")).unwrap(), format!("round {round}"));
            fusectl::detach(from);
        }
        w.say("10 take-overs");
    });
}

#[test]
fn options_dead_mount_is_cleared_by_the_next_one() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        std::fs::write(a.at("f"), b"x").unwrap();
        for _ in 0..3 {
            a.kill();
            let dead = [libc::ENOTCONN, libc::ECONNABORTED];
            assert!(dead.contains(&sys::look(&a.at("unknown")).unwrap_err()));
            a.again();
            assert_eq!(std::fs::read(a.at("f")).unwrap(), b"x");
        }
        let line = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = line.matches(&format!(" {} ", a.path().display())).count();
        assert_eq!(mounts, 1, "mounts stacked on the mount point");
        w.say("3 dead mounts cleared");
    });
}

#[test]
fn options_unmount_saves_everything_and_a_new_mount_starts_from_its_cache() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let b = w.mount(&server, "b");
        for round in 0..5 {
            std::fs::write(a.at("f"), format!("round {round}")).unwrap();
            a.unmount();
            assert_eq!(std::fs::read_to_string(b.at("f")).unwrap(), format!("round {round}"));
            a.again();
            assert_eq!(std::fs::read_to_string(a.at("f")).unwrap(), format!("round {round}"));
        }
        w.say("5 unmounts and mounts");
    });
}

#[test]
fn options_read_only_mounts_refuse_changes() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let b = w.mount_builder(&server, "b").option("ro").start();
        std::fs::write(a.at("f"), b"x").unwrap();
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"x");
        let refused = [
            std::fs::write(b.at("f"), b"y").unwrap_err(),
            std::fs::create_dir(b.at("d")).unwrap_err(),
            std::fs::remove_file(b.at("f")).unwrap_err(),
            std::fs::rename(b.at("f"), b.at("g")).unwrap_err(),
            sys::set_xattr(&b.at("f"), "user.a", b"1").unwrap_err(),
        ];
        assert!(refused.iter().all(|error| error.raw_os_error() == Some(libc::EROFS)));
        w.say(format!("{} changes refused with EROFS", refused.len()));
    });
}

#[test]
fn options_remount_makes_a_mount_read_only() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        std::fs::write(a.at("f"), b"x").unwrap();
        let mut command = Command::new(programs::ours("dfs-fuse"));
        command.arg(server.source()).arg(a.path()).args(["-o", "remount,ro"]);
        let output = shell::output_within(Duration::from_secs(20), command);
        assert!(output.status.success(), "{}", shell::describe(&output));
        let error = std::fs::write(a.at("f"), b"y").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        let line = fusectl::mounted(a.path()).unwrap();
        assert!(line.options.split(',').any(|option| option == "ro"), "{}", line.options);
        assert_eq!(std::fs::read(a.at("f")).unwrap(), b"x");
        w.say("remounted read-only");
    });
}

#[test]
fn options_unix_socket_and_subtree_can_be_mounted() {
    world::run(LIMIT, |w| {
        let socket = w.dir().join("socket");
        let server =
            w.server_builder().arg("--listen").arg(format!("unix:{}", socket.display())).start();
        let a = w.mount(&server, "a");
        std::fs::create_dir_all(a.at("deep/er")).unwrap();
        std::fs::write(a.at("deep/er/f"), b"x").unwrap();
        let source = format!("unix:{}:/deep", socket.display());
        let b = w.mount_builder(&server, "b").source(source).start();
        assert_eq!(std::fs::read(b.at("er/f")).unwrap(), b"x");
        let c = w.mount_builder(&server, "c").source(server.source() + "/deep/er").start();
        assert_eq!(std::fs::read(c.at("f")).unwrap(), b"x");
        std::fs::write(c.at("f"), b"y").unwrap();
        assert_eq!(std::fs::read(a.at("deep/er/f")).unwrap(), b"y");
        w.say("a Unix socket and two subtrees");
    });
}
