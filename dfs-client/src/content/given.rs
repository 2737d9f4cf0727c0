//! Small files whose pages the kernel is given before an open is answered (`docs/design/0045`), and what
//! is remembered of the pages it may have.

use super::Content;
use super::inode::{File, Pages, State};
use crate::cache::ReadOutcome;
use dfs_core::Ino;
use dfs_core::limits::PAGES_GIVEN_MAX;
use dfs_core::range::Range;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Inodes of which is remembered what the kernel may have in its page cache.
const REMEMBERED_MAX: usize = 65_536;

/// What those who opened small files last did with them.
#[derive(Debug, Default)]
pub(super) struct Giving {
    copies: AtomicBool,
}

impl Giving {
    /// A small file was copied without its pages (copy_file_range): the next one is likely to be, too.
    pub(super) fn copied(&self) {
        self.copies.store(true, Ordering::Relaxed);
    }

    /// The kernel asked for pages.
    pub(super) fn read(&self) {
        if self.copies.load(Ordering::Relaxed) {
            self.copies.store(false, Ordering::Relaxed);
        }
    }
}

impl Content {
    /// Gives the kernel all pages of a small file whose bytes are here, before the answer to the open of
    /// its first handle. As long as nobody has it open the kernel waits for no read of it, so that none
    /// of its pages is locked. Called with the gate held.
    pub(super) fn give(&self, file: &File, state: &mut State) {
        let (ver, size) = (state.view.working.version(), state.view.working.size());
        let small = 1..=PAGES_GIVEN_MAX;
        if state.pages != Pages::Of(ver) || !small.contains(&size) || state.telling > 0 {
            return;
        }
        if self.giving.copies.load(Ordering::Relaxed) {
            return;
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let read = state.view.working.read(Range::new(0, size), &mut bytes);
        // What is not here, or cannot be read, the reader asks for, and hears of.
        if !matches!(read, Ok(ReadOutcome::Bytes(len)) if len as u64 == size) {
            return;
        }
        if self.client.kernel.give_pages(file.ino, &bytes) {
            file.gave_pages.store(true, Ordering::SeqCst);
            state.pages = Pages::All(ver);
        }
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
