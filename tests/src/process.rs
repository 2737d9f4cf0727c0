//! Processes the tests started, recognised again even if their number is given to another one.

use crate::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;

/// One process of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    /// When it started, in clock ticks since boot: tells it from a later owner of its number.
    started: u64,
}

impl Process {
    /// A process that runs now.
    pub fn running(pid: i32) -> Option<Process> {
        Some(Process { pid, started: stat(pid)?.started })
    }

    /// The one process whose program file is called `program`, by whatever name it was started, and
    /// that has `argument` on its command line. Panics if there are several.
    pub fn find(program: &str, argument: &Path) -> Option<Process> {
        let mut found = Process::find_all(program, argument);
        assert!(found.len() < 2, "several {program} {}: {found:?}", argument.display());
        found.pop()
    }

    /// As [`Process::find`], all of them.
    pub fn find_all(program: &str, argument: &Path) -> Vec<Process> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("no /proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let is_program = exe.file_name().is_some_and(|name| {
                name.to_string_lossy().trim_end_matches(" (deleted)") == program
            });
            let wanted = argument.as_os_str().as_encoded_bytes();
            if is_program && words[1..].contains(&wanted) {
                found.extend(Process::running(pid));
            }
        }
        found
    }

    /// The processes it started that still run.
    pub fn children(self) -> Vec<Process> {
        let all = std::fs::read_dir("/proc").expect("no /proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
        pids.filter(|pid| stat(*pid).is_some_and(|s| s.parent == self.pid))
            .filter_map(Process::running)
            .collect()
    }

    /// Its number.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// Whether it runs, stopped or not, and is no zombie.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|s| s.started == self.started && s.state != 'Z')
    }

    /// Sends a signal if it still runs.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Kills it and waits until it is gone.
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
        wait::until_true(Duration::from_secs(20), "end of a killed process", || !self.is_alive());
    }

    /// Stops it, and waits until every thread of it stands.
    pub fn stop(self) {
        self.signal(Signal::SIGSTOP);
        wait::until_true(Duration::from_secs(20), "stop of a process", || {
            stat(self.pid).is_some_and(|s| s.state == 'T')
        });
    }

    /// Lets a stopped process go on.
    pub fn resume(self) {
        self.signal(Signal::SIGCONT);
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

/// Fields of proc_pid_stat(5) behind the name in parentheses.
fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}
