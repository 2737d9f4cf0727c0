//! Whether a file of the cache is nobody else's, mappings included.

use nix::libc;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Whether nobody else has the file open or mapped: only then a lease on it is given (fcntl(2),
/// `F_SETLEASE`), and goes back at once. False where the file system has none. Whoever opens the file in
/// that moment waits for that, and this process gets a SIGIO: whoever lends files blocks it in all threads.
#[allow(unsafe_code)]
pub fn is_ours_alone(file: &File) -> bool {
    let lease = |kind: libc::c_int| {
        // SAFETY: the descriptor is open, and the call touches no memory of this process.
        let got = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
        got == 0
    };
    let alone = lease(libc::F_WRLCK);
    alone && lease(libc::F_UNLCK)
}
