//! When something must happen next, for many things at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::BootTime;

/// At most one deadline per key, ordered by time. All operations take O(log n).
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    by_time: BTreeSet<(BootTime, K)>,
    by_key: BTreeMap<K, BootTime>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Replaces the deadline of `key`; `None` removes it.
    pub(crate) fn set(&mut self, key: K, at: Option<BootTime>) {
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = at {
            self.by_key.insert(key, at);
            self.by_time.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<BootTime> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes out a key whose deadline has come, earliest first.
    pub(crate) fn pop_due(&mut self, now: BootTime) -> Option<K> {
        let &(at, key) = self.by_time.first().filter(|&&(at, _)| at <= now)?;
        self.by_time.remove(&(at, key));
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    #[test]
    fn deadlines_keep_the_last_time_of_each_key_and_pop_in_order() {
        let mut deadlines = Deadlines::default();
        deadlines.set('a', Some(at(5)));
        deadlines.set('b', Some(at(3)));
        deadlines.set('a', Some(at(1)));
        deadlines.set('c', Some(at(2)));
        deadlines.set('c', None);
        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!(deadlines.pop_due(at(3)), Some('a'));
        assert_eq!(deadlines.pop_due(at(3)), Some('b'));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.next(), None);
    }
}
