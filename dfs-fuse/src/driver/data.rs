//! Reading and writing open files.

use super::call::Call;
use super::flags;
use crate::callers;
use dfs_core::Code;
use dfs_core::access::Privilege;
use fuser::{ReplyData, ReplyEmpty, ReplyLseek, ReplyWrite, WriteFlags};

/// Most bytes one copy_file_range(2) answers for: the reply counts in 32 bits.
const COPY_MAX: u64 = 1 << 30;

pub fn read(call: Call<'_>, fh: u64, off: u64, len: u32, reply: ReplyData) {
    let vfs = call.vfs();
    let work = async move { vfs.read(fh, off, len).await };
    call.serve(reply, work, |reply, data| reply.data(&data));
}

pub fn write(call: Call<'_>, fh: u64, off: u64, data: &[u8], flags: WriteFlags, reply: ReplyWrite) {
    let vfs = call.vfs();
    let strips = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
    let now = || vfs.write_now(fh, off, data, strips);
    // A write is at most `connect::MAX_WRITE` long.
    let answer = |reply: ReplyWrite, written| reply.written(written as u32);
    let Some(reply) = call.serve_now(reply, now, answer) else { return vfs.wrote(fh) };
    let data = data.to_vec();
    let (tid, uid, gid) = (call.tid, call.request.uid(), call.request.gid());
    let who = move || callers::exactly(tid, uid, gid, &[Privilege::SetId]);
    let unprivileged = strips.then_some(who);
    let work = async move { vfs.write(fh, off, &data, unprivileged).await };
    call.serve(reply, work, answer);
}

pub fn fallocate(call: Call<'_>, fh: u64, off: u64, len: u64, bits: i32, reply: ReplyEmpty) {
    let vfs = call.vfs();
    let work = async move { vfs.fallocate(fh, off, len, flags::fallocate(bits)?).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

pub fn lseek(call: Call<'_>, fh: u64, off: i64, whence: i32, reply: ReplyLseek) {
    let vfs = call.vfs();
    let work = async move {
        let off = u64::try_from(off).map_err(|_| Code::NoDevice)?; // lseek(2): ENXIO
        let found = vfs.lseek(fh, off, flags::seek(whence)?).await?;
        Ok(i64::try_from(found).map_err(|_| Code::Overflow)?)
    };
    call.serve(reply, work, |reply, found| reply.offset(found));
}

/// One end of a copy.
#[derive(Clone, Copy)]
pub struct End {
    pub fh: u64,
    pub off: u64,
}

pub fn copy(call: Call<'_>, from: End, to: End, len: u64, reply: ReplyWrite) {
    let vfs = call.vfs();
    let len = len.min(COPY_MAX);
    let work = async move { vfs.copy_file_range(from.fh, from.off, to.fh, to.off, len).await };
    call.serve(reply, work, |reply, copied| reply.written(copied as u32));
}
