//! Record locks and flock(2) on two mounts, as on ext4.

mod model;
mod processes;
mod random;
mod worker;

use dfs_proto::v1::LockKind;
use dfs_tests::shell::Running;
use dfs_tests::sys::{self, errno};
use dfs_tests::{admin, programs, shell, sizes, wait, world};
use nix::libc;
use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use worker::{Order, Worker};

const LIMIT: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_secs(120);
/// A lapsed session loses its locks to whoever asks: its term, and what a busy machine adds.
const LAPSE: Duration = Duration::from_secs(45);

fn open(path: &Path) -> File {
    sys::open(path, libc::O_RDWR | libc::O_CREAT).unwrap()
}

#[test]
fn locks_of_random_calls_equal_those_of_ext4() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let local = w.folder("local");
        let mut game = random::Game::new([&local, &local], [a.path(), b.path()], w.random(1));
        let steps = sizes::lock_calls();
        for number in 0..steps {
            game.step(number);
        }
        w.say(format!("{steps} calls as on ext4, {} of them refused", game.refused()));
    });
}

#[test]
fn locks_of_flock_scripts_lose_no_count() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("count"), "0\n").unwrap();
        std::fs::write(a.at("lock"), "").unwrap();
        let add = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do \
                   flock lock sh -c 'read n < count; echo $((n+1)) > count'; done";
        let tasks: Vec<_> = [&a, &b, &a, &b]
            .into_iter()
            .map(|mount| {
                let path = mount.path().to_path_buf();
                wait::start("a script", move || shell::script(STEP, &path, add))
            })
            .collect();
        for task in tasks {
            task.within(STEP);
        }
        assert_eq!(std::fs::read_to_string(b.at("count")).unwrap(), "60\n");
        let busy = "flock -s lock sh -c 'flock -n lock true && exit 9; flock -s -n lock true'";
        shell::script(STEP, a.path(), busy);
        w.say("60 counts under flock(1) from two mounts, none lost");
    });
}

#[test]
fn locks_of_a_reader_go_when_it_closes() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), "x").unwrap();
        let there = open(&b.at("f"));
        let free = || random::lock(&there, libc::F_WRLCK, 0, 0).is_ok();
        // Of this reader the kernel tells only the end of the handle (docs/design/0031).
        let reader = File::open(a.at("f")).unwrap();
        sys::try_record_lock(&reader, false).unwrap();
        assert!(!free());
        drop(reader);
        wait::until_true(STEP, "the lock of a reader after its close", free);
        random::lock(&there, libc::F_UNLCK, 0, 0).unwrap();

        // Of readers of a file that was locked it tells of each descriptor.
        let reader = File::open(a.at("f")).unwrap();
        let copy = reader.try_clone().unwrap();
        sys::try_record_lock(&reader, false).unwrap();
        assert!(!free());
        drop(copy);
        wait::until_true(STEP, "the lock of a reader that closed a copy", free);
    });
}

#[test]
fn locks_go_with_the_descriptor_the_process_and_the_mount() {
    world::run(LIMIT, |w| {
        let (_server, mut a, b) = w.two_mounts();
        let (here, there) = (open(&a.at("f")), open(&b.at("f")));
        sys::try_record_lock(&here, true).unwrap();
        let free = || random::lock(&there, libc::F_WRLCK, 0, 0).is_ok();
        assert!(!free());
        // A process gives everything back with any descriptor of the file.
        drop(File::open(a.at("f")).unwrap());
        wait::until_true(STEP, "the lock after a close", free);
        random::lock(&there, libc::F_UNLCK, 0, 0).unwrap();

        random::lock(&here, libc::F_WRLCK, 0, 0).unwrap();
        assert!(!free());
        drop(here);
        wait::until_true(STEP, "the lock of an open file after its close", free);
        random::lock(&there, libc::F_UNLCK, 0, 0).unwrap();

        let free = || {
            let asked = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::flock(&there, asked).is_ok()
        };
        let mut holder = Command::new("flock");
        holder.arg(a.at("f")).args(["sleep", "1000"]).stdin(Stdio::null());
        let mut holder = Running::start(holder);
        let held = || {
            let free = free();
            if free {
                rustix::fs::flock(&there, rustix::fs::FlockOperation::Unlock).unwrap();
            }
            !free
        };
        wait::until_true(STEP, "the lock of another process", held);
        // flock(1) has a child that has the lock as well, once it has the lock itself.
        let children = format!("/proc/{0}/task/{0}/children", holder.pid());
        let child = || std::fs::read_to_string(&children).unwrap().trim().parse::<i32>().ok();
        let child = wait::until(STEP, "the child of flock", child);
        holder.signal(Signal::SIGKILL);
        holder.end_within(STEP);
        assert!(held(), "the child lives");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGKILL).unwrap();
        wait::until_true(STEP, "the lock of a killed process", free);

        let free = || random::lock(&there, libc::F_WRLCK, 0, 0).is_ok();
        let last = open(&a.at("f"));
        random::lock(&last, libc::F_WRLCK, 0, 0).unwrap();
        a.kill();
        let killed = Instant::now();
        assert!(!free(), "a client that may come back keeps its locks");
        wait::until_true(LAPSE, "the lock of a lapsed mount", free);
        let waited = killed.elapsed();
        drop(last);
        a.again();
        assert_eq!(
            random::lock(&open(&a.at("f")), libc::F_WRLCK, 0, 0).map_err(errno),
            Err(libc::EAGAIN)
        );
        w.say(format!("locks of a killed daemon were free after {waited:.0?}"));
    });
}

#[test]
fn locks_of_random_processes_equal_those_of_ext4() {
    world::run(Duration::from_secs(3600), |w| {
        let (_server, a, b) = w.two_mounts();
        let (local, out) = (w.folder("local"), w.folder("out"));
        let mut play = processes::Play::new(&local, [a.path(), b.path()], &out, w.random(1));
        let steps = sizes::lock_calls();
        for number in 0..steps {
            play.step(number);
        }
        play.finish();
        w.say(format!("{steps} steps of 4 processes as on ext4: {:?}", play.counts));
    });
}

/// An exclusive lock of a process on everything, waited for.
const WHOLE: Order =
    Order::Record { command: libc::F_SETLKW, file: 0, kind: libc::F_WRLCK, start: 0, len: 0 };

#[test]
fn locks_are_given_to_all_who_wait_in_turn() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let holder = open(&a.at("f"));
        random::lock(&holder, libc::F_WRLCK, 0, 0).unwrap();
        let mut line: VecDeque<Worker> = VecDeque::new();
        for number in 0..6 {
            let file = [&a, &b][number % 2].at("f");
            let mut worker = Worker::start(&[file], &w.dir().join(format!("out-{number}")));
            worker.tell(WHOLE);
            worker.waits("a worker in line");
            line.push_back(worker);
        }
        line.remove(3).unwrap().kill();
        drop(holder);
        let mut served = 0;
        while !line.is_empty() {
            let first = wait::until(STEP, "somebody is served", || {
                let mut served = line.iter().enumerate().filter(|(_, worker)| worker.has_answer());
                let first = served.next().map(|(place, _)| place);
                assert!(served.next().is_none(), "two have the lock");
                first
            });
            let mut worker = line.remove(first).unwrap();
            assert_eq!(worker.answer("the lock"), 0);
            served += 1;
            match served % 2 {
                0 => worker.kill(),
                _ => {
                    worker.tell(Order::Close { file: 0 });
                    assert_eq!(worker.answer("a close"), 0);
                }
            }
        }
        w.say(format!("{served} of 6 were served, one was killed in line"));
    });
}

#[test]
fn locks_are_listed_with_who_holds_them() {
    world::run(LIMIT, |w| {
        let (server, a, b) = w.two_mounts();
        let file = open(&a.at("f"));
        let ino = file.metadata().unwrap().ino();
        let mut worker = Worker::start(&[a.at("f")], &w.dir().join("out-a"));
        for order in [
            Order::Flock { file: 0, operation: libc::LOCK_EX },
            Order::Record {
                command: libc::F_SETLK,
                file: 0,
                kind: libc::F_WRLCK,
                start: 3,
                len: 4,
            },
        ] {
            worker.tell(order);
            assert_eq!(worker.answer("a lock"), 0);
        }
        random::lock(&file, libc::F_RDLCK, 100, 0).unwrap();
        let mut waiter = Worker::start(&[b.at("f")], &w.dir().join("out-b"));
        waiter.tell(WHOLE);
        waiter.waits("a lock that is held");
        let listed = wait::until(STEP, "all are listed", || {
            Some(admin::locks(&server)).filter(|listed| listed.len() == 4)
        });
        let (here, us) = (worker.pid() as u32, std::process::id());
        let whole = (0, i64::MAX as u64);
        for (mount, kind, pid, exclusive, bytes) in [
            (&a, LockKind::Flock, here, true, whole),
            (&a, LockKind::Process, here, true, (3, 6)),
            (&a, LockKind::OpenFile, us, false, (100, i64::MAX as u64)),
            (&b, LockKind::Process, waiter.pid() as u32, true, whole),
        ] {
            let found = listed.iter().find(|info| {
                let lock = info.lock.unwrap();
                let seen = (lock.kind(), lock.pid, lock.exclusive, (lock.start, lock.end));
                info.ino == ino && seen == (kind, pid, exclusive, bytes)
            });
            let found = found.unwrap_or_else(|| panic!("{kind:?} of {pid}: {listed:#?}"));
            assert!(found.client.contains(mount.path().to_str().unwrap()), "{found:?}");
            assert_eq!(found.waiting_ms.is_some(), mount.path() == b.path(), "{found:?}");
        }
        worker.kill();
        drop(file);
        assert_eq!(waiter.answer("the lock, when all are gone"), 0);
    });
}

/// Takes two files in turn, the second one on a word from us, and says what became of it.
const CROSSING: &str = "
import fcntl, sys
first, second = (open(name, 'r+') for name in sys.argv[1:])
fcntl.lockf(first, fcntl.LOCK_EX)
print('one', flush=True)
sys.stdin.readline()
try:
    fcntl.lockf(second, fcntl.LOCK_EX)
    print('both', flush=True)
except OSError as error:
    print(error.errno, flush=True)
";

#[test]
fn locks_that_cross_on_two_mounts_are_a_deadlock() {
    world::run(LIMIT, |w| {
        programs::need("python3");
        let (_server, a, b) = w.two_mounts();
        drop((open(&a.at("f")), open(&a.at("g"))));
        let (out_a, out_b) = (w.dir().join("out-a"), w.dir().join("out-b"));
        let start = |first: std::path::PathBuf, second, out: &Path| {
            let mut command = Command::new("python3");
            command.args(["-c", CROSSING]).arg(first).arg(second);
            command.stdout(File::create(out).unwrap());
            Running::start_with_input(command)
        };
        let said = |out: &Path| std::fs::read_to_string(out).unwrap();
        let mut one = start(a.at("f"), a.at("g"), &out_a);
        let mut two = start(b.at("g"), b.at("f"), &out_b);
        for out in [&out_a, &out_b] {
            wait::until_true(STEP, "the first locks", || said(out) == "one\n");
        }
        one.input("\n");
        two.input("\n");
        // One is told and ends; the other then gets both.
        one.end_within(STEP);
        two.end_within(STEP);
        let mut ends = [said(&out_a), said(&out_b)];
        ends.sort();
        assert_eq!(ends, [format!("one\n{}\n", libc::EDEADLK), "one\nboth\n".to_owned()]);
    });
}
