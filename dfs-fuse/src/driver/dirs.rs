//! Reading directories.

use super::call::Call;
use crate::attr::{NO_REUSE, Numbers, file_type};
use dfs_client::vfs::{Entry, Found, Listed, Vfs};
use dfs_core::access::Credentials;
use dfs_core::dir_mode::DirOpen;
use dfs_core::{Code, Ino, Result};
use fuser::{FileHandle, FopenFlags, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyOpen};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Entries asked of the client at once. The kernel's buffers hold 30 to 800; what does not fit is
/// asked for again.
const PAGE: usize = 256;
/// The same with attributes, which take 152 bytes more each.
const PAGE_PLUS: usize = 128;

/// What the kernel keeps of a listing is decided anew whenever the directory is opened
/// (`dfs_core::dir_mode`).
pub fn opendir(call: Call<'_>, reply: ReplyOpen) {
    let (vfs, who, ino) = (call.vfs(), call.who(), call.ino);
    let work = async move { vfs.opendir(&who, ino).await };
    call.serve(reply, work, |reply, (fh, open)| {
        let flags = match open {
            DirOpen::Plain => FopenFlags::empty(),
            DirOpen::Fill => FopenFlags::FOPEN_CACHE_DIR,
            DirOpen::Keep => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
        };
        reply.opened(FileHandle(fh), flags);
    });
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

/// A server that answers before names are durable is asked to make them so (PROTOCOL 4.6).
pub fn fsyncdir(call: Call<'_>, reply: ReplyEmpty) {
    let vfs = call.vfs();
    let work = async move { vfs.fsyncdir().await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

/// As readdir, with the attributes of each entry.
pub fn readdirplus(call: Call<'_>, fh: u64, after: u64, reply: ReplyDirectoryPlus) {
    let (vfs, who, dir, numbers) = (call.vfs(), call.who(), call.ino, call.numbers());
    let work = async move { full_page(&vfs, &who, dir, fh, after).await };
    call.serve(reply, work, move |mut reply, page: Vec<Listed>| {
        for item in &page {
            if push(numbers, &mut reply, item) {
                break;
            }
        }
        reply.ok();
    });
}

/// The next entries, all but `.` and `..` with attributes: those that are not at hand are looked up,
/// and names that vanished meanwhile are left out. Empty only at the end of the directory.
async fn full_page(
    vfs: &Vfs,
    who: &Credentials,
    dir: Ino,
    fh: u64,
    mut after: u64,
) -> Result<Vec<Listed>> {
    loop {
        let mut page = vfs.readdir(fh, after, PAGE_PLUS, true).await?;
        let Some(last) = page.last() else { return Ok(page) };
        after = last.cookie;
        for item in page.iter_mut().filter(|item| item.entry.is_none() && !is_dot(item)) {
            item.entry = match vfs.lookup(who, dir, &item.name).await {
                Ok(Found::Entry(entry)) => Some(entry),
                Ok(Found::Absent { .. }) => None,
                Err(error) if error.code == Code::NotFound => None,
                // Who may list and not search sees names and kinds: nothing is kept of the name.
                Err(error) if error.code == Code::AccessDenied => unnamed(vfs, item.ino).await?,
                Err(error) => return Err(error),
            };
        }
        page.retain(|item| item.entry.is_some() || is_dot(item));
        if !page.is_empty() {
            return Ok(page);
        }
    }
}

/// What is at an inode that the caller may not reach by its name; none if it is gone.
async fn unnamed(vfs: &Vfs, ino: Ino) -> Result<Option<Entry>> {
    match vfs.getattr(ino, None).await {
        Ok(entry) => Ok(Some(Entry { ttl: Duration::ZERO, ..entry })),
        Err(error) if matches!(error.code, Code::NotFound | Code::Stale) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds an entry; true when there is no room for it. Of `.` and `..` the kernel takes only the
/// number.
fn push(numbers: Numbers, reply: &mut ReplyDirectoryPlus, item: &Listed) -> bool {
    let name = OsStr::from_bytes(&item.name);
    let (attr, ttl) = match &item.entry {
        Some(Entry { attr, ttl }) => (numbers.file_attr(attr), *ttl),
        None => (numbers.bare_attr(item.ino, item.kind), Duration::ZERO),
    };
    reply.add(attr.ino, item.cookie, name, &ttl, &attr, NO_REUSE)
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
