//! Writing one object: temp file, checks, sync, name.

use super::direct::Output;
use super::read::Sealed;
use super::{OBJECT_MAX, ObjectStore, TEMP, UNSYNCED_MAX, format, name};
use crate::disk;
use crate::metastore::Durability;
use dfs_core::checksum;
use dfs_core::extent::ObjectName;
use dfs_core::limits::{CHECKSUM_BLOCK, DIRECT_STEP};
use dfs_core::{Code, FsError, Result};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// An object being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub struct Writer {
    store: ObjectStore,
    name: ObjectName,
    len: u64,
    written: u64,
    pub(super) out: Output,
    temp: Temp,
    table: Vec<u32>,
    /// Checksum of the last block so far.
    block_crc: u32,
}

/// A temp file; removed when dropped, unless it was renamed.
struct Temp {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed
            && let Err(err) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %err, "cannot remove a temp file");
        }
    }
}

impl Writer {
    pub(super) fn new(store: ObjectStore, name: ObjectName, len: u64) -> Result<Writer> {
        if len == 0 || len > OBJECT_MAX {
            let text = format!("object {} of {len} bytes, 1 to {OBJECT_MAX}", name::text(name));
            return Err(FsError::new(Code::Invalid, text));
        }
        let available = store.statfs()?.available;
        let reserve = store.inner.options.reserve;
        if available < len.saturating_add(reserve) {
            let text = format!(
                "object {} of {len} bytes: {available} are available, {reserve} are kept back",
                name::text(name)
            );
            return Err(FsError::new(Code::NoSpace, text));
        }
        let number = store.inner.next_temp.fetch_add(1, Ordering::Relaxed);
        let path = store.inner.dir.join(TEMP).join(number.to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| disk::failed(format_args!("create {}", path.display()), &e))?;
        let temp = Temp { path, renamed: false };
        let table = Vec::with_capacity(format::blocks(len) as usize);
        let buffer = (len >= DIRECT_STEP as u64).then(|| store.inner.buffers.take());
        let out = Output::new(file, buffer);
        Ok(Writer { store, name, len, written: 0, out, temp, table, block_crc: 0 })
    }

    /// The object's name.
    pub fn name(&self) -> ObjectName {
        self.name
    }

    /// Writes the next bytes; `crc` is their CRC-32C as the sender has computed it. After a failure
    /// drop the writer. Fails with `BadChecksum` (damaged on the way), `Invalid` (more bytes than
    /// announced), `NoSpace` or `Io`.
    pub fn write(&mut self, chunk: &[u8], crc: u32) -> Result<()> {
        let (blocks, last, sum) = self.sums(chunk);
        if sum != crc {
            let text = format!("object {} at {}", name::text(self.name), self.written);
            return Err(FsError::new(Code::BadChecksum, text));
        }
        if chunk.len() as u64 > self.len - self.written {
            return Err(self.wrong_length(self.written + chunk.len() as u64));
        }
        self.table.extend(blocks);
        self.block_crc = last;
        self.written += chunk.len() as u64;
        let ends = self.written == self.len && !chunk.is_empty();
        if ends && !self.written.is_multiple_of(CHECKSUM_BLOCK) {
            self.table.push(last);
        }
        let result = self.out.write(chunk);
        result.map_err(|e| disk::failed(format_args!("write {}", name::text(self.name)), &e))
    }

    fn wrong_length(&self, got: u64) -> FsError {
        let text = format!("object {} of {} bytes got {got}", name::text(self.name), self.len);
        FsError::new(Code::Invalid, text)
    }

    /// Checksums of the blocks that the next bytes complete, of the block they end in so far, and of
    /// the bytes themselves; each byte is looked at once.
    fn sums(&self, mut chunk: &[u8]) -> (Vec<u32>, u32, u32) {
        let (mut blocks, mut block, mut sum) = (Vec::new(), self.block_crc, 0);
        let mut at = self.written;
        while !chunk.is_empty() {
            let left = (CHECKSUM_BLOCK - at % CHECKSUM_BLOCK).min(chunk.len() as u64);
            let (piece, rest) = chunk.split_at(left as usize);
            let crc = crc32c::crc32c(piece);
            (block, sum) = (checksum::joined(block, crc, left), checksum::joined(sum, crc, left));
            at += left;
            if at.is_multiple_of(CHECKSUM_BLOCK) {
                blocks.push(std::mem::take(&mut block));
            }
            chunk = rest;
        }
        (blocks, block, sum)
    }

    /// Seals the object: after it returns, the object can be read and (in `Strict` mode) survives a
    /// power loss. If an object of this name exists with equal content, that is the result: this is
    /// a repeated call. A damaged one is replaced.
    ///
    /// Fails with `Invalid` (fewer bytes than announced), `Exists` (with other content), `NoSpace`
    /// or `Io`; nothing is kept then, unless the last sync failed: then the object may be there.
    pub fn finish(mut self) -> Result<()> {
        if self.written != self.len {
            return Err(self.wrong_length(self.written));
        }
        assert_eq!(self.table.len() as u64, format::blocks(self.len), "a checksum per block");
        let strict = self.store.inner.options.durability == Durability::Strict;
        self.write_footer()
            .and_then(|file| if strict { file.sync_data() } else { Ok(()) })
            .map_err(|e| disk::failed(format_args!("write {}", name::text(self.name)), &e))?;
        let (store, leaf) = (self.store.clone(), name::leaf(self.name.ino));
        store.ensure_leaf(leaf)?;
        let sealed = self.seal()?;
        if strict {
            return disk::sync_folder(&store.leaf_path(leaf));
        }
        let full = {
            let unsynced = &store.inner.unsynced;
            let mut unsynced = unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            unsynced.push((sealed, leaf));
            unsynced.len() >= UNSYNCED_MAX
        };
        if full { store.flush() } else { Ok(()) }
    }

    fn write_footer(&mut self) -> io::Result<&File> {
        let mut tail = format::encode_table(&self.table);
        let table_crc = crc32c::crc32c(&tail);
        let footer = format::Footer { name: self.name, len: self.len, table_crc };
        tail.extend_from_slice(&footer.encode());
        self.out.end_direct()?;
        self.out.write(&tail)?;
        self.out.end_direct()
    }

    /// Gives the object its name; returns the file that has it.
    fn seal(self) -> Result<File> {
        let Writer { store, name, len, out, mut temp, .. } = self;
        let file = out.into_file();
        let path = store.path_of(name);
        let _alone = store.inner.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        match Sealed::open(&path, name).and_then(|old| Ok((old.is_equal(&file, len)?, old))) {
            Ok((true, old)) => {
                // It may stem from a process that did not sync.
                let strict = store.inner.options.durability == Durability::Strict;
                let old = old.into_file();
                if strict {
                    let synced = old.sync_data();
                    synced
                        .map_err(|e| disk::failed(format_args!("sync {}", path.display()), &e))?;
                }
                return Ok(old);
            }
            Ok((false, _)) => {
                let text = format!("object {} with other content", name::text(name));
                return Err(FsError::new(Code::Exists, text));
            }
            Err(err) if err.code == Code::NotFound => {}
            Err(err) if err.code == Code::BadChecksum => {
                tracing::warn!(%err, "a damaged object is written anew");
            }
            Err(err) => return Err(err),
        }
        fs::rename(&temp.path, &path)
            .map_err(|e| disk::failed(format_args!("name {}", path.display()), &e))?;
        temp.renamed = true;
        Ok(file)
    }
}
