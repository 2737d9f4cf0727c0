//! How long the server may compute at a stretch while somebody else wants the processor
//! (`docs/design/0040`).

use nix::errno::Errno;
use nix::libc;
use std::io;
use std::mem::size_of;
use std::time::Duration;

/// Longer than what the scheduler gives by itself, 1 to 3 ms, and still no time that a client notices.
const SLICE: Duration = Duration::from_millis(10);

/// Asks for long time slices for this thread and those that it starts from now on: whoever has the
/// usual ones, and wakes up, runs before them. Their share of the processor is the same. Linux before
/// 6.12 gives no such slices and says nothing. Errors: those of sched_setattr(2).
pub fn lengthen() -> io::Result<()> {
    let mut attr = get()?;
    if [libc::SCHED_OTHER, libc::SCHED_BATCH].iter().all(|&fair| attr.sched_policy != fair as u32) {
        // Somebody gave the server another policy, where this number means something else.
        return Ok(());
    }
    attr.sched_runtime = SLICE.as_nanos() as u64;
    set(&attr)
}

#[allow(unsafe_code)]
fn get() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>();
    // SAFETY: all zeros are a valid value of a structure of numbers.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which `attr` has.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    Errno::result(got)?;
    Ok(attr)
}

#[allow(unsafe_code)]
fn set(attr: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as `attr.size` says; `get` had the kernel fill that in.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0) };
    Errno::result(set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_is_long_in_threads_that_start_later_and_nothing_else_changes() {
        std::thread::spawn(|| {
            let before = get().unwrap();
            lengthen().unwrap();
            let after = std::thread::spawn(|| get().unwrap()).join().unwrap();
            let told =
                |attr: &libc::sched_attr| (attr.sched_policy, attr.sched_nice, attr.sched_flags);
            assert_eq!(told(&after), told(&before));
            // Zero where the kernel knows no slices.
            let known = before.sched_runtime > 0;
            assert_eq!(after.sched_runtime, if known { SLICE.as_nanos() as u64 } else { 0 });
        })
        .join()
        .unwrap();
    }
}
