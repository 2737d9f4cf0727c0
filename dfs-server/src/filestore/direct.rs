//! Input and output past the page cache (open(2), `O_DIRECT`), and memory that is fit for it.
//!
//! Whether a file system can do that shows when it is asked. One that cannot is used through its page
//! cache; nothing else changes.

use crate::disk::{self, Aligned, BLOCK};
use dfs_core::limits::{DIRECT_BUFFERS, DIRECT_STEP};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

const _: () = assert!(DIRECT_STEP.is_multiple_of(BLOCK), "buffers are written as a whole");

/// Buffers between two uses: memory that was used a moment ago is faster than new one.
#[derive(Clone, Default)]
pub(super) struct Pool {
    free: Arc<Mutex<Vec<Aligned>>>,
}

/// [`DIRECT_STEP`] bytes of aligned memory, of any content.
pub(super) struct Buffer {
    memory: Aligned,
    pool: Pool,
}

impl Pool {
    /// A buffer, which comes back when it is dropped.
    pub(super) fn take(&self) -> Buffer {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = kept.unwrap_or_else(|| Aligned::new(DIRECT_STEP));
        Buffer { memory, pool: self.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < DIRECT_BUFFERS {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A new file that is written from front to back.
pub(super) struct Output {
    file: File,
    /// Where the next write to the file goes.
    at: u64,
    /// What comes before the next write, so far `filled` bytes; none: the page cache is used.
    buffer: Option<Buffer>,
    filled: usize,
}

impl Output {
    /// Writes to `file`, past the page cache if there is a buffer.
    pub(super) fn new(file: File, buffer: Option<Buffer>) -> Output {
        let buffer = buffer.filter(|_| disk::set_direct(&file, true).is_ok());
        Output { file, at: 0, buffer, filled: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while let Some(buffer) = self.buffer.as_mut().filter(|_| !rest.is_empty()) {
            let room = &mut buffer[self.filled..];
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            rest = later;
            if self.filled == DIRECT_STEP {
                self.write_out(DIRECT_STEP)?;
                self.filled = 0;
            }
        }
        self.file.write_all(rest)?;
        self.at += rest.len() as u64;
        Ok(())
    }

    /// What is not whole blocks goes through the page cache, and so does all that follows. Answers
    /// the file.
    pub(super) fn end_direct(&mut self) -> io::Result<&File> {
        let whole = self.filled - self.filled % BLOCK;
        self.write_out(whole)?;
        if let Some(buffer) = self.buffer.take() {
            disk::set_direct(&self.file, false)?;
            self.write(&buffer[whole..self.filled])?;
        }
        Ok(&self.file)
    }

    /// The file, to which nothing is written any more.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    fn write_out(&mut self, len: usize) -> io::Result<()> {
        let Some(bytes) = self.buffer.as_ref().map(|buffer| &buffer[..len]) else { return Ok(()) };
        let mut written = self.file.write_all(bytes);
        if written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::InvalidInput) {
            // This disk wants larger blocks, or its file system took the flag and cannot do it.
            disk::set_direct(&self.file, false)?;
            self.file.seek(SeekFrom::Start(self.at))?;
            written = self.file.write_all(bytes);
        }
        self.at += len as u64;
        written
    }
}

/// Reads `len` bytes from `at`, a multiple of [`BLOCK`], of a file for which `O_DIRECT` was set; at
/// most a buffer full. Through the page cache if it cannot be done past it.
pub(super) fn read(file: &File, pool: &Pool, at: u64, len: usize) -> io::Result<Buffer> {
    let mut buffer = pool.take();
    let whole = len.next_multiple_of(BLOCK);
    match file.read_at(&mut buffer[..whole], at) {
        Ok(got) if got >= len => {}
        Ok(_) | Err(_) => {
            disk::set_direct(file, false)?;
            file.read_exact_at(&mut buffer[..len], at)?;
        }
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_writes_what_it_was_given_in_any_pieces() {
        let pool = Pool::default();
        let bytes: Vec<u8> = (0..2 * DIRECT_STEP + 5000).map(|i| (i % 251) as u8).collect();
        for piece in [777, 4096, DIRECT_STEP, bytes.len()] {
            for buffer in [None, Some(pool.take())] {
                let mut output = Output::new(tempfile::tempfile().unwrap(), buffer);
                let (head, tail) = bytes.split_at(bytes.len() - 10);
                head.chunks(piece).for_each(|piece| output.write(piece).unwrap());
                output.end_direct().unwrap();
                output.write(tail).unwrap();
                let file = output.into_file();
                let mut back = vec![0; bytes.len()];
                file.read_exact_at(&mut back, 0).unwrap();
                assert!(back == bytes, "pieces of {piece}");
                assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
            }
        }
    }

    #[test]
    fn direct_read_reaches_to_the_end_of_the_file() {
        let (pool, file) = (Pool::default(), tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..3 * BLOCK + 100).map(|i| (i % 251) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        for direct in [true, false] {
            // Where that is refused the answer is the same.
            let _ = disk::set_direct(&file, direct);
            for (at, len) in [(0, 5), (BLOCK, BLOCK), (2 * BLOCK, BLOCK + 100), (3 * BLOCK, 100)] {
                let read = read(&file, &pool, at as u64, len).unwrap();
                assert_eq!(read[..len], bytes[at..at + len]);
            }
            assert!(read(&file, &pool, 3 * BLOCK as u64, 101).is_err());
        }
    }

    #[test]
    fn pool_keeps_a_bounded_number_of_buffers() {
        let pool = Pool::default();
        let taken: Vec<Buffer> = (0..DIRECT_BUFFERS + 3).map(|_| pool.take()).collect();
        assert!(taken.iter().all(|buffer| buffer.as_ptr().addr().is_multiple_of(BLOCK)));
        drop(taken);
        assert_eq!(pool.free.lock().unwrap().len(), DIRECT_BUFFERS);
    }
}
