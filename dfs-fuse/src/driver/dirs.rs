//! Reading directories.

use super::call::Call;
use crate::attr::{GENERATION, Numbers, file_type};
use dfs_client::vfs::{Entry, Found, Listed};
use dfs_core::{Code, Ino};
use fuser::{FileHandle, FopenFlags, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyOpen};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Entries asked of the client at once. The kernel's buffers hold 30 to 800; what does not fit is
/// asked for again.
const PAGE: usize = 256;
/// The same with attributes, which take 152 bytes more each.
const PAGE_PLUS: usize = 128;

/// The kernel does not cache listings: it would not know when ours is no longer promised.
pub fn opendir(call: Call<'_>, reply: ReplyOpen) {
    let (vfs, who, ino) = (call.vfs(), call.who(), call.ino);
    let work = async move { vfs.opendir(&who, ino).await };
    call.serve(reply, work, |reply, fh| reply.opened(FileHandle(fh), FopenFlags::empty()));
}

pub fn readdir(call: Call<'_>, fh: u64, after: u64, reply: ReplyDirectory) {
    let (vfs, numbers) = (call.vfs(), call.numbers());
    let work = async move { vfs.readdir(fh, after, PAGE, false).await };
    call.serve(reply, work, move |mut reply, page: Vec<Listed>| {
        for item in &page {
            let (ino, kind) = (numbers.to_kernel(item.ino), file_type(item.kind));
            if reply.add(ino, item.cookie, kind, OsStr::from_bytes(&item.name)) {
                break;
            }
        }
        reply.ok();
    });
}

/// Each entry that is sent counts as one lookup of its inode; `.` and `..` do not.
pub fn readdirplus(call: Call<'_>, fh: u64, after: u64, reply: ReplyDirectoryPlus) {
    let (vfs, who, dir, numbers) = (call.vfs(), call.who(), call.ino, call.numbers());
    let unsent = vfs.clone();
    let work = async move {
        let mut page = vfs.readdir(fh, after, PAGE_PLUS, true).await?;
        for item in page.iter_mut().filter(|item| item.entry.is_none() && !is_dot(item)) {
            item.entry = match vfs.lookup(&who, dir, &item.name).await {
                Ok(Found::Entry(entry)) => Some(entry),
                Ok(Found::Absent { .. }) => None,
                Err(error) if error.code == Code::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(page)
    };
    call.serve(reply, work, move |mut reply, page: Vec<Listed>| {
        let mut items = page.into_iter();
        let mut left_out = None;
        for item in items.by_ref() {
            if push(numbers, &mut reply, &item) {
                left_out = Some(item);
                break;
            }
        }
        reply.ok();
        for entry in left_out.into_iter().chain(items).filter_map(|item| item.entry) {
            unsent.forget(entry.attr.ino, 1);
        }
    });
}

/// Adds an entry; true when there is no room for it. A name that vanished meanwhile is left out.
fn push(numbers: Numbers, reply: &mut ReplyDirectoryPlus, item: &Listed) -> bool {
    let name = OsStr::from_bytes(&item.name);
    let (attr, ttl) = match &item.entry {
        Some(Entry { attr, ttl }) => (numbers.file_attr(attr), *ttl),
        None if is_dot(item) => (numbers.bare_attr(item.ino, item.kind), Duration::ZERO),
        None => return false,
    };
    reply.add(attr.ino, item.cookie, name, &ttl, &attr, GENERATION)
}

fn is_dot(item: &Listed) -> bool {
    item.name == b"." || item.name == b".."
}

pub fn releasedir(call: Call<'_>, fh: u64, reply: ReplyEmpty) {
    let vfs = call.vfs();
    let work = async move {
        vfs.releasedir(fh);
        Ok(())
    };
    call.serve(reply, work, |reply, ()| reply.ok());
}

/// The kernel forgets an inode that it looked up `count` times.
pub fn forget(driver: &super::Driver, ino: Ino, count: u64) {
    driver.vfs.forget(ino, count);
}
