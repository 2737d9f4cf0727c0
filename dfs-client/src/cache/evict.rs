//! Making room: carries out the plans of [`dfs_core::cache`].

use super::{Cache, Files, disk};
use dfs_core::cache::{self, Entry, Parts, Plan, bytes_to_free};
use dfs_core::{Ino, Result};
use nix::sys::statvfs::statvfs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Plans carried out for one request: what a plan frees on disk may be a little less than it says.
const ROUNDS: usize = 3;
/// Room on the cache's file system that is left to the index, journals and others.
const DISK_RESERVE: u64 = 1024 * 1024;

/// Of the room that was seen this part is given out before anybody looks again, up to so many bytes.
const SEEN_PART: u64 = 8;
const SEEN_MAX: u64 = 64 * 1024 * 1024;

/// What asking for room led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomOutcome {
    /// Whether there is room now.
    pub ok: bool,
    /// Files to commit: all that is left in the cache, or nearly, is unsaved. If there is no room
    /// and nothing to commit, the request fails with `NoSpace`.
    pub flush: Vec<Ino>,
}

/// Room for the files of the cache at one moment, in bytes.
#[derive(Clone, Copy, Debug)]
struct Space {
    /// What they take.
    used: u64,
    /// What they should take at most, so that the reserve stays free.
    aim: u64,
    /// What they can take at most.
    most: u64,
}

impl Cache {
    /// Gives up clean content, the least recently used first, until `bytes` more fit below the limit
    /// and on the cache's file system. Call it before bytes are written or filled. Room is not
    /// reserved: threads that write at the same time may pass the limit by as much as they write, and
    /// others may fill the disk until somebody looks again, after a second at the latest.
    /// The reserve is used up when nothing is left to give up.
    ///
    /// Errors: those of the cache's file system.
    pub fn make_room(&self, bytes: u64) -> Result<RoomOutcome> {
        let mut flush = Vec::new();
        if self.has_room(bytes) {
            return Ok(RoomOutcome { ok: true, flush });
        }
        for _ in 0..ROUNDS {
            let Space { used, aim, .. } = self.space()?;
            let target = bytes_to_free(used, bytes, aim);
            if target == 0 && used.saturating_add(bytes) <= aim {
                let left = (aim - used - bytes) / SEEN_PART;
                self.seen.store(left.min(SEEN_MAX), Ordering::Relaxed);
                return Ok(RoomOutcome { ok: true, flush });
            }
            let plan = self.give_up(target)?;
            flush.clone_from(&plan.flush);
            if plan.drop.is_empty() && plan.punch.is_empty() {
                break;
            }
        }
        let Space { used, most, .. } = self.space()?;
        Ok(RoomOutcome { ok: used.saturating_add(bytes) <= most, flush })
    }

    /// Whether there is room for `bytes` more by what was seen lately, which they take up. If not,
    /// [`make_room`](Cache::make_room) looks.
    pub fn has_room(&self, bytes: u64) -> bool {
        let take = |seen: u64| seen.checked_sub(bytes);
        self.seen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Somebody else may have filled the disk meanwhile.
    pub(super) fn look_again(&self) {
        self.seen.store(0, Ordering::Relaxed);
    }

    /// As [`make_room`](Cache::make_room), after a write was refused with `NoSpace`: gives up
    /// `bytes` of clean content whatever the file system says it has left.
    pub fn squeeze(&self, bytes: u64) -> Result<RoomOutcome> {
        self.look_again();
        let plan = self.give_up(bytes)?;
        Ok(RoomOutcome { ok: plan.freed >= bytes, flush: plan.flush })
    }

    fn give_up(&self, target: u64) -> Result<Plan> {
        let mut files = self.lock();
        let plan = cache::plan(files.coldest_first(), |ino| self.parts(&files, ino), target);
        self.carry_out(&mut files, &plan)?;
        Ok(plan)
    }

    fn space(&self) -> Result<Space> {
        let root = self.shared.folder.root();
        let fs = statvfs(root).map_err(|e| disk::io_error("look at", root, &e.into()))?;
        let free = fs.blocks_available() * fs.fragment_size();
        let used = self.shared.used.load(Ordering::Relaxed);
        let most = self.limit.min(used.saturating_add(free));
        let aim = self.limit.min(used.saturating_add(free.saturating_sub(DISK_RESERVE)));
        Ok(Space { used, aim, most })
    }

    /// What of a file can be given up.
    fn parts(&self, files: &Files, ino: Ino) -> Parts {
        if let Some(file) = files.warm.get(&ino) {
            let (clean, read_at) = file.clean_parts();
            let is_used = Arc::strong_count(file) > 1;
            return Parts { clean, read_at: if is_used { read_at } else { 0 } };
        }
        let entry = files.entries.peek(&ino).filter(|entry| !entry.lent);
        let map = entry.and_then(|entry| self.shared.known(ino, entry.ver, entry.size));
        Parts { clean: map.map_or_else(Vec::new, |(map, _)| map.clean()), read_at: 0 }
    }

    fn carry_out(&self, files: &mut Files, plan: &Plan) -> Result<()> {
        for &ino in &plan.drop {
            if let Some(entry) = files.entries.peek(&ino).copied() {
                self.drop_file(files, ino, entry)?;
            }
        }
        for &(ino, range) in &plan.punch {
            if let Some(entry) = files.entries.peek(&ino).copied() {
                self.warm_up(files, ino, entry)?.evict(range)?;
            }
        }
        Ok(())
    }
}

impl Files {
    fn coldest_first(&self) -> impl Iterator<Item = Entry> + Clone {
        self.entries.iter().rev().map(|(&ino, entry)| {
            let warm = self.warm.get(&ino);
            Entry {
                ino,
                bytes: warm.map_or(entry.disk, |file| file.disk_bytes()),
                dirty_bytes: warm.map_or(0, |file| file.dirty_bytes()),
                open: entry.open
                    || warm.is_some_and(|f| Arc::strong_count(f) > 1 || f.expects_stores()),
            }
        })
    }
}
