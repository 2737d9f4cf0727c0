//! Whether what was fetched is written to a file of the cache in huge pieces.
//!
//! What is written at once a file system keeps as one piece of memory, and the kernel maps one of
//! [`HUGE`] bytes as a whole. Where the memory of a virtual machine was given back to its host, that is
//! memory in such pieces: the first byte written into each brings it in again, which takes ten times as
//! long as to write it. Smaller pieces come from what is left between others. So the time that each
//! write took decides how the next are written (docs/design/0051).

use super::store::Store;
use crate::cache::disk::FILL_STEP;
use dfs_core::range::Range;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that a huge page holds on most machines.
pub const HUGE: u64 = 2 * 1024 * 1024;
/// A huge piece is slow if it takes so many times as long as small ones of as many bytes.
const SLOW: u32 = 3;
/// Most huge pieces that are not tried after a slow one.
const PAUSE_MAX: u32 = 64;
/// A new time counts for one part in so many of the average.
const WEIGHT: u32 = 8;

/// What the files of a cache know of huge pieces.
#[derive(Debug, Default)]
pub struct Huge(Mutex<Pace>);

impl Huge {
    /// Whether `range` is what a huge piece holds.
    pub fn fits(range: Range) -> bool {
        range.start.is_multiple_of(HUGE) && range.len() == HUGE
    }

    /// Writes pieces, one behind the other, to a range that [`fits`](Huge::fits).
    pub fn fill(&self, file: &mut Store, pieces: &[&[u8]], off: u64) -> io::Result<()> {
        let huge = self.change(Pace::next);
        let begun = Instant::now();
        file.fill_all_at(pieces, off, if huge { HUGE } else { FILL_STEP })?;
        let time = begun.elapsed();
        self.change(|pace| pace.took(huge, time));
        Ok(())
    }

    fn change<T>(&self, how: impl FnOnce(&mut Pace) -> T) -> T {
        how(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How the next [`HUGE`] bytes are written.
#[derive(Debug, Default)]
struct Pace {
    /// What so many bytes take in small pieces, on average; none: not known yet.
    small: Option<Duration>,
    /// How often small pieces are used before a huge one is tried again.
    left: u32,
    /// What that was after the last huge piece; 0: it was not slow.
    pause: u32,
}

impl Pace {
    /// Whether the next is a huge piece.
    fn next(&mut self) -> bool {
        let huge = self.small.is_some() && self.left == 0;
        self.left = self.left.saturating_sub(1);
        huge
    }

    /// A huge piece, or small ones instead, took so long.
    fn took(&mut self, huge: bool, time: Duration) {
        match self.small {
            Some(small) if huge => {
                let slow = time > small * SLOW;
                self.pause = if slow { (self.pause * 2).clamp(1, PAUSE_MAX) } else { 0 };
                self.left = self.pause;
            }
            Some(small) => self.small = Some((small * (WEIGHT - 1) + time) / WEIGHT),
            None => self.small = Some(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Duration = Duration::from_micros(600);

    /// Writes so often where a huge piece takes `huge`; how many were huge.
    fn write(pace: &mut Pace, times: u32, huge: Duration) -> u32 {
        (0..times).fold(0, |count, _| {
            let is_huge = pace.next();
            pace.took(is_huge, if is_huge { huge } else { SMALL });
            count + u32::from(is_huge)
        })
    }

    #[test]
    fn pieces_are_huge_as_soon_as_it_is_known_what_small_ones_take() {
        let mut pace = Pace::default();
        assert_eq!(write(&mut pace, 1, SMALL), 0);
        assert_eq!(write(&mut pace, 100, SMALL), 100);
    }

    #[test]
    fn slow_huge_pieces_are_tried_ever_more_rarely() {
        let mut pace = Pace::default();
        assert_eq!(write(&mut pace, 512, 10 * SMALL), 13);
        assert_eq!(write(&mut pace, 10 * (PAUSE_MAX + 1), 10 * SMALL), 10);
    }

    #[test]
    fn huge_pieces_come_back_when_one_was_not_slow() {
        let mut pace = Pace::default();
        write(&mut pace, 512, 10 * SMALL);
        let few = PAUSE_MAX + 10;
        assert!(write(&mut pace, few, SMALL) >= 10);
        assert_eq!(write(&mut pace, 10, SMALL), 10);
        // One that was slow by chance costs one.
        assert_eq!(write(&mut pace, 1, 10 * SMALL), 1);
        assert_eq!(write(&mut pace, 10, SMALL), 9);
    }

    #[test]
    fn a_disk_that_became_slow_is_slow_for_both() {
        let mut pace = Pace::default();
        write(&mut pace, 10, SMALL);
        for _ in 0..300 {
            let huge = pace.next();
            pace.took(huge, 10 * SMALL);
        }
        assert!((0..PAUSE_MAX).any(|_| pace.next()));
        pace.took(true, 10 * SMALL);
        assert!(pace.next(), "not slower than small ones");
    }
}
