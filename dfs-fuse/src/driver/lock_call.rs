//! Which system call asks for a lock: flock(2) or fcntl(2). fuser does not pass on the kernel's flag
//! (PROTOCOL 5.4), but the caller stays inside its call until it is answered, and `/proc/TID/syscall`
//! shows it (proc(5)).

use dfs_core::lock::Kind;
use nix::libc;
use std::time::Duration;

/// flock(2), of this machine and of 32-bit programs.
const FLOCK: [i64; 2] = [libc::SYS_flock, 143];
/// fcntl(2), the same, with the two that 32-bit programs have.
const FCNTL: [i64; 3] = [libc::SYS_fcntl, 55, 221];
/// Commands for locks of open files; nix has them for some C libraries only.
const OPEN_FILE: [u64; 2] = [37, 38];
/// A caller that has not gone to sleep yet, which takes it microseconds, is looked at again at once so
/// often, and then so often with a pause.
const AT_ONCE: u32 = 20;
const ATTEMPTS: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(1);

/// What can be seen of a thread.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Kind(Kind),
    /// It runs: the request was read before its caller slept.
    Running,
}

/// The kind of lock that the thread `tid` asks for; `Any` if it cannot be seen.
pub async fn kind(tid: u32) -> Kind {
    for attempt in 0..ATTEMPTS {
        match look(tid) {
            Seen::Kind(kind) => return kind,
            Seen::Running if attempt < AT_ONCE => std::thread::yield_now(),
            Seen::Running => tokio::time::sleep(PAUSE).await,
        }
    }
    Kind::Any
}

fn look(tid: u32) -> Seen {
    if tid == 0 {
        return Seen::Kind(Kind::Any);
    }
    let line = std::fs::read_to_string(format!("/proc/{tid}/syscall"));
    line.map_or(Seen::Kind(Kind::Any), |line| parse(&line))
}

/// Reads `NUMBER ARGUMENT...`, the arguments in hexadecimal, or `running`.
fn parse(text: &str) -> Seen {
    let mut words = text.split_ascii_whitespace();
    let number = words.next().unwrap_or_default();
    if number == "running" {
        return Seen::Running;
    }
    let command = words.nth(1).and_then(|word| word.strip_prefix("0x"));
    let command = command.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Seen::Kind(match (number.parse::<i64>(), command) {
        (Ok(number), Some(_)) if FLOCK.contains(&number) => Kind::Flock,
        // The command is an int: what stands above it means nothing.
        (Ok(number), Some(command)) if FCNTL.contains(&number) => {
            match OPEN_FILE.contains(&(command & u64::from(u32::MAX))) {
                true => Kind::OpenFile,
                false => Kind::Process,
            }
        }
        _ => Kind::Any,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{Flock, FlockArg};
    use std::sync::mpsc;
    use std::time::Instant;

    #[test]
    fn lock_call_is_read_out_of_the_line() {
        let line = |number: i64, command: u64| {
            format!("{number} 0x3 {command:#x} 0x7ffe 0x0 0x0 0x0 0x7ffd 0x7f00\n")
        };
        for (number, command, kind) in [
            (libc::SYS_flock, 6, Kind::Flock),
            (143, 38, Kind::Flock),
            (libc::SYS_fcntl, 7, Kind::Process),
            (221, 14, Kind::Process),
            (libc::SYS_fcntl, 38, Kind::OpenFile),
            (libc::SYS_fcntl, 0xffff_ffff_0000_0025, Kind::OpenFile),
            (libc::SYS_read, 38, Kind::Any),
        ] {
            assert_eq!(parse(&line(number, command)), Seen::Kind(kind), "{number} {command}");
        }
        for text in ["", "-1 0x7ffe 0x7f00", "72", "72 3 7", "nonsense 0x1 0x2"] {
            assert_eq!(parse(text), Seen::Kind(Kind::Any), "{text}");
        }
        assert_eq!(parse("running\n"), Seen::Running);
    }

    #[test]
    fn lock_call_of_a_thread_that_waits_is_seen() {
        assert_eq!(look(0), Seen::Kind(Kind::Any));
        assert_eq!(look(u32::MAX), Seen::Kind(Kind::Any));
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = Flock::lock(file.reopen().unwrap(), FlockArg::LockExclusive).unwrap();
        let (other, (say, said)) = (file.reopen().unwrap(), mpsc::channel());
        let waiter = std::thread::spawn(move || {
            say.send(nix::unistd::gettid().as_raw() as u32).unwrap();
            Flock::lock(other, FlockArg::LockExclusive).map(drop)
        });
        let tid = said.recv().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        // It may not have come so far yet, in any other call before it.
        while look(tid) != Seen::Kind(Kind::Flock) {
            assert!(Instant::now() < limit, "{:?}", look(tid));
            std::thread::yield_now();
        }
        drop(held);
        assert!(waiter.join().unwrap().is_ok());
    }
}
