//! What was read once: clients keep what they have read, so only what is asked for again is worth a
//! place in the page cache.

use dfs_core::extent::ObjectName;
use dfs_core::limits::READ_ONCE;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// The last requests, by object and offset.
pub(super) struct ReadOnce(Mutex<LruCache<(ObjectName, u64), ()>>);

impl ReadOnce {
    pub(super) fn new() -> ReadOnce {
        let most = NonZeroUsize::new(READ_ONCE);
        ReadOnce(Mutex::new(most.map_or_else(LruCache::unbounded, LruCache::new)))
    }

    /// Whether nobody has read the object from `off` on lately; takes note that somebody does now.
    pub(super) fn is_first(&self, name: ObjectName, off: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put((name, off), ()).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::Ino;

    #[test]
    fn read_once_knows_the_last_reads() {
        let once = ReadOnce::new();
        let name = |n| ObjectName { ino: Ino(1), born: 1, n };
        assert!(once.is_first(name(0), 0) && once.is_first(name(0), 1));
        assert!(!once.is_first(name(0), 0));
        (1..=READ_ONCE as u32).for_each(|n| assert!(once.is_first(name(n), 0)));
        assert!(once.is_first(name(0), 0));
    }
}
