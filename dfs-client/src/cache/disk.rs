//! The few calls to the cache's own file system, and how their failures read.

use dfs_core::range::Range;
use dfs_core::{Code, FsError, errno};
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Room is given back in pieces of this many bytes by every file system we know.
pub const DISK_BLOCK: u64 = 4096;
/// Written at a time. On ext4 (Linux 6.18), for a file written so many bytes at a time: by 64 KiB reading
/// it again ran at 7.8 GB/s and writing 4 KiB into it took 4.9 us, by 256 KiB 18 GB/s and 5.3 us, by 1
/// MiB 19.7 GB/s and 9.8 us.
const WRITE_STEP: u64 = 256 * 1024;
/// Unit of `st_blocks` (stat(2)).
const STAT_BLOCK: u64 = 512;

/// The failure of an operating system call on a file of the cache.
pub fn io_error(what: &str, path: &Path, e: &io::Error) -> FsError {
    let code = e.raw_os_error().map_or(Code::Io, errno::code_of);
    FsError::new(code, format!("cannot {what} {}: {e}", path.display()))
}

/// Reads `range` into `buf`, replacing what was there; bytes behind the end of the file are zero.
pub fn read_zero_filled(file: &File, range: Range, buf: &mut Vec<u8>) -> io::Result<()> {
    buf.clear();
    let len =
        usize::try_from(range.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    buf.resize(len, 0);
    let mut done = 0;
    while done < len {
        match file.read_at(&mut buf[done..], range.start + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes bytes at an offset, step by step: what is written at once a file system keeps as one piece
/// of memory, and looks at all of it for each small write that follows.
pub fn write_in_steps(file: &File, start: u64, bytes: &[u8]) -> io::Result<()> {
    let first = (WRITE_STEP - start % WRITE_STEP) as usize;
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    file.write_all_at(head, start)?;
    let mut at = start + head.len() as u64;
    for step in rest.chunks(WRITE_STEP as usize) {
        file.write_all_at(step, at)?;
        at += step.len() as u64;
    }
    Ok(())
}

/// Appends the bytes of `range` to `buf`; those behind the end of the file are zero. Moves the file's
/// own offset, which nothing else uses; memory is not cleared first, unlike for a read at an offset.
pub fn append_zero_filled(mut file: &File, range: Range, buf: &mut Vec<u8>) -> io::Result<()> {
    let len =
        usize::try_from(range.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let end = buf.len() + len;
    buf.reserve(len);
    file.seek(SeekFrom::Start(range.start))?;
    file.take(range.len()).read_to_end(buf)?;
    buf.resize(end, 0);
    Ok(())
}

/// Gives the room of `range` back; the file keeps its length. A file system without holes is left
/// as it is: nobody reads punched bytes from it.
pub fn punch(file: &File, range: Range) -> io::Result<()> {
    let Ok(start) = i64::try_from(range.start) else { return Ok(()) };
    let len = range.len().min(i64::MAX as u64 - range.start);
    if len == 0 {
        return Ok(());
    }
    let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match fallocate(file, how, start, len as i64) {
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Gives the room of `range` back; whether this file system can do that.
pub fn can_punch(file: &File, range: Range) -> io::Result<bool> {
    let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let (Ok(start), Ok(len)) = (i64::try_from(range.start), i64::try_from(range.len())) else {
        return Ok(false);
    };
    match fallocate(file, how, start, len) {
        Ok(()) => Ok(true),
        Err(nix::errno::Errno::EOPNOTSUPP) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Bytes the file takes on disk.
pub fn allocated(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.blocks() * STAT_BLOCK)
}

/// Writes a whole small file so that a crash leaves the old or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let temp = path.with_extension("tmp");
    std::fs::write(&temp, bytes).map_err(|e| io_error("write", &temp, &e))?;
    std::fs::rename(&temp, path).map_err(|e| io_error("rename to", path, &e))
}

/// Removes a file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<(), FsError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, &e)),
        _ => Ok(()),
    }
}
