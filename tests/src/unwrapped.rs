//! System calls that no crate here wraps.
#![allow(unsafe_code)]

use nix::libc;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

/// Longest handle of the kernel (MAX_HANDLE_SZ) and the header before it.
const HANDLE: usize = 8 + 128;

/// A file of a mount, told without a name (name_to_handle_at(2)).
#[derive(Clone, Debug)]
pub struct FileHandle(Vec<u8>);

/// The handle of what a path leads to.
pub fn name_to_handle(path: &Path) -> io::Result<FileHandle> {
    let path = CString::new(path.as_os_str().as_bytes()).expect("paths have no zero byte");
    // `struct file_handle` begins with the room there is.
    let mut handle = vec![0; HANDLE];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount = 0;
    // SAFETY: the handle has the room it says, and the path ends with a zero byte.
    let done = unsafe {
        let (handle, mount) = (handle.as_mut_ptr(), &raw mut mount);
        libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, path.as_ptr(), handle, mount, 0)
    };
    if done == 0 { Ok(FileHandle(handle)) } else { Err(io::Error::last_os_error()) }
}

/// Opens a file of the mount that `on` is a file of (open_by_handle_at(2)).
pub fn open_by_handle(on: &File, handle: &FileHandle, flags: i32) -> io::Result<File> {
    let mut handle = handle.0.clone();
    // SAFETY: the handle came from the kernel, header included; the descriptor is new and ours.
    unsafe {
        let handle = handle.as_mut_ptr();
        let fd = libc::syscall(libc::SYS_open_by_handle_at, on.as_raw_fd(), handle, flags);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd as i32)) }
    }
}

/// Moves up to `length` bytes between a pipe and a file (splice(2)).
pub fn splice(from: &impl AsRawFd, to: &impl AsRawFd, length: usize) -> io::Result<usize> {
    // SAFETY: no offsets are passed, and the descriptors are open.
    let moved = unsafe {
        libc::splice(from.as_raw_fd(), null_mut(), to.as_raw_fd(), null_mut(), length, 0)
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
