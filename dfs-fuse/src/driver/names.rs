//! Operations on names of a directory; `call.ino` is the directory.

use super::call::{Call, Fail};
use super::flags;
use super::passthrough::{self, OpenReply};
use crate::attr::{self, NO_ATTR, NO_REUSE, Numbers};
use dfs_client::vfs::{Entry, Found, Opened};
use dfs_core::access::Privilege;
use dfs_core::attr::NewMode;
use dfs_core::{Code, Ino};
use fuser::{
    BackingId, Errno, FileAttr, FileHandle, FopenFlags, ReplyCreate, ReplyEmpty, ReplyEntry,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

pub fn lookup(call: Call<'_>, name: &OsStr, reply: ReplyEntry) {
    let (vfs, who, dir, numbers) = (call.vfs(), call.who(), call.ino, call.numbers());
    let answer = move |reply: ReplyEntry, found| match found {
        Found::Entry(entry) => entered(numbers, reply, &entry),
        Found::Absent { ttl } if ttl.is_zero() => reply.error(Errno::ENOENT),
        // Inode number 0: the kernel remembers that there is nothing.
        Found::Absent { ttl } => reply.entry(&ttl, &NO_ATTR, NO_REUSE),
    };
    let now = || vfs.lookup_now(&who, dir, name.as_bytes());
    let Some(reply) = call.serve_now(reply, now, answer) else { return };
    let name = name.as_bytes().to_vec();
    let work = async move { vfs.lookup(&who, dir, &name).await };
    call.serve_asking(reply, work, answer);
}

pub fn mknod(call: Call<'_>, name: &OsStr, kind: u32, mode: NewMode, rdev: u32, reply: ReplyEntry) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let numbers = call.numbers();
    let work = async move {
        let kind = attr::kind_of_mode(kind).ok_or(Code::Invalid)?;
        vfs.mknod(&who, dir, &name, kind, mode, rdev).await
    };
    call.serve_asking(reply, work, move |reply, entry| entered(numbers, reply, &entry));
}

pub fn mkdir(call: Call<'_>, name: &OsStr, mode: NewMode, reply: ReplyEntry) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let numbers = call.numbers();
    let work = async move { vfs.mkdir(&who, dir, &name, mode).await };
    // As `unlink`.
    call.serve(reply, work, move |reply, entry| entered(numbers, reply, &entry));
}

pub fn symlink(call: Call<'_>, name: &OsStr, target: &Path, reply: ReplyEntry) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let (numbers, target) = (call.numbers(), target.as_os_str().as_bytes().to_vec());
    let work = async move { vfs.symlink(&who, dir, &name, &target).await };
    call.serve_asking(reply, work, move |reply, entry| entered(numbers, reply, &entry));
}

pub fn link(call: Call<'_>, ino: Ino, name: &OsStr, reply: ReplyEntry) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let numbers = call.numbers();
    let work = async move { vfs.link(&who, ino, dir, &name).await };
    // As `unlink`.
    call.serve(reply, work, move |reply, entry| entered(numbers, reply, &entry));
}

pub fn unlink(call: Call<'_>, name: &OsStr, reply: ReplyEmpty) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let work = async move { vfs.unlink(&who, dir, &name).await };
    // Also a thread that cannot wait for the answer may send it.
    call.serve(reply, work, |reply, ()| reply.ok());
}

pub fn rmdir(call: Call<'_>, name: &OsStr, reply: ReplyEmpty) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let work = async move { vfs.rmdir(&who, dir, &name).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

pub fn rename(
    call: Call<'_>,
    name: &OsStr,
    (to_dir, to_name): (Ino, &OsStr),
    bits: fuser::RenameFlags,
    reply: ReplyEmpty,
) {
    let (vfs, who, dir, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let to_name = to_name.as_bytes().to_vec();
    let work =
        async move { vfs.rename(&who, dir, &name, to_dir, &to_name, flags::rename(bits)?).await };
    // As `unlink`.
    call.serve(reply, work, |reply, ()| reply.ok());
}

pub fn create(call: Call<'_>, name: &OsStr, mode: NewMode, bits: i32, reply: ReplyCreate) {
    let (vfs, dir, name) = (call.vfs(), call.ino, name.as_bytes());
    let (flags, numbers) = (flags::open(bits), call.numbers());
    let who = || call.exactly_who(&[Privilege::SetId]);
    let (answering, backings, op) = (call.vfs(), call.driver.backings.clone(), call.op);
    let answer = move |reply, (entry, opened): (Entry, Opened)| {
        let ino = entry.attr.ino;
        let reply = Created { reply, ttl: entry.ttl, attr: numbers.file_attr(&entry.attr) };
        passthrough::answer((&answering, &backings), (op, ino), reply, &opened);
    };
    let now = || vfs.create_now(who, dir, name, mode, flags);
    let Some(reply) = call.serve_now(reply, now, answer.clone()) else { return };
    let (who, name) = (who(), name.to_vec());
    let work = async move { vfs.create(&who, dir, &name, mode, flags).await };
    call.serve_asking(reply, work, answer);
}

/// A reply to a create, and what is in it beside the handle.
struct Created {
    reply: ReplyCreate,
    ttl: Duration,
    attr: FileAttr,
}

impl Fail for Created {
    fn fail(self, errno: Errno) {
        self.reply.fail(errno);
    }
}

impl OpenReply for Created {
    fn register(&self, file: &File) -> io::Result<BackingId> {
        self.reply.open_backing(file)
    }

    fn plain(self, fh: FileHandle, flags: FopenFlags) {
        self.reply.created(&self.ttl, &self.attr, NO_REUSE, fh, flags);
    }

    fn backed(self, fh: FileHandle, flags: FopenFlags, id: &BackingId) {
        self.reply.created_passthrough(&self.ttl, &self.attr, NO_REUSE, fh, flags, id);
    }
}

fn entered(numbers: Numbers, reply: ReplyEntry, entry: &Entry) {
    reply.entry(&entry.ttl, &numbers.file_attr(&entry.attr), NO_REUSE);
}
