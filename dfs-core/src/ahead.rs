//! Which stripes of a file that is being written are uploaded before the commit that will name them
//! (PROTOCOL 4.2, "Uploading may begin before `close`").
//!
//! Only a long run of writes, each of which begins where the last one ended, is believed to leave
//! its stripes as they are. Who begins anew inside what was uploaded writes the same bytes over and
//! over: nothing more is uploaded ahead of the next commit then.

use crate::limits::{AHEAD_AT_ONCE, AHEAD_STRIPES};
use crate::range::Range;

/// The writes of one file.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The present run.
    run: Range,
    /// Its stripes before this byte were taken, or are not whole.
    next: u64,
    /// Nothing behind this byte was taken since the last commit.
    taken: u64,
    /// Uploads under way.
    running: usize,
    stopped: bool,
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead { run: Range::new(0, 0), next: 0, taken: 0, running: 0, stopped: false }
    }
}

impl Ahead {
    /// Takes note of a write. `unit` is the stripe unit.
    pub fn wrote(&mut self, range: Range, unit: u64) {
        if range.start == self.run.end {
            self.run.end = range.end;
            return;
        }
        self.stopped |= range.start < self.taken;
        self.run = range;
        self.next = range.start.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
    }

    /// The next stripe to upload, if there is one; `ended` must follow.
    pub fn take(&mut self, unit: u64) -> Option<Range> {
        let stripe = Range::of_len(self.next, unit);
        let whole = stripe.len() == unit && stripe.end <= self.run.end;
        let long = self.run.len() / AHEAD_STRIPES >= unit;
        if self.stopped || self.running >= AHEAD_AT_ONCE || !long || !whole {
            return None;
        }
        self.running += 1;
        self.next = stripe.end;
        self.taken = self.taken.max(stripe.end);
        Some(stripe)
    }

    /// The upload of a stripe taken last cannot begin now.
    pub fn put_back(&mut self, stripe: Range) {
        self.next = stripe.start;
        self.ended();
    }

    /// An upload is over.
    pub fn ended(&mut self) {
        assert!(self.running > 0, "an upload ended that was never begun");
        self.running -= 1;
    }

    /// Nothing more until the next commit.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// A commit takes up all that was written so far: a stripe it cuts is never whole again.
    pub fn committed(&mut self, unit: u64) {
        let behind = self.run.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
        self.next = self.next.max(behind);
        (self.taken, self.stopped) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 4 << 20;
    const MIB: u64 = 1 << 20;

    /// Writes of 1 MiB each from `from` to `to`; the stripes taken meanwhile, each ending at once.
    fn write(ahead: &mut Ahead, from: u64, to: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        for at in from..to {
            ahead.wrote(Range::of_len(at * MIB, MIB), UNIT);
            while let Some(stripe) = ahead.take(UNIT) {
                assert_eq!(stripe.len(), UNIT);
                taken.push(stripe.start / UNIT);
                ahead.ended();
            }
        }
        taken
    }

    #[test]
    fn ahead_takes_every_whole_stripe_of_a_long_run_once() {
        let mut ahead = Ahead::default();
        assert_eq!(write(&mut ahead, 0, 7), []);
        assert_eq!(write(&mut ahead, 7, 21), [0, 1, 2, 3, 4]);
        // A run that begins inside a stripe leaves that one to the commit.
        assert_eq!(write(&mut ahead, 41, 53), [11, 12]);
    }

    #[test]
    fn ahead_takes_nothing_of_scattered_or_repeated_writes() {
        let mut ahead = Ahead::default();
        for at in (0..4000).rev() {
            assert_eq!(write(&mut ahead, at * 2, at * 2 + 1), []);
        }
        assert_eq!(write(&mut ahead, 0, 16), [0, 1, 2, 3]);
        assert_eq!(write(&mut ahead, 0, 16), []);
        assert_eq!(write(&mut ahead, 16, 32), []);
        ahead.wrote(Range::of_len(32 * MIB, MIB), UNIT);
        ahead.committed(UNIT);
        assert_eq!(write(&mut ahead, 33, 44), [9, 10]);
        ahead.stop();
        assert_eq!(write(&mut ahead, 44, 80), []);
    }

    #[test]
    fn ahead_is_bounded() {
        let mut ahead = Ahead::default();
        ahead.wrote(Range::new(0, 100 * UNIT), UNIT);
        let taken = std::iter::from_fn(|| ahead.take(UNIT)).count();
        assert_eq!(taken, AHEAD_AT_ONCE);
        ahead.ended();
        assert_eq!(ahead.take(UNIT).unwrap().start, AHEAD_AT_ONCE as u64 * UNIT);
        assert_eq!(ahead.take(UNIT), None);
        // The last byte of all is in no whole stripe.
        ahead.wrote(Range::new(u64::MAX - 4 * UNIT, u64::MAX), UNIT);
        ahead.ended();
        assert!(std::iter::from_fn(|| ahead.take(UNIT)).all(|stripe| stripe.len() == UNIT));
    }
}
