//! The process that has a cache: what it says about itself in the lock file, and whether it serves a
//! mount or is about to end.

use crate::mountinfo;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// `PF_EXITING` of the kernel's task flags, field 9 of `/proc/PID/stat`.
const EXITING: u64 = 0x4;
/// SIGKILL in a mask of pending signals, field 31 of `/proc/PID/stat`.
const KILLED: u64 = 1 << 8;

/// What a daemon says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// The source, as written.
    pub source: String,
    /// It was started read-only.
    pub read_only: bool,
    /// What it serves: `None` before the mount is made, and from when it saves its last changes.
    pub mountpoint: Option<PathBuf>,
}

impl Holder {
    /// As text: one `key=value` each line; the mount point, which may hold a newline, is the rest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let access = if self.read_only { "ro" } else { "rw" };
        let head = format!("pid={}\nsource={}\naccess={access}\n", self.pid, self.source);
        let mut text = head.into_bytes();
        if let Some(mountpoint) = &self.mountpoint {
            text.extend_from_slice(b"mountpoint=");
            text.extend_from_slice(mountpoint.as_os_str().as_bytes());
        }
        text
    }

    fn from_bytes(mut text: &[u8]) -> Holder {
        let mut holder = Holder::default();
        while !text.is_empty() {
            if let Some(rest) = text.strip_prefix(b"mountpoint=") {
                holder.mountpoint = Some(OsString::from_vec(rest.to_vec()).into());
                break;
            }
            let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
            let line = String::from_utf8_lossy(&text[..end]);
            text = text.get(end + 1..).unwrap_or_default();
            match line.split_once('=') {
                Some(("pid", value)) => holder.pid = value.parse().unwrap_or_default(),
                Some(("source", value)) => holder.source = value.to_owned(),
                Some(("access", value)) => holder.read_only = value == "ro",
                _ => {}
            }
        }
        holder
    }

    /// Whether it serves a mount and will go on doing so. The mount table knows of an unmount before
    /// the daemon does, and the process table of a kill.
    pub fn is_serving(&self) -> bool {
        let Some(mountpoint) = &self.mountpoint else { return false };
        let mounted = mountinfo::find_of(&self.pid.to_string(), mountpoint);
        mounted.is_some_and(|m| m.fstype == mountinfo::FSTYPE) && !is_dying(self.pid)
    }
}

/// Reads a lock file. What cannot be read is left at its default.
pub fn read(mut file: &File) -> Holder {
    let mut text = Vec::new();
    match file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text)) {
        Ok(_) => Holder::from_bytes(&text),
        Err(_) => Holder::default(),
    }
}

fn is_dying(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| shows_end(&stat))
}

/// Whether a line of `/proc/PID/stat` is that of a process that was killed or ends (proc(5)).
fn shows_end(stat: &str) -> bool {
    // The name, field 2, may hold anything.
    let Some((_, rest)) = stat.rsplit_once(')') else { return true };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|f| f.parse::<u64>().ok());
    matches!(fields.first(), None | Some(&("Z" | "X")))
        || number(9).is_none_or(|flags| flags & EXITING != 0)
        || number(31).is_none_or(|pending| pending & KILLED != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_is_read_as_it_was_written() {
        for mountpoint in [None, Some(PathBuf::from("/mnt/a\npid=3"))] {
            let source = "h:1/a=b".to_owned();
            let holder = Holder { pid: 7, source, read_only: true, mountpoint };
            assert_eq!(Holder::from_bytes(&holder.to_bytes()), holder);
        }
        assert_eq!(Holder::from_bytes(b""), Holder::default());
        assert_eq!(Holder::from_bytes(b"pid=x\nnonsense").pid, 0);
    }

    #[test]
    fn process_that_ends_or_was_killed_is_dying() {
        let line = |state: &str, flags: u64, pending: u64| {
            let middle = "0 ".repeat(21);
            format!("7 (dfs) fuse) {state} 1 7 7 0 -1 {flags} {middle}{pending} 0 0 0")
        };
        assert!(!shows_end(&line("S", 0x400140, 0)));
        assert!(!shows_end(&line("T", 0x400140, 1 << 14)));
        for (state, flags, pending) in [("Z", 0, 0), ("R", 0x400144, 0), ("D", 0x400140, 1 << 8)] {
            assert!(shows_end(&line(state, flags, pending)), "{state} {flags} {pending}");
        }
        assert!(!is_dying(std::process::id()));
        assert!(is_dying(0), "there is no such process");
    }
}
