//! The bytes of small files, one behind the other in one file; the index says where
//! (`docs/design/0042`).
//!
//! Nothing is synced here, and nothing has a checksum: bytes are believed if they match those of the
//! index. So room that was given up is used again at once, whether or not the index is on disk yet.

use super::disk::{self, DISK_BLOCK, io_error, read_zero_filled};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Result};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: File,
    room: Mutex<Room>,
}

/// Where content can go: whole blocks of the file.
#[derive(Debug, Default)]
struct Room {
    /// Free places, by their length in blocks. They are joined again when the file is opened.
    free: BTreeMap<u64, Vec<u64>>,
    /// Nothing is there from this byte on.
    end: u64,
}

/// What `len` bytes of content take; no content has a place as well.
fn taken(len: u64) -> u64 {
    len.max(1).next_multiple_of(DISK_BLOCK)
}

impl Room {
    /// Room behind content at these places, and the gaps between them; none if they overlap.
    fn behind(mut places: Vec<Range>) -> Option<(Room, Vec<Range>)> {
        places.sort_unstable_by_key(|place| place.start);
        let (mut room, mut gaps) = (Room::default(), Vec::new());
        for place in places {
            let gap = Range::new(room.end, place.start.max(room.end));
            if place.start < room.end || !place.start.is_multiple_of(DISK_BLOCK) {
                return None;
            }
            room.end = place.start.checked_add(taken(place.len()))?;
            gaps.push(gap);
        }
        gaps.retain(|gap| !gap.is_empty());
        Some((room, gaps))
    }

    /// Where so many blocks begin: a place of that length, or a part of the longest one.
    fn take(&mut self, blocks: u64) -> u64 {
        if let Some(start) = self.pop(blocks) {
            return start;
        }
        let longest = self.free.last_key_value().map_or(0, |(longest, _)| *longest);
        if longest > blocks
            && let Some(start) = self.pop(longest)
        {
            self.give(start + blocks * DISK_BLOCK, longest - blocks);
            return start;
        }
        let start = self.end;
        self.end += blocks * DISK_BLOCK;
        start
    }

    fn pop(&mut self, blocks: u64) -> Option<u64> {
        let places = self.free.get_mut(&blocks)?;
        let start = places.pop();
        if places.is_empty() {
            self.free.remove(&blocks);
        }
        start
    }

    fn give(&mut self, start: u64, blocks: u64) {
        self.free.entry(blocks).or_default().push(start);
    }
}

impl Pack {
    /// Opens the file, which has content at these places, and gives all other room back to the disk.
    /// Errors: `Io` if no file can look like that.
    pub fn open(path: &Path, places: Vec<Range>) -> Result<Pack> {
        let err = |e: io::Error| io_error("open", path, &e);
        let Some((room, gaps)) = Room::behind(places) else {
            let text = format!("{} cannot have all that the index says", path.display());
            return Err(FsError::new(Code::Io, text));
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(err)?;
        if file.metadata().map_err(err)?.len() > room.end {
            file.set_len(room.end).map_err(err)?;
        }
        let pack = Pack { path: path.to_owned(), file, room: Mutex::new(room) };
        gaps.into_iter().for_each(|gap| pack.give_back(gap));
        Ok(pack)
    }

    /// Writes content; answers where it is. It takes no room if that fails.
    pub fn write(&self, bytes: &[u8]) -> Result<Range> {
        let len = bytes.len() as u64;
        let place = Range::of_len(self.room().take(taken(len) / DISK_BLOCK), len);
        match self.file.write_all_at(bytes, place.start) {
            Ok(()) => Ok(place),
            Err(e) => {
                self.give_back(place);
                Err(io_error("write", &self.path, &e))
            }
        }
    }

    /// The bytes of a place; zeros where the file has none, say after a power loss.
    pub fn read(&self, place: Range) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = read_zero_filled(&self.file, place, &mut bytes);
        read.map(|()| bytes).map_err(|e| io_error("read", &self.path, &e))
    }

    /// Nothing refers to a place any more: its room goes back to the disk, and to who writes next.
    pub fn give_back(&self, place: Range) {
        let whole = Range::of_len(place.start, taken(place.len()));
        if let Err(e) = disk::punch(&self.file, whole) {
            tracing::debug!(path = %self.path.display(), %e, "cannot give room back");
        }
        self.room().give(whole.start, whole.len() / DISK_BLOCK);
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;

    fn content(n: u64, len: u64) -> Vec<u8> {
        (0..len).map(|at| (n + at) as u8).collect()
    }

    fn len() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0u64), 1u64..10_000, 1u64..70_000]
    }

    proptest! {
        #[test]
        fn pack_returns_what_was_written_whatever_came_and_went(
            steps in prop::collection::vec((0u64..6, len(), any::<prop::sample::Index>()), 1..60)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("pack");
            let mut pack = Pack::open(&path, Vec::new()).unwrap();
            let mut there: BTreeMap<u64, (Range, u64)> = BTreeMap::new();
            for (n, (what, len, which)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        drop(pack);
                        let places = there.values().map(|(place, _)| *place).collect();
                        pack = Pack::open(&path, places).unwrap();
                    }
                    1 | 2 if !there.is_empty() => {
                        let key = *there.keys().nth(which.index(there.len())).unwrap();
                        pack.give_back(there.remove(&key).unwrap().0);
                    }
                    _ => {
                        let place = pack.write(&content(n as u64, len)).unwrap();
                        there.insert(n as u64, (place, len));
                    }
                }
                for (n, (place, len)) in &there {
                    prop_assert_eq!(pack.read(*place).unwrap(), content(*n, *len));
                }
            }
        }
    }

    #[test]
    fn pack_uses_room_again_in_other_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pack");
        let fill = |pack: &Pack, len: u64| -> Vec<Range> {
            (0..(1 << 20) / len).map(|n| pack.write(&content(n, len)).unwrap()).collect()
        };
        // Keeps the file as long as it is.
        let last = Range::of_len(1 << 20, 1);
        for len in [64 << 10, 4 << 10, 16 << 10, 64 << 10] {
            let pack = Pack::open(&path, vec![last]).unwrap();
            let end = pack.room().end;
            for _ in 0..2 {
                let places = fill(&pack, len);
                let (now, free) = {
                    let room = pack.room();
                    (room.end, room.free.len())
                };
                assert_eq!((now, free), (end, 0), "{len}");
                places.into_iter().for_each(|place| pack.give_back(place));
            }
        }
    }

    #[test]
    fn pack_gives_room_back_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pack");
        let pack = Pack::open(&path, Vec::new()).unwrap();
        let places: Vec<Range> =
            (0..100).map(|n| pack.write(&content(n, 10_000)).unwrap()).collect();
        let blocks = || std::fs::metadata(&path).unwrap().blocks();
        let all = blocks();
        places[10..60].iter().for_each(|place| pack.give_back(*place));
        assert!(blocks() <= all / 2 + 16, "{} of {all}", blocks());
        drop(pack);
        let pack = Pack::open(&path, places[..5].to_vec()).unwrap();
        assert!(blocks() <= all / 20 + 16, "what nobody named is given back, too");
        assert_eq!(pack.read(places[4]).unwrap(), content(4, 10_000));
        assert_eq!(pack.read(places[99]).unwrap(), [0; 10_000]);
        let over = vec![places[0], Range::of_len(places[0].start, 1)];
        assert!(Pack::open(&path, over).is_err());
    }
}
