//! Files mapped into memory: the only place of the tests that touches raw memory.
#![allow(unsafe_code)]

use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};

/// How a mapping's stores meet the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They change it.
    Shared,
    /// They stay with the mapping.
    Private,
}

/// A part of a file in memory. The file must stay as long as the mapping reaches while it is touched:
/// behind the last page of a file there is no memory.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<libc::c_void>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes from the start, readable and, unless `read_only`, writable.
    pub fn new(file: &File, length: usize, how: Sharing, read_only: bool) -> io::Result<Mapping> {
        let access = libc::PROT_READ | if read_only { 0 } else { libc::PROT_WRITE };
        let flags = match how {
            Sharing::Shared => libc::MAP_SHARED,
            Sharing::Private => libc::MAP_PRIVATE,
        };
        // SAFETY: a new mapping at an address the kernel chooses overlaps nothing.
        let address = unsafe { libc::mmap(null_mut(), length, access, flags, file.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address =
            NonNull::new(address).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Mapping { address, length })
    }

    /// Stores `bytes` at `at`.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length, "behind the mapping");
        // SAFETY: the target is inside a mapping only we write to, and `bytes` is outside of it.
        unsafe {
            copy_nonoverlapping(
                bytes.as_ptr(),
                self.address.as_ptr().cast::<u8>().add(at),
                bytes.len(),
            )
        };
    }

    /// Loads `length` bytes from `at`.
    pub fn get(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.length, "behind the mapping");
        let mut bytes = vec![0; length];
        // SAFETY: the source is inside the mapping, and `bytes` is outside of it.
        unsafe {
            copy_nonoverlapping(
                self.address.as_ptr().cast::<u8>().add(at),
                bytes.as_mut_ptr(),
                length,
            )
        };
        bytes
    }

    /// Writes the first `length` bytes of the mapping to `file` at `at`, from where they are.
    pub fn write_to(&self, file: &File, length: usize, at: i64) -> io::Result<usize> {
        assert!(length <= self.length, "behind the mapping");
        // SAFETY: the bytes are inside the mapping.
        let written = unsafe { libc::pwrite(file.as_raw_fd(), self.address.as_ptr(), length, at) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    /// Reads up to `length` bytes of `file` at `at` into the start of the mapping.
    pub fn read_from(&self, file: &File, length: usize, at: i64) -> io::Result<usize> {
        assert!(length <= self.length, "behind the mapping");
        // SAFETY: the target is inside the mapping, which nobody refers to.
        let read = unsafe { libc::pread(file.as_raw_fd(), self.address.as_ptr(), length, at) };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    /// Waits until all stores are saved (msync(2)).
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is that of the mapping.
        match unsafe { libc::msync(self.address.as_ptr(), self.length, libc::MS_SYNC) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody refers to memory of the mapping; it was made with this address and length.
        unsafe { libc::munmap(self.address.as_ptr(), self.length) };
    }
}
