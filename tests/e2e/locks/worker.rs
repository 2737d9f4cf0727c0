//! A process that takes and gives back locks as it is told.

use dfs_tests::shell::Running;
use dfs_tests::{programs, wait};
use nix::libc;
use nix::sys::signal::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Whatever a worker waits for comes within this once nothing stands in its way.
const SERVED: Duration = Duration::from_secs(60);

/// One call of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// fcntl(2) with a command, a kind of lock, the first byte and how many; 0: to the end.
    Record { command: i32, file: usize, kind: i32, start: i64, len: i64 },
    /// flock(2).
    Flock { file: usize, operation: i32 },
    /// Another descriptor of the file is opened and closed.
    Close { file: usize },
}

/// The process, and what it said.
pub struct Worker {
    process: Running,
    out: PathBuf,
    /// Lines of its output that were looked at.
    heard: usize,
}

impl Worker {
    /// Starts one on files that exist; it says in `out` what its calls gave.
    pub fn start(files: &[PathBuf], out: &Path) -> Worker {
        programs::need("python3");
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("worker.py")]).args(files);
        command.stdout(File::create(out).unwrap());
        let process = Running::start_with_input(command);
        let mut worker = Worker { process, out: out.to_path_buf(), heard: 0 };
        assert_eq!(worker.next("a worker is ready"), "ready");
        worker
    }

    /// Tells it to make a call.
    pub fn tell(&mut self, order: Order) {
        self.process.input(&match order {
            Order::Record { command, file, kind, start, len } => {
                format!("{command} {file} {kind} {start} {len}\n")
            }
            Order::Flock { file, operation } => format!("flock {file} {operation}\n"),
            Order::Close { file } => format!("close {file}\n"),
        });
    }

    /// The errno of its last call, 0 if it succeeded.
    pub fn answer(&mut self, what: &str) -> i32 {
        self.next(what).parse().unwrap()
    }

    /// Returns when it is inside the call that it was told to make, and checks that it stays there.
    pub fn waits(&mut self, what: &str) {
        let path = format!("/proc/{}/syscall", self.process.pid());
        let calls = [libc::SYS_fcntl, libc::SYS_flock].map(|number| format!("{number} "));
        wait::until_true(SERVED, &format!("{what}: in the call"), || {
            assert_eq!(self.said(), None, "{what}: does not wait");
            let seen = std::fs::read_to_string(&path).unwrap();
            calls.iter().any(|call| seen.starts_with(call))
        });
    }

    /// Whether it said something that nobody has looked at.
    pub fn has_answer(&self) -> bool {
        self.said().is_some()
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Sends it a signal that it handles.
    pub fn strike(&self) {
        self.process.signal(Signal::SIGUSR1);
    }

    pub fn kill(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.end_within(SERVED);
    }

    fn next(&mut self, what: &str) -> String {
        let line = wait::until(SERVED, what, || self.said());
        self.heard += 1;
        line
    }

    /// The next line, once it is complete.
    fn said(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        whole.lines().nth(self.heard).map(str::to_owned)
    }
}
