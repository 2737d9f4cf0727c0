//! What `/proc/TID/status` tells about a thread: its groups and its signals (proc(5)).

/// SIGKILL, which cannot be blocked or ignored.
const SIGKILL: u64 = 1 << (9 - 1);
/// Signals that do nothing unless a handler is installed (signal(7)): SIGCHLD, SIGCONT, SIGURG and
/// SIGWINCH.
const IGNORED_BY_DEFAULT: u64 = 1 << (17 - 1) | 1 << (18 - 1) | 1 << (23 - 1) | 1 << (28 - 1);
/// Signals that stop a process unless a handler is installed (signal(7)): SIGSTOP, SIGTSTP, SIGTTIN
/// and SIGTTOU.
const STOPS_BY_DEFAULT: u64 = 1 << (19 - 1) | 1 << (20 - 1) | 1 << (21 - 1) | 1 << (22 - 1);

/// Signals by which a terminal or kill(1) asks a program to stop: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const REQUESTS: u64 = 1 | 1 << (2 - 1) | 1 << (3 - 1) | 1 << (15 - 1);

/// Signal masks of a thread; bit n-1 is signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Sent to the thread or its process and not taken yet (`SigPnd`, `ShdPnd`).
    pub pending: u64,
    /// `SigBlk`.
    pub blocked: u64,
    /// `SigIgn`.
    pub ignored: u64,
    /// With a handler (`SigCgt`).
    pub caught: u64,
}

impl Signals {
    /// Reads the masks out of the text of a status file; a missing one is empty.
    pub fn parse(status: &str) -> Signals {
        let mask = |key| {
            let digits = field(status, key).unwrap_or_default();
            u64::from_str_radix(digits, 16).unwrap_or_default()
        };
        Signals {
            pending: mask("SigPnd:") | mask("ShdPnd:"),
            blocked: mask("SigBlk:"),
            ignored: mask("SigIgn:"),
            caught: mask("SigCgt:"),
        }
    }

    /// Whether a signal waits that would end a system call: one that is neither blocked nor ignored,
    /// be it by wish or by default.
    pub fn interrupt(self) -> bool {
        let ignored = self.ignored | (IGNORED_BY_DEFAULT & !self.caught);
        self.pending & SIGKILL != 0 || self.pending & !self.blocked & !ignored != 0
    }

    /// Whether a signal waits that asks the process to stop, or stops it unasked.
    pub fn stop(self) -> bool {
        self.kill() || Signals { pending: self.pending & REQUESTS, ..self }.interrupt()
    }

    /// Whether a signal waits that ends the process: it never sees what became of its system call.
    pub fn kill(self) -> bool {
        let survived = self.caught | STOPS_BY_DEFAULT;
        Signals { pending: self.pending & (!survived | SIGKILL), ..self }.interrupt()
    }
}

/// Supplementary groups out of the text of a status file.
pub fn groups(status: &str) -> Vec<u32> {
    let list = field(status, "Groups:").unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|gid| gid.parse().ok()).collect()
}

/// The text of the status file of a thread, `None` if it is gone or hidden.
pub fn read(tid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    // The name of the program may be any bytes.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tcat\nUid:\t0\t0\t0\t0\nGroups:\t4 24 1000 \n\
        SigQ:\t1/95\nSigPnd:\t0000000000000002\nShdPnd:\t0000000000004000\n\
        SigBlk:\t0000000000004000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180010000\n";

    fn bit(signal: u32) -> u64 {
        1 << (signal - 1)
    }

    #[test]
    fn status_masks_and_groups_are_read() {
        let signals = Signals::parse(STATUS);
        assert_eq!(signals.pending, bit(2) | bit(15));
        assert_eq!(signals.blocked, bit(15));
        assert_eq!(signals.ignored, bit(13));
        assert_eq!(signals.caught, 0x1_8001_0000);
        assert!(signals.interrupt());
        assert_eq!(groups(STATUS), [4, 24, 1000]);
        assert_eq!(Signals::parse("Name:\tx\nSigPnd:\tnonsense\n"), Signals::default());
        assert!(groups("Groups:\t\n").is_empty());
    }

    #[test]
    fn status_of_this_process_is_found() {
        let status = read(std::process::id()).unwrap();
        assert!(status.contains("SigPnd:") && status.contains("Groups:"));
        assert_eq!(read(u32::MAX), None);
    }

    #[test]
    fn interrupt_depends_on_what_the_thread_would_do() {
        let pending = |signal| Signals { pending: bit(signal), ..Signals::default() };
        assert!(!Signals::default().interrupt());
        for signal in [1, 2, 3, 9, 10, 14, 15, 34, 64] {
            assert!(pending(signal).interrupt(), "signal {signal}");
        }
        for signal in [17, 18, 23, 28] {
            assert!(!pending(signal).interrupt(), "signal {signal} does nothing by default");
            let caught = Signals { caught: bit(signal), ..pending(signal) };
            assert!(caught.interrupt(), "signal {signal} has a handler");
        }
        for signal in [9, 14, 15] {
            assert!(pending(signal).kill(), "signal {signal}");
        }
        for signal in [17, 20, 23] {
            assert!(!pending(signal).kill(), "signal {signal} ends nobody");
        }
        let handled = Signals { caught: bit(14), ..pending(14) };
        assert!(handled.interrupt() && !handled.stop() && !handled.kill());
        let asked = Signals { caught: bit(2), ..pending(2) };
        assert!(asked.interrupt() && asked.stop() && !asked.kill());
        assert!(!Signals { blocked: bit(15), ..pending(15) }.interrupt());
        assert!(!Signals { ignored: bit(2), ..pending(2) }.interrupt());
        let killed = Signals { blocked: u64::MAX, ignored: u64::MAX, ..pending(9) };
        assert!(killed.interrupt());
    }
}
