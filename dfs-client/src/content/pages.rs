//! What the kernel may have in its page cache, as far as it is known here.

use dfs_core::Ino;
use lru::LruCache;
use std::num::NonZeroUsize;

/// Inodes of which is remembered what the kernel may have in its page cache.
const REMEMBERED_MAX: usize = 65_536;

/// What the kernel may have of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Nothing, or only pages that equal this version with the local changes.
    Of(u64),
    /// As `Of`, and it was given all of them.
    All(u64),
    /// Pages of several versions, or nobody knows.
    Mixed,
}

impl Pages {
    /// Whether no page differs from version `ver` with the local changes.
    pub(crate) fn show(self, ver: u64) -> bool {
        self == Pages::Of(ver) || self == Pages::All(ver)
    }

    /// The same content is version `ver` now.
    pub(crate) fn move_to(self, ver: u64) -> Pages {
        match self {
            Pages::Of(_) => Pages::Of(ver),
            Pages::All(_) => Pages::All(ver),
            Pages::Mixed => Pages::Mixed,
        }
    }

    /// Some of them may be gone.
    pub(crate) fn some(self) -> Pages {
        if let Pages::All(ver) = self { Pages::Of(ver) } else { self }
    }
}

/// What the kernel may have of inodes that are not kept in mind otherwise.
#[derive(Debug)]
pub(super) struct Remembered {
    inodes: LruCache<Ino, Pages>,
    /// Some were dropped for want of room.
    lost: bool,
}

impl Remembered {
    pub(super) fn new() -> Remembered {
        let inodes = NonZeroUsize::new(REMEMBERED_MAX).map(LruCache::new);
        Remembered { inodes: inodes.unwrap_or_else(LruCache::unbounded), lost: false }
    }

    pub(super) fn put(&mut self, ino: Ino, pages: Pages) {
        let dropped = self.inodes.push(ino, pages);
        self.lost |= dropped.is_some_and(|(other, _)| other != ino);
    }

    /// What the kernel may have of an inode that begins with version `ver`: of one that never was
    /// known here it has nothing.
    pub(super) fn take(&mut self, ino: Ino, ver: u64) -> Pages {
        let unknown = if self.lost { Pages::Mixed } else { Pages::Of(ver) };
        self.inodes.pop(&ino).unwrap_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_an_inode_once_some_were_dropped() {
        let mut remembered = Remembered::new();
        remembered.put(Ino(7), Pages::Mixed);
        remembered.put(Ino(7), Pages::All(3));
        assert_eq!(remembered.take(Ino(7), 9), Pages::All(3));
        assert_eq!(remembered.take(Ino(7), 9), Pages::Of(9));
        for number in 0..=REMEMBERED_MAX as u64 {
            remembered.put(Ino(number), Pages::Of(1));
        }
        assert_eq!(remembered.take(Ino(0), 9), Pages::Mixed);
        assert_eq!(remembered.take(Ino(1), 9), Pages::Of(1));
    }
}
