//! Telling the kernel that a file moved, and waiting until it has heard.
//!
//! A reply with attributes or bytes that meets a notification about the same inode counts as overtaken:
//! the kernel keeps the size it had, and the program that asked reads up to an old end, or zeros up to
//! it (`fuse_change_attributes`, `fuse_short_read` in Linux). So whoever is owed the newest content
//! (open(2), a record lock, PROTOCOL 4.3 and 4.6) goes on only when nothing is under way.

use super::Content;
use super::inode::File;
use dfs_core::range::Range;
use std::sync::Arc;

impl Content {
    /// Makes the kernel forget attributes, and pages from `off` on, in the background.
    pub(crate) fn tell_kernel(&self, file: &Arc<File>, off: u64) {
        file.lock().telling += 2;
        let done = || {
            let file = Arc::clone(file);
            Box::new(move || {
                file.lock().telling -= 1;
                file.changed.notify_waiters();
            })
        };
        self.client.kernel.forget_pages(file.ino, Range::new(off, u64::MAX), done());
        self.client.kernel.forget_attr(file.ino);
        self.client.kernel.forget_entries(Vec::new(), Vec::new(), done());
    }

    /// Returns when the kernel has heard of every move so far. May wait for reads of this file.
    pub(crate) async fn told(&self, file: &File) {
        file.wait_until(|state| state.telling == 0).await;
    }
}
