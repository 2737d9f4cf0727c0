//! What the whole-file cache gives up when it needs room: a plan, carried out by the client.
//!
//! Order: clean closed files, least recently used first; then clean parts of files in use; then a
//! wish that files with unsaved bytes be committed, which makes them clean. Unsaved bytes are never
//! in a plan. A file larger than [`LARGE_FILE`] is not dropped for the sake of a little room: it
//! loses only as much as is needed, the parts a reader wants last first.

#[cfg(test)]
mod tests;

use crate::id::Ino;
use crate::limits::CHECKSUM_BLOCK;
use crate::range::Range;

/// Closed files above this many bytes lose parts where smaller ones are dropped whole.
pub const LARGE_FILE: u64 = 64 * 1024 * 1024;
/// Eviction goes on until this share of the limit (a 16th) is free, so that it is not done for
/// every write.
const FREE_SHARE: u64 = 16;

/// One file with bytes in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub ino: Ino,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// Unsaved bytes among them.
    pub dirty_bytes: u64,
    /// Whether anyone uses it: it keeps its place in the cache, but may lose clean parts.
    pub open: bool,
}

/// What of one file could be dropped, asked only where a plan needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Clean local ranges in order, not overlapping.
    pub clean: Vec<Range>,
    /// Where the last read ended: what lies ahead is kept longest. 0 for a file nobody reads.
    pub read_at: u64,
}

/// What to give up, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files to drop whole.
    pub drop: Vec<Ino>,
    /// Clean ranges to drop, at multiples of [`CHECKSUM_BLOCK`] where a range is cut.
    pub punch: Vec<(Ino, Range)>,
    /// Files to commit, so that they can be evicted next time.
    pub flush: Vec<Ino>,
    /// Bytes that `drop` and `punch` free.
    pub freed: u64,
}

/// Bytes to free before `needed` more are written: none below the limit, else enough to leave a
/// sixteenth of the limit free, or everything if that is not possible.
pub fn bytes_to_free(used: u64, needed: u64, limit: u64) -> u64 {
    let wanted = used.saturating_add(needed);
    if wanted <= limit {
        return 0;
    }
    (wanted - (limit - limit / FREE_SHARE)).min(used)
}

/// Chooses what to give up to free `target` bytes. `coldest_first` lists the files in order of last
/// use, oldest first; `parts` is asked about files that may lose a part.
///
/// Frees at least `target` if so much is clean, and then no more than one file or block too many.
pub fn plan(
    coldest_first: impl Iterator<Item = Entry> + Clone,
    mut parts: impl FnMut(Ino) -> Parts,
    target: u64,
) -> Plan {
    let mut plan = Plan::default();
    for file in coldest_first.clone().filter(|file| !file.open && file.dirty_bytes == 0) {
        let left = target.saturating_sub(plan.freed);
        if left == 0 {
            return plan;
        }
        if file.bytes > LARGE_FILE && file.bytes > left {
            let parts = parts(file.ino);
            if parts.clean.iter().map(|r| r.len()).sum::<u64>() >= left {
                plan.punch_parts(file.ino, &parts, target);
                return plan;
            }
        }
        plan.drop.push(file.ino);
        plan.freed += file.bytes;
    }
    for file in coldest_first.clone().filter(|file| file.open || file.dirty_bytes > 0) {
        if plan.freed >= target {
            return plan;
        }
        plan.punch_parts(file.ino, &parts(file.ino), target);
    }
    let mut hoped = plan.freed;
    for file in coldest_first.filter(|file| file.dirty_bytes > 0) {
        if hoped >= target {
            break;
        }
        plan.flush.push(file.ino);
        hoped += file.dirty_bytes;
    }
    plan
}

impl Plan {
    /// Adds clean parts of one file until `target` is reached.
    fn punch_parts(&mut self, ino: Ino, parts: &Parts, target: u64) {
        let behind = parts.clean.iter().map(|r| r.intersect(Range::new(0, parts.read_at)));
        for part in behind.filter(|r| !r.is_empty()) {
            let left = target.saturating_sub(self.freed);
            self.punch_part(ino, head(part, left));
        }
        let ahead = parts.clean.iter().map(|r| r.intersect(Range::new(parts.read_at, u64::MAX)));
        for part in ahead.rev().filter(|r| !r.is_empty()) {
            let left = target.saturating_sub(self.freed);
            self.punch_part(ino, tail(part, left));
        }
    }

    fn punch_part(&mut self, ino: Ino, part: Range) {
        if !part.is_empty() {
            self.freed += part.len();
            self.punch.push((ino, part));
        }
    }
}

/// The first bytes of `part`: at least `wanted`, up to the next block border, or all.
fn head(part: Range, wanted: u64) -> Range {
    if wanted == 0 {
        return Range::new(part.start, part.start);
    }
    part.intersect(Range::of_len(part.start, wanted).align_out(CHECKSUM_BLOCK))
}

/// The last bytes of `part`: at least `wanted`, down to the previous block border, or all.
fn tail(part: Range, wanted: u64) -> Range {
    if wanted == 0 {
        return Range::new(part.end, part.end);
    }
    part.intersect(Range::new(part.end.saturating_sub(wanted), part.end).align_out(CHECKSUM_BLOCK))
}
