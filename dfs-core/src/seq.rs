//! The one counter that orders everything a name server does (PROTOCOL 1, "Orders").

use std::fmt;

/// A position in the order of all events: leader epoch in the top 16 bits, counter in the low 48.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

const COUNTER_BITS: u32 = 48;

/// A counter begins at a number of so many bits: what is left of it lasts for ages.
const FIRST_BITS: u32 = 40;

impl Seq {
    /// The first number of a leader epoch.
    pub fn start_of(epoch: u16) -> Seq {
        Seq(u64::from(epoch) << COUNTER_BITS)
    }

    /// The leader epoch this number was given out in.
    pub fn epoch(self) -> u16 {
        (self.0 >> COUNTER_BITS) as u16
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

/// Gives out sequence numbers of one leader epoch, each larger than all before.
#[derive(Debug)]
pub struct Sequencer {
    last: Seq,
}

impl Sequencer {
    /// A counter at the start of `epoch`.
    pub fn new(epoch: u16) -> Sequencer {
        Sequencer::of_store(epoch, 0)
    }

    /// A counter of `epoch` that begins at a number which `store` decides, random bits of each store:
    /// the sessions that clients had of a lost store are none of the one in its place.
    pub fn of_store(epoch: u16, store: u64) -> Sequencer {
        Sequencer { last: Seq(Seq::start_of(epoch).0 + store % (1 << FIRST_BITS)) }
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)] // an iterator would suggest that it ends
    pub fn next(&mut self) -> Seq {
        let next = Seq(self.last.0 + 1);
        assert_eq!(next.epoch(), self.last.epoch(), "sequence counter ran over its 48 bits");
        self.last = next;
        next
    }

    /// The last number given out.
    pub fn last(&self) -> Seq {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequencer_numbers_grow_across_epochs() {
        let mut old = Sequencer::new(3);
        let mut new = Sequencer::new(4);
        let a = old.next();
        let b = old.next();
        assert!(a < b && b < new.next());
        assert_eq!(b.epoch(), 3);
        assert_eq!(b.to_string(), "3.2");
    }

    #[test]
    fn sequencers_of_stores_begin_apart() {
        let [a, b, c] = [5, 6, u64::MAX].map(|store| Sequencer::of_store(1, store).next());
        assert_eq!((a.to_string(), b.to_string()), ("1.6".to_owned(), "1.7".to_owned()));
        assert!(c.epoch() == 1 && c < Seq::start_of(2));
        assert!(c < Sequencer::new(2).next());
    }
}
