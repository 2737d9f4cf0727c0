//! Programs that watch for changes: by events, by looking again, and by comparing times.

use super::{LIMIT, STEP};
use dfs_tests::mount::Mount;
use dfs_tests::shell::Running;
use dfs_tests::{programs, shell, sys, wait, world};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest wait for an event or a line.
const SOON: Duration = Duration::from_secs(30);

/// inotifywait(1) on paths of a folder, and what it prints.
struct Watch {
    _running: Running,
    log: PathBuf,
}

impl Watch {
    fn start(folder: &Path, log: PathBuf, what: &str) -> Watch {
        programs::need("inotifywait");
        let errors = log.with_extension("errors");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec inotifywait -m --format '%w%f %e' {what}")]);
        command.current_dir(folder).stdin(Stdio::null());
        command.stdout(std::fs::File::create(&log).unwrap());
        command.stderr(std::fs::File::create(&errors).unwrap());
        let running = Running::start(command);
        wait::until_true(SOON, "watches", || {
            std::fs::read_to_string(&errors).unwrap().contains("Watches established")
        });
        Watch { _running: running, log }
    }

    /// All events so far, once they end with `last`.
    fn until(&self, last: &str) -> String {
        wait::until(SOON, &format!("the event {last:?}"), || {
            let events = std::fs::read_to_string(&self.log).unwrap();
            events.lines().any(|line| line == last).then_some(events)
        })
    }
}

/// Every kind of change that a program on the same machine can watch.
const CHANGES: &str = "
    echo x > w/f; echo y >> w/f; cat w/f >/dev/null; chmod 600 w/f
    mv w/f w/g; mkdir w/d; mv w/g w/d/g; rm w/d/g; rmdir w/d
    touch w/t; : > w/t; truncate -s 5 w/t; ln w/t w/l; rm w/l; ln -s t w/s; mkfifo w/p
    touch -d '2001-01-01' w/t; echo new > w/n; mv w/n w/t; cp -p w/t w/c
    mkdir w/late; echo x > w/old/in; ls w >/dev/null; rm -r w/old; rm w/t
    touch w/end";

#[test]
fn watched_changes_of_one_mount_are_those_of_ext4() {
    world::run(LIMIT, |w| {
        let (_server, a, _b) = w.two_mounts();
        let local = w.folder("local");
        let seen = [&local, a.path()].map(|folder| {
            shell::script(STEP, folder, "mkdir -p w/old && echo x > w/old/in");
            let name = if folder == local { "events-local" } else { "events-mount" };
            let watch = Watch::start(folder, w.dir().join(name), "w w/old");
            shell::script(STEP, folder, CHANGES);
            // The kernel joins an event to an equal one before it that nobody has read yet.
            let events = watch.until("w/end CLOSE_WRITE,CLOSE");
            let mut events: Vec<String> = events.lines().map(str::to_owned).collect();
            events.dedup();
            events
        });
        assert_eq!(seen[0], seen[1], "events of the local disk and of the mount");
        w.say(format!("{} events as on ext4", seen[0].len()));
    });
}

#[test]
fn watched_changes_of_the_other_mount_show_only_deletions() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let make = "mkdir w w/dir; for f in old gone moved from to; do echo 0 > w/$f; done";
        shell::script(STEP, a.path(), make);
        let watch = Watch::start(a.path(), w.dir().join("events"), "w w/*");
        let change = "touch w/new; echo 1 >> w/old; chmod 600 w/old; mv w/moved w/renamed
             mv w/from w/to; mkdir w/late; rm w/gone; rmdir w/dir";
        shell::script(STEP, b.path(), change);
        watch.until("w/gone DELETE_SELF");
        watch.until("w/dir/ DELETE_SELF");
        // What is not announced is there all the same.
        std::fs::write(a.at("w/end"), "").unwrap();
        let events = watch.until("w/end CLOSE_WRITE,CLOSE");
        assert_eq!(
            events,
            "w/gone DELETE_SELF\nw/dir/ DELETE_SELF\n\
             w/end CREATE\nw/end OPEN\nw/end CLOSE_WRITE,CLOSE\n"
        );
        let names = ["end", "late", "new", "old", "renamed", "to"];
        assert_eq!(sys::names(&a.at("w")).unwrap(), names);
        w.say("8 changes of the other mount: two deletions are announced");
    });
}

/// tail(1) on a mount.
fn tail(mount: &Mount, printed: &Path) -> Running {
    let mut command = Command::new("tail");
    command.args(["-n", "+1", "-s", "0.1", "-F"]).arg(mount.at("log")).stdin(Stdio::null());
    command.stdout(std::fs::File::create(printed).unwrap()).stderr(Stdio::null());
    Running::start(command)
}

#[test]
fn tail_follows_a_rotated_log_on_both_mounts() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("log"), "first\n").unwrap();
        let printed = ["on-a", "on-b"].map(|name| w.dir().join(name));
        let _tails = [tail(&a, &printed[0]), tail(&b, &printed[1])];
        let mut expected = String::from("first\n");
        let mut shown = |line: &str| {
            expected.push_str(line);
            for path in &printed {
                wait::until_true(SOON, &format!("{line:?} in {}", path.display()), || {
                    std::fs::read_to_string(path).unwrap() == expected
                });
            }
        };
        shown("");
        for round in 0..4 {
            let from = if round % 2 == 0 { &a } else { &b };
            for number in 0..3 {
                let line = format!("line {number} of log {round}\n");
                let mut log = std::fs::File::options().append(true).open(from.at("log")).unwrap();
                log.write_all(line.as_bytes()).unwrap();
                drop(log);
                shown(&line);
            }
            // logrotate: the old one moves away, a new one takes its place.
            std::fs::rename(from.at("log"), from.at(format!("log.{round}"))).unwrap();
            let line = format!("log {} begins\n", round + 1);
            std::fs::write(from.at("log"), &line).unwrap();
            shown(&line);
        }
        w.say("tail -F on both mounts through 4 rotations");
    });
}

#[test]
fn newer_files_are_newer_on_every_mount() {
    world::run_alone(LIMIT, |w| {
        programs::need("make");
        let (_server, a, b) = w.two_mounts();
        let count = 60;
        for number in 0..count {
            let mount = if number % 2 == 0 { &a } else { &b };
            let make = if number % 3 == 0 { "mkdir" } else { "echo content >" };
            shell::script(STEP, mount.path(), &format!("{make} f{number:03}"));
        }
        let newer = format!("find . -newer f{:03} ! -name . | sort", count / 2);
        let lists = [&a, &b].map(|mount| shell::script(STEP, mount.path(), &newer));
        assert_eq!(lists[0], lists[1]);
        let expected: String = (count / 2 + 1..count).map(|n| format!("./f{n:03}\n")).collect();
        assert_eq!(lists[0], expected);
        // make: a chain of rules, each step on the other mount; then nothing is left to do anywhere.
        let rules: String = (1..=30)
            .map(|n| format!("step{n}: step{}\n\techo {n} > $@\n", n - 1))
            .chain(["step0:\n\techo 0 > $@\n".to_owned()])
            .collect();
        std::fs::write(a.at("Makefile"), rules).unwrap();
        for step in 0..=30 {
            let mount = if step % 2 == 0 { &a } else { &b };
            let made = shell::script(STEP, mount.path(), &format!("make step{step}"));
            assert_eq!(made, format!("echo {step} > step{step}\n"), "just one step");
        }
        for mount in [&a, &b] {
            let made = shell::script(STEP, mount.path(), "make step30");
            assert!(made.contains("is up to date"), "{made}");
        }
        w.say(format!(
            "{count} files, folders and 30 rules in turn, each newer than the one before"
        ));
    });
}
