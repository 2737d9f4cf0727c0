//! The few calls to the cache's own file system, and how their failures read.

use dfs_core::range::Range;
use dfs_core::{Code, FsError, errno};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::uio::pwritev;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Room is given back in pieces of this many bytes by every file system we know.
pub const DISK_BLOCK: u64 = 4096;
/// Bytes of a program are written so many at a time, from one multiple to the next. On ext4 (Linux 6.18)
/// 4 KiB written into a file take 2.5 us if it was written by 256 KiB, 3.4 by 512 KiB, 6.2 by 1 MiB; by
/// 64 KiB it is read more slowly.
pub const WRITE_STEP: u64 = 256 * 1024;
/// Fetched bytes are written at least so many at a time: they are to be read, and mapping them takes a
/// fault for each (docs/design/0048).
pub const FILL_STEP: u64 = 512 * 1024;
/// Most buffers of one call (writev(2), "C library/kernel differences").
const IOV_MAX: usize = 1024;
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

/// Writes pieces one behind the other from an offset on, up to each multiple of `step`: what is written at
/// once a file system keeps as one piece of memory, and looks at all of it for each small write that
/// follows.
pub fn write_in_steps(file: &File, mut start: u64, pieces: &[&[u8]], step: u64) -> io::Result<()> {
    let mut together = Vec::with_capacity(pieces.len());
    let mut end = start;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (now, then) = rest.split_at(rest.len().min((step - end % step) as usize));
            together.push(IoSlice::new(now));
            end += now.len() as u64;
            rest = then;
            if end.is_multiple_of(step) {
                write_all_vectored(file, start, &mut together)?;
                together.clear();
                start = end;
            }
        }
    }
    write_all_vectored(file, start, &mut together)
}

fn write_all_vectored(file: &File, mut at: u64, mut left: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !left.is_empty() {
        let off = i64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        match pwritev(file, &left[..left.len().min(IOV_MAX)], off) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
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
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
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
        Err(Errno::EOPNOTSUPP) => Ok(false),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pieces_than_one_call_takes_are_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [7; 3 * IOV_MAX + 1];
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        write_in_steps(file.as_file(), 0, &pieces, FILL_STEP).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
    }

    #[test]
    fn pieces_are_written_one_behind_the_other_across_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..2 * FILL_STEP + 70_000).map(|at| (at % 251) as u8).collect();
        for cuts in [vec![], vec![0, 1], vec![100_000, 100_001, FILL_STEP as usize + 5]] {
            for start in [0, 4096, FILL_STEP - 3] {
                let mut pieces = Vec::new();
                let mut from = 0;
                for to in cuts.iter().copied().chain([bytes.len()]) {
                    pieces.push(&bytes[from..to]);
                    from = to;
                }
                let file = File::create(&path).unwrap();
                write_in_steps(&file, start, &pieces, FILL_STEP).unwrap();
                let all = std::fs::read(&path).unwrap();
                assert!(all[..start as usize].iter().all(|b| *b == 0));
                assert!(all[start as usize..] == bytes, "cut at {cuts:?}, from {start}");
            }
        }
    }
}
