//! Open readers follow new versions, or stay on theirs with `reads=snapshot` (PROTOCOL 4.3).

use dfs_tests::{shell, sys, wait, world};
use nix::libc;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a reader may take to show a published line.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
const LINES: usize = 5;

#[test]
fn follow_tail_prints_a_line_soon_after_it_is_published() {
    world::run_alone(Duration::from_secs(180), |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("log"), b"first\n").unwrap();
        let printed = w.dir().join("printed");
        let mut command = Command::new("tail");
        // FUSE has no inotify from other machines: tail must poll, as on NFS.
        command.args(["-n", "+1", "---disable-inotify", "-s", "0.1", "-f"]).arg(b.at("log"));
        command.stdin(Stdio::null()).stdout(std::fs::File::create(&printed).unwrap());
        let mut tail = shell::Running::start(command);
        let shows = |line: &str| std::fs::read_to_string(&printed).unwrap().contains(line);
        wait::until_true(Duration::from_secs(10), "tail to start", || shows("first"));
        let mut slowest = Duration::ZERO;
        let mut publish = |line: String, how: &str, written: Instant, limit: Duration| {
            wait::until_true(limit, &format!("{line} published by {how}"), || shows(&line));
            slowest = slowest.max(written.elapsed());
        };
        for number in 0..LINES {
            let mut file = sys::open(&a.at("log"), libc::O_WRONLY | libc::O_APPEND).unwrap();
            writeln!(file, "close {number}").unwrap();
            drop(file);
            publish(format!("close {number}\n"), "close", Instant::now(), SHOWN_WITHIN);
        }
        let mut file = sys::open(&a.at("log"), libc::O_WRONLY | libc::O_APPEND).unwrap();
        for number in 0..LINES {
            writeln!(file, "fsync {number}").unwrap();
            file.sync_all().unwrap();
            publish(format!("fsync {number}\n"), "fsync", Instant::now(), SHOWN_WITHIN);
        }
        for number in 0..LINES {
            writeln!(file, "open {number}").unwrap();
            let limit = SHOWN_WITHIN + Duration::from_secs(1);
            publish(format!("open {number}\n"), "the append timer", Instant::now(), limit);
        }
        assert!(tail.is_running());
        drop(tail);
        w.say(format!("{} lines shown by tail -f, slowest {slowest:.0?}", 3 * LINES));
    });
}

#[test]
fn follow_reader_moves_and_snapshot_reader_stays() {
    world::run(Duration::from_secs(120), |w| {
        let server = w.server();
        let writer = w.mount(&server, "a");
        let follow = w.mount(&server, "b");
        let snapshot = w.mount_builder(&server, "c").option("reads=snapshot").start();
        let old = vec![b'o'; 300_000];
        let new = vec![b'n'; 300_000];
        std::fs::write(writer.at("f"), &old).unwrap();
        let following = std::fs::File::open(follow.at("f")).unwrap();
        let staying = std::fs::File::open(snapshot.at("f")).unwrap();
        let read = |file: &std::fs::File| {
            let mut bytes = vec![0; 300_000];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(read(&following) == old && read(&staying) == old);
        std::fs::write(writer.at("f"), &new).unwrap();
        wait::until_true(SHOWN_WITHIN, "follow", || read(&following) == new);
        for _ in 0..50 {
            assert!(read(&staying) == old, "a snapshot moved");
        }
        assert!(std::fs::read(snapshot.at("f")).unwrap() == new, "a new open on the same mount");
        assert!(read(&staying) == old, "a snapshot moved at another open");
        w.say("one reader followed, one stayed on its version over 51 reads");
    });
}

#[test]
fn snapshot_reader_keeps_a_version_it_has_not_read_yet() {
    world::run(Duration::from_secs(180), |w| {
        let server = w.server();
        let writer = w.mount(&server, "a");
        let snapshot = w.mount_builder(&server, "b").option("reads=snapshot").start();
        let length = 24 << 20;
        std::fs::write(writer.at("f"), vec![b'o'; length]).unwrap();
        let staying = std::fs::File::open(snapshot.at("f")).unwrap();
        for round in 0..3u8 {
            std::fs::write(writer.at("f"), vec![b'0' + round; length]).unwrap();
        }
        let mut bytes = vec![0; length];
        staying.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'o'), "bytes of another version");
        w.say("24 MiB of a version that was replaced three times before it was read");
    });
}
