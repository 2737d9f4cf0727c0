//! System calls that `std` does not offer, as paths and numbers.

use nix::libc;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What `stat` shows, without the access time, for comparisons between mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Inode number, mode with type, links, owner, group, size.
    pub numbers: [u64; 6],
    /// Modification and change time in seconds and nanoseconds.
    pub times: [i64; 4],
}

/// `lstat`, and the errno if it fails.
pub fn look(path: &Path) -> Result<Seen, i32> {
    use std::os::unix::fs::MetadataExt;
    let m = std::fs::symlink_metadata(path).map_err(errno)?;
    let size = if m.is_dir() { 0 } else { m.len() };
    Ok(Seen {
        numbers: [m.ino(), m.mode().into(), m.nlink(), m.uid().into(), m.gid().into(), size],
        times: [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()],
    })
}

/// The errno of an error; 0 if it has none.
pub fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Names in a folder, sorted.
pub fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Opens with raw flags, access mode included.
pub fn open(path: &Path, flags: i32) -> io::Result<File> {
    let access = flags & libc::O_ACCMODE;
    let mut options = OpenOptions::new();
    options.read(access != libc::O_WRONLY).write(access != libc::O_RDONLY);
    options.create(flags & libc::O_CREAT != 0).append(flags & libc::O_APPEND != 0);
    let rest = flags & !(libc::O_ACCMODE | libc::O_CREAT | libc::O_APPEND);
    options.mode(0o644).custom_flags(rest).open(path)
}

/// Sets an extended attribute.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())?)
}

/// An extended attribute.
pub fn get_xattr(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// Names of all extended attributes, sorted.
pub fn list_xattrs(path: &Path) -> io::Result<Vec<String>> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Removes an extended attribute.
pub fn remove_xattr(path: &Path, name: &str) -> io::Result<()> {
    Ok(rustix::fs::lremovexattr(path, name)?)
}

/// Exchanges two names.
pub fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// Renames unless the new name exists.
pub fn rename_noreplace(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::NOREPLACE)?)
}

/// Makes a FIFO.
pub fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).expect("paths have no zero byte");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    Ok(rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?)
}

/// Tries to take a record lock on the whole file; the errno if it is held by somebody else.
pub fn try_record_lock(file: &File, exclusive: bool) -> io::Result<()> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    record_lock(file, kind, false)
}

/// Waits for a record lock on the whole file.
pub fn wait_record_lock(file: &File) -> io::Result<()> {
    record_lock(file, libc::F_WRLCK, true)
}

/// Gives a record lock back.
pub fn record_unlock(file: &File) -> io::Result<()> {
    record_lock(file, libc::F_UNLCK, false)
}

fn record_lock(file: &File, kind: i32, wait: bool) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let arg = if wait { FcntlArg::F_SETLKW(&lock) } else { FcntlArg::F_SETLK(&lock) };
    fcntl(file, arg)?;
    Ok(())
}

/// Bytes a folder takes on its disk (`du`), links counted once.
pub fn disk_usage(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        // Files come and go while we look.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if seen.insert(meta.ino()) {
                bytes += meta.blocks() * 512;
            }
        }
    }
    bytes
}
