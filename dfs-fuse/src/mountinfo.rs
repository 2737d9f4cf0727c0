//! The table of mounts of a process (proc(5), `/proc/PID/mountinfo`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// File-system type of our mounts.
pub const FSTYPE: &str = "fuse.dfs";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Device number as `major:minor`.
    pub device: String,
    /// Where.
    pub mountpoint: PathBuf,
    /// File-system type.
    pub fstype: String,
    /// Source.
    pub source: OsString,
    /// Options of the super block, as the kernel writes them.
    pub super_options: String,
}

/// The mount on top at `mountpoint`, which must be canonical. `None` if nothing is mounted there or
/// the table cannot be read.
pub fn find(mountpoint: &Path) -> Option<Mounted> {
    find_of("self", mountpoint)
}

/// As [`find`], in the table of another process, which may live in other namespaces.
pub fn find_of(process: &str, mountpoint: &Path) -> Option<Mounted> {
    let table = std::fs::read(format!("/proc/{process}/mountinfo")).ok()?;
    find_in(&table, mountpoint)
}

fn find_in(table: &[u8], mountpoint: &Path) -> Option<Mounted> {
    // Later lines cover earlier ones.
    table
        .split(|b| *b == b'\n')
        .filter_map(parse_line)
        .rfind(|mounted| mounted.mountpoint == mountpoint)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(Mounted {
        device: text(fields.get(2)?),
        mountpoint: PathBuf::from(unescape(fields.get(4)?)),
        fstype: text(fields.get(dash + 1)?),
        source: unescape(fields.get(dash + 2)?),
        super_options: text(fields.get(dash + 3)?),
    })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|d| d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match digits {
            Some(d) if first == b'\\' => {
                let value = d.iter().fold(0u32, |n, b| n * 8 + u32::from(b - b'0'));
                out.push(value as u8);
                rest = &tail[3..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_returns_the_topmost_mount_unescaped() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            40 22 0:40 / /mnt/a\\040b rw shared:7 - fuse.dfs host:1 rw,user_id=0\n\
            41 40 0:41 / /mnt/a\\040b ro master:1 shared:2 - fuse.dfs host:2/x ro,user_id=0\n\
            torn line";
        let top = find_in(table, Path::new("/mnt/a b")).unwrap();
        assert_eq!((top.device.as_str(), top.source.to_str()), ("0:41", Some("host:2/x")));
        assert_eq!((top.fstype.as_str(), top.super_options.as_str()), (FSTYPE, "ro,user_id=0"));
        assert_eq!(find_in(table, Path::new("/mnt")), None);
    }

    #[test]
    fn find_reads_the_table_of_this_system() {
        assert!(find(Path::new("/proc")).is_some_and(|m| m.fstype == "proc"));
    }
}
