//! A process for each test.
//!
//! Closing a descriptor is an event on a mount: it commits. A program that a test starts closes
//! copies of all descriptors of its parent, so a test must not start programs while another one has
//! files open.

use crate::shell::Running;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names the test that a process was started for.
const VARIABLE: &str = "DFS_E2E_TEST";

/// The test that this process was started for, if it was.
pub(crate) fn name() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// The test that runs on this thread. On the main thread, where a runner of single tests has put it,
/// it is the one that the command line names.
pub(crate) fn name_of_caller() -> String {
    let thread = std::thread::current();
    match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => std::env::args().skip(1).find(|arg| !arg.starts_with('-')).expect("a test has a name"),
    }
}

/// What a test shares with the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// The mount table.
    Shared,
    /// Nothing that it mounts, as in unshare(1) `--mount`.
    Private,
}

/// Runs one test of this program in a process of its own; panics unless it ends well within `limit`.
pub(crate) fn run(name: &str, mounts: Mounts, limit: Duration) {
    let program = std::env::current_exe().expect("no path of this program");
    let mut command = match mounts {
        Mounts::Shared => Command::new(program),
        Mounts::Private => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "--"]).arg(program);
            command
        }
    };
    command
        .args([name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = Running::start(command).end_within(limit);
    assert!(status.success(), "{name} failed, see above: {status}");
}
