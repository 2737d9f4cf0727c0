//! What operations of an exercise share: results as text, copies to their end, comparisons.

use std::fs::File;
use std::io;

/// The outcome of an operation, or what was wrong.
pub type Step = Result<(), String>;

/// Names the call that failed.
pub fn said(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// copy_file_range(2) until everything is copied or the source ends.
pub fn copy(
    from: &File,
    at: usize,
    to: &File,
    at_to: usize,
    length: usize,
) -> Result<usize, String> {
    let (mut source, mut target, mut done) = (at as u64, at_to as u64, 0);
    while done < length {
        let some = (Some(&mut source), Some(&mut target));
        match rustix::fs::copy_file_range(from, some.0, to, some.1, length - done) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) => return Err(format!("copy_file_range: {error}")),
        }
    }
    Ok(done)
}

/// Compares bytes read at `at` with the image.
pub fn same(what: &str, at: usize, got: &[u8], want: &[u8]) -> Step {
    if got == want {
        return Ok(());
    }
    let shorter = got.len().min(want.len());
    let first = got.iter().zip(want).position(|(g, w)| g != w).unwrap_or(shorter);
    let differing = got.iter().zip(want).filter(|(g, w)| g != w).count();
    let zeros = got[first.min(got.len())..].iter().take_while(|byte| **byte == 0).count();
    Err(format!(
        "{what} at {at}: {} bytes, must be {}; {differing} differ, the first at {}, {zeros} zeros there",
        got.len(),
        want.len(),
        at + first
    ))
}
