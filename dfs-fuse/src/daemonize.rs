//! Becoming a daemon: the process that was started waits until its child has mounted, prints what
//! went wrong, and exits with mount(8)'s codes.

use crate::exit::{Failure, INTERNAL, Result};
use std::fs::OpenOptions;
use std::io::{PipeReader, PipeWriter, Read, Write};

/// Which side of the fork we are.
pub enum Side {
    /// The process that was started, with the result of the mount.
    Caller(Result<()>),
    /// The process that serves the mount.
    Daemon(Reporter),
}

/// Tells the caller how the mount went; in the foreground there is no caller.
pub struct Reporter(Option<PipeWriter>);

/// Forks, unless `foreground`. Must be called while the process has one thread.
pub fn split(foreground: bool) -> Result<Side> {
    if foreground {
        return Ok(Side::Daemon(Reporter(None)));
    }
    let (reader, writer) =
        std::io::pipe().map_err(|e| Failure::system(format!("cannot make a pipe: {e}")))?;
    if fork()? {
        drop(writer);
        return Ok(Side::Caller(result_of(reader)));
    }
    drop(reader);
    // A new session has no terminal, and `/` keeps no other file system busy.
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    Ok(Side::Daemon(Reporter(Some(writer))))
}

/// True in the parent, false in the child.
#[allow(unsafe_code)]
fn fork() -> Result<bool> {
    // SAFETY: `main` calls this before it starts any thread, so the child has no lock that a thread
    // which does not exist there could hold.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Parent { .. }) => Ok(true),
        Ok(nix::unistd::ForkResult::Child) => Ok(false),
        Err(e) => Err(Failure::system(format!("cannot fork: {}", e.desc()))),
    }
}

impl Reporter {
    /// The mount can be used: lets the caller go, and lets go of its terminal and pipes.
    pub fn ready(&mut self) {
        let Some(mut pipe) = self.0.take() else { return };
        let _ = pipe.write_all(&[0]);
        if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            let _ = nix::unistd::dup2_stdin(&null);
            let _ = nix::unistd::dup2_stdout(&null);
            let _ = nix::unistd::dup2_stderr(&null);
        }
    }

    /// The mount failed. True if the caller was still there to be told.
    pub fn failed(&mut self, failure: &Failure) -> bool {
        let Some(mut pipe) = self.0.take() else { return false };
        let mut report = vec![failure.status];
        report.extend_from_slice(failure.message.as_bytes());
        pipe.write_all(&report).is_ok()
    }
}

/// Waits for the report of the daemon.
fn result_of(mut pipe: PipeReader) -> Result<()> {
    let mut report = Vec::new();
    let read = pipe.read_to_end(&mut report);
    match (read, report.split_first()) {
        (Ok(_), Some((0, _))) => Ok(()),
        (Ok(_), Some((&status, message))) => {
            Err(Failure { status, message: String::from_utf8_lossy(message).into_owned() })
        }
        _ => {
            let message = "the daemon ended before it had mounted: see its log".to_owned();
            Err(Failure { status: INTERNAL, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_reach_the_caller() {
        let report = |tell: &dyn Fn(&mut Reporter)| {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut reporter = Reporter(Some(writer));
            tell(&mut reporter);
            drop(reporter);
            result_of(reader)
        };
        let failure = Failure::mount("cannot reach server");
        let told = report(&|reporter| assert!(reporter.failed(&failure)));
        assert_eq!(told, Err(failure));
        assert_eq!(report(&|_| ()).unwrap_err().status, INTERNAL, "daemon died");
        assert!(!Reporter(None).failed(&Failure::mount("x")), "foreground");
    }
}
