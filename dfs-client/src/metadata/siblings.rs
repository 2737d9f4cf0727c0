//! When a directory is listed because names in it are looked up one after the other. Pure.
//!
//! A lookup costs a round trip, an entry of a listing a small part of one. So a listing that is worth
//! no more than a few times the lookups so far costs little if it was for nothing, and saves all
//! further ones if it was not: at most once for each such number of lookups.

use dfs_core::Ino;
use lru::LruCache;
use std::num::NonZeroUsize;

/// Lookups before a directory is listed.
const LOOKUPS_MIN: u64 = 4;
/// Entries that one lookup pays for.
const ENTRIES_PER_LOOKUP: u64 = 32;
/// Larger directories are not listed: what they bring would drive other things out.
pub const ENTRIES_MAX: u64 = 16_384;
/// Directories whose lookups are counted.
const DIRS_MAX: usize = 1024;
/// Listings under way at the same time.
const AT_ONCE: usize = 4;

/// Lookups that the server answered, by directory.
#[derive(Debug)]
pub(super) struct Siblings {
    asked: LruCache<Ino, u64>,
    /// Directories being listed.
    listed: Vec<Ino>,
}

impl Siblings {
    pub(super) fn new() -> Siblings {
        let asked = NonZeroUsize::new(DIRS_MAX).map_or_else(LruCache::unbounded, LruCache::new);
        Siblings { asked, listed: Vec::new() }
    }

    /// The server was asked for a name in `dir`, which has so many `entries`. True: it is to be listed
    /// now, and [`listed`](Siblings::listed) is called when that has ended.
    pub(super) fn asked(&mut self, dir: Ino, entries: u64) -> bool {
        let asked = self.asked.get_or_insert_mut(dir, || 0);
        *asked = asked.saturating_add(1);
        let due = *asked >= LOOKUPS_MIN
            && entries <= asked.saturating_mul(ENTRIES_PER_LOOKUP).min(ENTRIES_MAX);
        if !due || self.listed.len() >= AT_ONCE || self.listed.contains(&dir) {
            return false;
        }
        *asked = 0;
        self.listed.push(dir);
        true
    }

    /// The listing has ended, well or not. Lookups beside it pay for no other one.
    pub(super) fn listed(&mut self, dir: Ino) {
        self.listed.retain(|other| *other != dir);
        if let Some(asked) = self.asked.peek_mut(&dir) {
            *asked = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups_until_listed(siblings: &mut Siblings, dir: Ino, entries: u64) -> Option<usize> {
        (1..=10_000).find(|_| siblings.asked(dir, entries))
    }

    #[test]
    fn directory_is_listed_when_its_lookups_cost_as_much() {
        let mut siblings = Siblings::new();
        for (dir, entries, want) in
            [(1, 0, Some(4)), (2, 128, Some(4)), (3, 129, Some(5)), (4, 16_384, Some(512))]
        {
            assert_eq!(lookups_until_listed(&mut siblings, Ino(dir), entries), want);
            siblings.listed(Ino(dir));
            // Another one has to be paid for anew.
            assert_eq!(lookups_until_listed(&mut siblings, Ino(dir), entries), want);
            siblings.listed(Ino(dir));
        }
        assert_eq!(lookups_until_listed(&mut siblings, Ino(5), ENTRIES_MAX + 1), None);
    }

    /// A lookup may be answered in the moment in which the listing has brought all names.
    #[test]
    fn regression_lookups_beside_a_listing_do_not_begin_the_next() {
        let mut siblings = Siblings::new();
        assert_eq!(lookups_until_listed(&mut siblings, Ino(1), 128), Some(4));
        assert!((0..100).all(|_| !siblings.asked(Ino(1), 128)));
        siblings.listed(Ino(1));
        assert_eq!(lookups_until_listed(&mut siblings, Ino(1), 128), Some(4));
    }

    #[test]
    fn few_directories_are_listed_at_once_and_each_once() {
        let mut siblings = Siblings::new();
        for dir in 1..=AT_ONCE as u64 {
            assert!(lookups_until_listed(&mut siblings, Ino(dir), 10).is_some());
        }
        assert_eq!(lookups_until_listed(&mut siblings, Ino(1), 10), None);
        assert_eq!(lookups_until_listed(&mut siblings, Ino(99), 10), None);
        siblings.listed(Ino(1));
        assert!(siblings.asked(Ino(99), 10));
    }
}
