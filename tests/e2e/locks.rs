//! Record locks and flock(2) on two mounts, as on ext4.

mod random;

use dfs_tests::shell::Running;
use dfs_tests::sys::{self, errno};
use dfs_tests::{programs, shell, sizes, wait, world};
use nix::libc;
use nix::sys::signal::Signal;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

        let mut holder = Command::new("flock");
        holder.arg(a.at("f")).args(["sleep", "1000"]).stdin(Stdio::null());
        let mut holder = Running::start(holder);
        let held = || {
            let free = free();
            if free {
                random::lock(&there, libc::F_UNLCK, 0, 0).unwrap();
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
        random::lock(&there, libc::F_UNLCK, 0, 0).unwrap();

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
