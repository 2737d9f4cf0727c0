//! Small files whose pages the kernel is given before an open is answered (`docs/design/0045`).

use super::Content;
use super::inode::{File, State};
use super::pages::Pages;
use crate::cache::ReadOutcome;
use dfs_core::limits::PAGES_GIVEN_MAX;
use dfs_core::range::Range;
use std::sync::atomic::{AtomicBool, Ordering};

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
