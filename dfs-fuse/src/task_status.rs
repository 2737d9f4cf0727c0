//! What `/proc/TID` tells about a thread: who it is and its signals (proc(5)).

use dfs_core::range::Range;
use std::os::unix::fs::MetadataExt;

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

/// Who a thread is for the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User it uses files as.
    pub uid: u32,
    /// The same for the group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Effective capabilities, one bit for each number.
    pub capabilities: u64,
}

impl Identity {
    /// Reads it out of the text of a status file; what is missing is nobody's.
    pub fn parse(status: &str) -> Identity {
        let numbers = |key| {
            let list = field(status, key).unwrap_or_default();
            list.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
        };
        // Real, effective, saved, file system.
        let of_files = |key| numbers(key).get(3).copied().unwrap_or(u32::MAX);
        let capabilities = field(status, "CapEff:").unwrap_or_default();
        Identity {
            uid: of_files("Uid:"),
            gid: of_files("Gid:"),
            groups: numbers("Groups:"),
            capabilities: u64::from_str_radix(capabilities, 16).unwrap_or_default(),
        }
    }
}

/// Which user namespace a thread is in; `None` if it is gone or hidden.
pub fn user_namespace(tid: u32) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(format!("/proc/{tid}/ns/user")).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The users (`kind` is `uid`) or groups (`gid`) that the user namespace of a thread knows, by our
/// numbers; `None` if it is gone or hidden.
pub fn known_ids(tid: u32, kind: &str) -> Option<Vec<Range>> {
    let map = std::fs::read_to_string(format!("/proc/{tid}/{kind}_map")).ok()?;
    map.lines().map(mapped).collect()
}

/// A line of a map: first number inside, first number outside, how many.
fn mapped(line: &str) -> Option<Range> {
    let mut numbers =
        line.split_ascii_whitespace().skip(1).map(|number| number.parse::<u32>().ok());
    let (first, count) = (numbers.next()??, numbers.next()??);
    Some(Range::of_len(first.into(), count.into()))
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

    const STATUS: &str = "Name:\tcat\nUid:\t0\t0\t0\t7\nGid:\t1\t2\t3\t4\n\
        Groups:\t4 24 1000 \n\
        SigQ:\t1/95\nSigPnd:\t0000000000000002\nShdPnd:\t0000000000004000\n\
        SigBlk:\t0000000000004000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180010000\n\
        CapPrm:\t0000000000000005\nCapEff:\t0000000000000001\n";

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
        let wanted = Identity { uid: 7, gid: 4, groups: vec![4, 24, 1000], capabilities: 1 };
        assert_eq!(Identity::parse(STATUS), wanted);
        assert_eq!(Signals::parse("Name:\tx\nSigPnd:\tnonsense\n"), Signals::default());
        let nobody = Identity { uid: u32::MAX, gid: u32::MAX, ..Identity::default() };
        assert_eq!(Identity::parse("Groups:\t\nUid:\t1\n"), nobody);
    }

    #[test]
    fn map_of_a_namespace_is_told_by_our_numbers() {
        assert_eq!(mapped("         0       4001          1"), Some(Range::new(4001, 4002)));
        assert_eq!(mapped("1 100000 65536"), Some(Range::new(100_000, 165_536)));
        assert_eq!(mapped("0 0 4294967295"), Some(Range::new(0, u64::from(u32::MAX))));
        assert_eq!(mapped("0 0"), None);
        assert_eq!(mapped("0 x 1"), None);
        let everybody = Range::new(0, u64::from(u32::MAX));
        let known = known_ids(std::process::id(), "uid").unwrap();
        assert!(known.iter().all(|ids| everybody.covers(*ids)) && !known.is_empty());
        assert_eq!(known_ids(u32::MAX, "gid"), None);
    }

    #[test]
    fn status_of_this_process_is_found() {
        let status = read(std::process::id()).unwrap();
        assert!(
            status.contains("SigPnd:") && status.contains("Groups:") && status.contains("CapEff:")
        );
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
