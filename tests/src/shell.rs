//! Other programs, run with a deadline.

use crate::wait;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Runs a command to its end; kills it and panics if that takes longer than `limit`.
pub fn output_within(limit: Duration, mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let what = format!("{command:?}");
    let temp = tempfile::tempdir().expect("no folder");
    let (out, err) = (temp.path().join("out"), temp.path().join("err"));
    // Files, not pipes: a daemon that keeps the pipe must not keep us.
    command.stdout(std::fs::File::create(&out).expect("make a file"));
    command.stderr(std::fs::File::create(&err).expect("make a file"));
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
    let end = std::time::Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            break status;
        }
        if std::time::Instant::now() > end {
            // Not reaped if a hung mount holds it.
            let _ = child.kill();
            panic!("{what}: did not end within {limit:?}");
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    Output { status, stdout: read(&out), stderr: read(&err) }
}

/// Runs a shell script in `folder`; panics unless it ends well within `limit`. Gives what it printed.
pub fn script(limit: Duration, folder: &Path, text: &str) -> String {
    let output = try_script(limit, folder, text);
    assert!(output.status.success(), "{text}: {}", describe(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As [`script`], whatever it ends with. The folder is entered by the script itself: a hung mount
/// must not hang the test program.
pub fn try_script(limit: Duration, folder: &Path, text: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-ec", &format!("cd \"$0\"\n{text}")]).arg(folder);
    // Nothing of the user's set-up may change what is tested.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    output_within(limit, command)
}

/// Status and output for a message.
pub fn describe(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A program that runs beside the test, killed when dropped.
pub struct Running {
    child: std::process::Child,
    what: String,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Running {
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
        Running { child, what }
    }

    /// Starts it with an input of its own, see [`Running::input`].
    pub fn start_with_input(mut command: Command) -> Running {
        command.stdin(Stdio::piped());
        Running::start(command)
    }

    /// Writes to its input.
    pub fn input(&mut self, text: &str) {
        use std::io::Write;
        let input = self.child.stdin.as_mut().expect("started with an input");
        input.write_all(text.as_bytes()).expect("it reads its input");
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait for a child").is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(pid, signal);
    }

    /// Its exit status, within `limit`.
    pub fn end_within(&mut self, limit: Duration) -> std::process::ExitStatus {
        let what = format!("end of {}", self.what);
        wait::until(limit, &what, || self.child.try_wait().expect("wait for a child"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, or be held by a mount that the world breaks later.
        let _ = self.child.kill();
        let _ = self.child.try_wait();
    }
}
