//! Opening, flushing and closing files.

use super::call::Call;
use super::flags;
use super::passthrough::{self, OpenReply};
use dfs_client::vfs::{Opened, Vfs};
use dfs_core::access::Privilege;
use dfs_core::{Code, Ino};
use fuser::{BackingId, FileHandle, FopenFlags, ReplyEmpty, ReplyOpen};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// How the kernel treats a handle.
pub fn flags_of(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct_io);
    flags.set(FopenFlags::FOPEN_NOFLUSH, !opened.flush);
    flags
}

impl OpenReply for ReplyOpen {
    fn register(&self, file: &File) -> io::Result<BackingId> {
        self.open_backing(file)
    }

    fn plain(self, fh: FileHandle, flags: FopenFlags) {
        self.opened(fh, flags);
    }

    fn backed(self, fh: FileHandle, flags: FopenFlags, id: &BackingId) {
        self.opened_passthrough(fh, flags, id);
    }
}

pub fn open(call: Call<'_>, bits: i32, reply: ReplyOpen) {
    let (vfs, ino, flags) = (call.vfs(), call.ino, flags::open(bits));
    let (answering, backings, op) = (call.vfs(), call.driver.backings.clone(), call.op);
    let locks = call.driver.lock_owners.clone();
    let answer = move |reply, mut opened: Opened| {
        opened.flush |= locks.need_flush(ino);
        passthrough::answer((&answering, &backings), (op, ino), reply, &opened);
    };
    let now = || vfs.open_now(&call.who_in_short(), ino, flags).map(Ok);
    let Some(reply) = call.serve_now(reply, now, answer.clone()) else { return };
    let who = call.exactly_who(&[Privilege::SetId]);
    let work = async move { vfs.open(&who, ino, flags).await };
    call.serve(reply, work, answer);
}

/// A descriptor was closed: commit, then give up the locks of its process (PROTOCOL 4.6: what was
/// written under a lock is committed before the lock goes).
pub fn flush(call: Call<'_>, fh: u64, owner: u64, reply: ReplyEmpty) {
    let (vfs, ino) = (call.vfs(), call.ino);
    call.driver.lock_owners.closed(ino, fh, owner);
    let work = async move {
        let flushed = vfs.flush(fh).await;
        flushed.and(release_locks(&vfs, ino, owner).await)
    };
    call.serve(reply, work, |reply, ()| reply.ok());
}

/// The last descriptor and mapping are gone, and with them the locks of the open file.
pub fn release(call: Call<'_>, fh: u64, reply: ReplyEmpty) {
    let (vfs, ino) = (call.vfs(), call.ino);
    let owners = call.driver.lock_owners.released(ino, fh);
    call.driver.backings.released(fh);
    let mut released = Ok(());
    let now = || {
        released = vfs.release(fh);
        owners.is_empty().then(|| released.clone())
    };
    let Some(reply) = call.serve_now(reply, now, |reply, ()| reply.ok()) else { return };
    let work = async move {
        for owner in owners {
            released = released.and(release_locks(&vfs, ino, owner).await);
        }
        released
    };
    call.serve(reply, work, |reply, ()| reply.ok());
}

/// Gives up the locks of an owner. A process that was killed still closes its files, with the signal
/// pending; its locks must go all the same, so an interrupted attempt is repeated in the background.
async fn release_locks(vfs: &Arc<Vfs>, ino: Ino, owner: u64) -> dfs_core::Result<()> {
    let released = vfs.release_locks(ino, owner).await;
    if released.as_ref().is_err_and(|error| error.code == Code::Interrupted) {
        let vfs = vfs.clone();
        tokio::spawn(async move {
            if let Err(error) = vfs.release_locks(ino, owner).await {
                tracing::warn!(inode = %ino, %error, "locks of a killed process are not released");
            }
        });
    }
    released
}

pub fn fsync(call: Call<'_>, fh: u64, reply: ReplyEmpty) {
    let vfs = call.vfs();
    let work = async move { vfs.fsync(fh).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_handle_spare_the_flush_that_nobody_needs() {
        let opened =
            Opened { fh: 7, keep_cache: true, direct_io: false, flush: false, backing: None };
        let silent = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
        assert_eq!(flags_of(&opened), silent);
        assert_eq!(flags_of(&Opened { flush: true, ..opened }), FopenFlags::FOPEN_KEEP_CACHE);
    }
}
