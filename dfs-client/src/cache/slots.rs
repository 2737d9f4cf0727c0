//! Writes that were answered and are not in their working file yet (`docs/design/0047`).
//!
//! Before the first byte of clean content may change, what stays of it has to be verified, summed up
//! and journaled. A small write is put into a slot of one file here instead, the program goes on, and
//! the thread that answered it does the rest. A slot survives the death of the daemon as a working file
//! does: the next one finds what was not carried out. Nothing is flushed; the work of an earlier boot of
//! the machine is for people to judge, and its slots say nothing about it.

use super::disk::{self, io_error};
use super::folder::Folder;
use super::journal::Input;
use dfs_core::range::Range;
use dfs_core::{Ino, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest write that fits.
pub const SLOT_DATA: usize = 16 * 1024;
const SLOTS: u16 = 128;
/// From one slot to the next: whole pages.
const STRIDE: u64 = 20 * 1024;
const MAGIC: &[u8; 8] = b"dfsslot1";
/// Magic; number, inode, version, place; length; boot; checksums of the bytes and of all before it.
const HEADER: usize = 8 + 4 * 8 + 4 + 16 + 4 + 4;

/// The file of slots, in memory as in `slots`.
#[derive(Debug)]
pub struct Slots {
    file: File,
    boot: [u8; 16],
    /// Those that are free; the one used last comes first, as its pages are in memory.
    free: Mutex<Vec<u16>>,
    /// Number of the last write: of one file, they are carried out in this order.
    last: AtomicU64,
}

/// A slot in use, and what is in it. It stays so, for the next daemon too, until it is given to
/// [`Slots::free`].
#[derive(Debug)]
pub struct Slot {
    place: u16,
    /// Where in the file the write goes.
    pub off: u64,
    /// Header and bytes.
    all: Vec<u8>,
}

impl Slot {
    /// The bytes of the write.
    pub fn data(&self) -> &[u8] {
        &self.all[HEADER..]
    }
}

/// A write that an earlier daemon answered and did not carry out.
#[derive(Debug)]
pub struct Answered {
    pub slot: Slot,
    pub ino: Ino,
    /// Version that the unsaved work of the file builds on.
    pub base_ver: u64,
    number: u64,
}

impl Slots {
    /// Opens the file, and finds what is still to be carried out, in order.
    ///
    /// Errors: those of the cache's file system.
    pub fn open(folder: &Folder) -> Result<(Slots, Vec<Answered>)> {
        let path = folder.slots();
        let err = |what: &str, e: io::Error| io_error(what, &path, &e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|e| err("open", e))?;
        let mut found = Vec::new();
        for place in 0..SLOTS {
            let mut all = Vec::new();
            let range = Range::of_len(start_of(place), (HEADER + SLOT_DATA) as u64);
            disk::read_zero_filled(&file, range, &mut all).map_err(|e| err("read", e))?;
            found.extend(decode(place, all, &folder.boot()));
        }
        found.sort_by_key(|answered| answered.number);
        let free =
            (0..SLOTS).rev().filter(|n| !found.iter().any(|answered| answered.slot.place == *n));
        let slots = Slots {
            file,
            boot: folder.boot(),
            free: Mutex::new(free.collect()),
            last: AtomicU64::new(found.last().map_or(0, |answered| answered.number)),
        };
        Ok((slots, found))
    }

    /// Keeps a write for whoever carries it out; none: there is no slot for it, or no room.
    pub fn put(&self, ino: Ino, base_ver: u64, off: u64, data: &[u8]) -> Option<Slot> {
        if data.len() > SLOT_DATA {
            return None;
        }
        let place = self.lock().pop()?;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut all = Vec::with_capacity(HEADER + data.len());
        all.extend_from_slice(MAGIC);
        for field in [number, ino.0, base_ver, off] {
            all.extend_from_slice(&field.to_le_bytes());
        }
        all.extend_from_slice(&(data.len() as u32).to_le_bytes());
        all.extend_from_slice(&self.boot);
        all.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
        all.extend_from_slice(&crc32c::crc32c(&all).to_le_bytes());
        all.extend_from_slice(data);
        let slot = Slot { place, off, all };
        match self.file.write_all_at(&slot.all, start_of(place)) {
            Ok(()) => Some(slot),
            Err(error) => {
                tracing::debug!(%error, "a write is not put into a slot");
                self.free(&slot);
                None
            }
        }
    }

    /// The write of the slot is carried out, or void.
    pub fn free(&self, slot: &Slot) {
        if let Err(error) = self.file.write_all_at(&[0; MAGIC.len()], start_of(slot.place)) {
            // It would be carried out once more, over what came later: nothing is put there again.
            tracing::error!(%error, "a slot cannot be emptied");
            return;
        }
        self.lock().push(slot.place);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u16>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_of(place: u16) -> u64 {
    u64::from(place) * STRIDE
}

/// What is in a slot, of which `all` has at least the header.
fn decode(place: u16, mut all: Vec<u8>, boot: &[u8; 16]) -> Option<Answered> {
    let (header, data) = all.split_at_checked(HEADER)?;
    let mut input = Input(header);
    let magic = input.take::<8>()?;
    let (number, ino, base_ver, off) =
        (input.u64()?, Ino(input.u64()?), input.u64()?, input.u64()?);
    let (len, its_boot, crc) = (input.u32()? as usize, input.take::<16>()?, input.u32()?);
    let whole = crc32c::crc32c(&header[..HEADER - 4]) == input.u32()?;
    let right = crc32c::crc32c(data.get(..len)?) == crc;
    if magic != MAGIC || its_boot != boot || !whole || !right {
        return None;
    }
    all.truncate(HEADER + len);
    Some(Answered { slot: Slot { place, off, all }, ino, base_ver, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &Folder) -> Vec<(u64, u64, u64, Vec<u8>)> {
        let (_, found) = Slots::open(folder).unwrap();
        let fields = |a: Answered| (a.ino.0, a.base_ver, a.slot.off, a.slot.data().to_vec());
        found.into_iter().map(fields).collect()
    }

    #[test]
    fn slots_in_use_are_found_by_the_next_daemon_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (slots, before) = Slots::open(&folder).unwrap();
        assert!(before.is_empty());
        let one = slots.put(Ino(7), 3, 4096, b"one").unwrap();
        slots.put(Ino(8), 4, 0, &[2; SLOT_DATA]).unwrap();
        slots.free(&one);
        slots.put(Ino(7), 3, 1, b"three").unwrap();
        assert!(slots.put(Ino(7), 3, 0, &[4; SLOT_DATA + 1]).is_none());
        let want = [(8, 4, 0, vec![2; SLOT_DATA]), (7, 3, 1, b"three".to_vec())];
        assert_eq!(found(&folder), want);
        // What was found stays in use, and later ones come after it.
        let (slots, before) = Slots::open(&folder).unwrap();
        slots.put(Ino(9), 1, 0, b"four").unwrap();
        assert_eq!((before.len(), found(&folder).len()), (2, 3));
        assert_eq!(found(&folder)[2].3, b"four");
    }

    #[test]
    fn slot_that_is_half_written_or_of_another_boot_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (slots, _) = Slots::open(&folder).unwrap();
        slots.put(Ino(7), 3, 0, b"bytes").unwrap();
        let read = |boot: [u8; 16]| {
            let mut all = Vec::new();
            let range = Range::of_len(0, (HEADER + SLOT_DATA) as u64);
            disk::read_zero_filled(&slots.file, range, &mut all).unwrap();
            decode(0, all, &boot).is_some()
        };
        assert!(read(folder.boot()) && !read([9; 16]));
        for at in [0, 20, HEADER as u64 - 1, HEADER as u64 + 4] {
            let mut byte = [0];
            slots.file.read_exact_at(&mut byte, at).unwrap();
            slots.file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(!read(folder.boot()), "byte {at}");
            slots.file.write_all_at(&byte, at).unwrap();
        }
        assert!(read(folder.boot()));
    }

    #[test]
    fn slots_are_so_many_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (slots, _) = Slots::open(&folder).unwrap();
        let mut taken: Vec<Slot> =
            (0..SLOTS).map(|n| slots.put(Ino(1), 1, n.into(), b"x").unwrap()).collect();
        assert!(slots.put(Ino(1), 1, 0, b"x").is_none());
        slots.free(&taken.remove(5));
        assert!(slots.put(Ino(1), 1, 0, b"y").is_some());
        assert_eq!(found(&folder).len(), SLOTS.into());
    }
}
