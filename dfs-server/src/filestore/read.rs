//! Reading sealed objects, verified.

use super::direct::{self, Pool};
use super::format::{self, BadFooter, Footer};
use super::{ObjectStore, name};
use crate::disk;
use bytes::Bytes;
use dfs_core::checksum;
use dfs_core::extent::ObjectName;
use dfs_core::limits::{CHECKSUM_BLOCK, CHUNK, DIRECT_STEP};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes read at once where a whole object is walked.
const STEP: u64 = 16 * CHECKSUM_BLOCK;
const _: () = assert!(DIRECT_STEP as u64 == STEP && STEP.is_multiple_of(CHUNK as u64));

impl ObjectStore {
    /// Reads `len` bytes from `off`, verified against the checksums of the blocks they are in.
    ///
    /// Fails with `NotFound`, `Invalid` (not within the object), `BadChecksum` (this copy is
    /// damaged; the message names object and block) or `Io`.
    pub fn read(&self, name: ObjectName, off: u64, len: u64) -> Result<Bytes> {
        Sealed::open(&self.path_of(name), name)?.read(off, len)
    }

    /// Hands `len` bytes from `off`, verified, to `sink`, with their CRC-32C and in pieces of at most
    /// [`CHUNK`], until it is false. Bytes of a large object go past the page cache, unless they were
    /// asked for before: one client wants them once and keeps them, others may follow it.
    ///
    /// Fails as [`read`](ObjectStore::read).
    pub fn stream(
        &self,
        name: ObjectName,
        off: u64,
        len: u64,
        mut sink: impl FnMut(Bytes, u32) -> bool,
    ) -> Result<()> {
        let sealed = Sealed::open(&self.path_of(name), name)?;
        let end = sealed.within(off, len)?;
        let pool = &self.inner.buffers;
        let once = sealed.len >= STEP && self.inner.read_once.is_first(name, off);
        let direct = once && disk::set_direct(&sealed.file, true).is_ok();
        let mut at = off;
        while at < end {
            let stop = end.min((at / STEP + 1) * STEP);
            let step = match direct {
                true => sealed.read_direct(at, stop - at, pool)?,
                false => sealed.read(at, stop - at)?,
            };
            for cut in (0..step.len()).step_by(CHUNK) {
                let piece = step.slice(cut..step.len().min(cut + CHUNK));
                let sum = sealed.sum(at + cut as u64, &piece);
                if !sink(piece, sum) {
                    return Ok(());
                }
            }
            at = stop;
        }
        Ok(())
    }

    /// Bytes in the sealed object of this name; none: there is no such object. Fails with `Io`.
    pub fn content_len(&self, name: ObjectName) -> Result<Option<u64>> {
        let path = self.path_of(name);
        match std::fs::metadata(&path) {
            Ok(found) => Ok(format::content_len(found.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(disk::failed(format_args!("look at {}", path.display()), &e)),
        }
    }
}

/// An open object whose footer and checksum table are verified.
pub(super) struct Sealed {
    file: File,
    name: ObjectName,
    len: u64,
    table: Vec<u32>,
}

impl Sealed {
    /// Opens and verifies. Fails with `NotFound`, `BadChecksum` or `Io`.
    pub(super) fn open(path: &Path, name: ObjectName) -> Result<Sealed> {
        let file = File::open(path).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => {
                FsError::new(Code::NotFound, format!("object {}", name::text(name)))
            }
            _ => disk::failed(format_args!("open {}", path.display()), &err),
        })?;
        let fail = |err| disk::failed(format_args!("read {}", path.display()), &err);
        let len = format::content_len(file.metadata().map_err(fail)?.len())
            .ok_or_else(|| damaged(name, "length"))?;
        if len > super::OBJECT_MAX {
            return Err(damaged(name, "length"));
        }
        let mut tail = vec![0; 4 * format::blocks(len) as usize + format::FOOTER];
        file.read_exact_at(&mut tail, len).map_err(fail)?;
        let (table, footer) = tail.split_last_chunk().expect("the tail holds a footer");
        let footer = Footer::decode(footer).map_err(|bad| match bad {
            BadFooter::Damaged => damaged(name, "footer"),
            BadFooter::Format(format) => {
                let text = format!("object {} has format {format}, newer", name::text(name));
                FsError::new(Code::Io, text)
            }
        })?;
        if footer.name != name || footer.len != len {
            return Err(damaged(name, "footer (of another object)"));
        }
        if footer.table_crc != crc32c::crc32c(table) {
            return Err(damaged(name, "checksum table"));
        }
        let table = format::decode_table(table);
        Ok(Sealed { file, name, len, table })
    }

    /// The file.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// See [`ObjectStore::read`].
    pub(super) fn read(&self, off: u64, len: u64) -> Result<Bytes> {
        let end = self.within(off, len)?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        let blocks = self.blocks(off, end);
        let mut bytes = vec![0; (blocks.end - blocks.start) as usize];
        self.file.read_exact_at(&mut bytes, blocks.start).map_err(|e| self.unread(&e))?;
        self.compare(blocks.start, &bytes)?;
        Ok(Bytes::from(bytes).slice((off - blocks.start) as usize..(end - blocks.start) as usize))
    }

    /// As [`read`](Sealed::read), past the page cache; at most [`STEP`] bytes, which end no later
    /// than the next multiple of it.
    fn read_direct(&self, off: u64, len: u64, pool: &Pool) -> Result<Bytes> {
        let end = self.within(off, len)?;
        let blocks = self.blocks(off, end);
        let bytes = (blocks.end - blocks.start) as usize;
        let buffer = direct::read(&self.file, pool, blocks.start, bytes);
        let buffer = buffer.map_err(|e| self.unread(&e))?;
        self.compare(blocks.start, &buffer[..bytes])?;
        let inside = (off - blocks.start) as usize..(end - blocks.start) as usize;
        Ok(Bytes::from_owner(buffer).slice(inside))
    }

    /// The end of `len` bytes from `off`.
    fn within(&self, off: u64, len: u64) -> Result<u64> {
        off.checked_add(len).filter(|end| *end <= self.len).ok_or_else(|| {
            let object = name::text(self.name);
            let text = format!("{len} bytes at {off} of object {object} of {}", self.len);
            FsError::new(Code::Invalid, text)
        })
    }

    /// The bytes of all blocks with a byte of `off..end`.
    fn blocks(&self, off: u64, end: u64) -> Range {
        Range::new(off, end).align_out(CHECKSUM_BLOCK).intersect(Range::new(0, self.len))
    }

    /// Compares whole blocks, from `start` on, with the table.
    fn compare(&self, start: u64, bytes: &[u8]) -> Result<()> {
        for (block, number) in bytes.chunks(CHECKSUM_BLOCK as usize).zip(start / CHECKSUM_BLOCK..) {
            if crc32c::crc32c(block) != self.table[number as usize] {
                return Err(damaged(self.name, &format!("block {number}")));
            }
        }
        Ok(())
    }

    /// The checksum of verified bytes at `off`: that of whole blocks is known.
    fn sum(&self, off: u64, bytes: &[u8]) -> u32 {
        let range = Range::of_len(off, bytes.len() as u64);
        if self.blocks(range.start, range.end) != range {
            return crc32c::crc32c(bytes);
        }
        let sizes = bytes.chunks(CHECKSUM_BLOCK as usize).map(|block| block.len() as u64);
        let sums = &self.table[(off / CHECKSUM_BLOCK) as usize..];
        sums.iter().zip(sizes).fold(0, |sum, (block, len)| checksum::joined(sum, *block, len))
    }

    fn unread(&self, e: &io::Error) -> FsError {
        disk::failed(format_args!("read {}", name::text(self.name)), e)
    }

    /// Reads and verifies everything.
    pub(super) fn verify(&self) -> Result<()> {
        (0..self.len)
            .step_by(STEP as usize)
            .try_for_each(|at| self.read(at, STEP.min(self.len - at)).map(drop))
    }

    /// Whether `other` starts with the same content, which is all of `other_len` bytes.
    pub(super) fn is_equal(&self, other: &File, other_len: u64) -> Result<bool> {
        self.verify()?;
        if self.len != other_len {
            return Ok(false);
        }
        let mut theirs = vec![0; STEP.min(self.len) as usize];
        for at in (0..self.len).step_by(STEP as usize) {
            let step = STEP.min(self.len - at);
            let theirs = &mut theirs[..step as usize];
            other.read_exact_at(theirs, at).map_err(|e| disk::failed("read a temp file", &e))?;
            if *self.read(at, step)? != *theirs {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn damaged(name: ObjectName, part: &str) -> FsError {
    FsError::new(Code::BadChecksum, format!("object {}: {part}", name::text(name)))
}
