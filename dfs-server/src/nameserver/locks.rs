//! Record locks across clients (PROTOCOL 4.6): fcntl ranges, and flock as whole-file locks.

use super::machines::Machines;
use super::{Caller, NameServer, resolve};
use dfs_core::lock::{self, Owner, RecordLock};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::v1;
use std::sync::Arc;

/// A lock as a client asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The inode.
    pub ino: Ino,
    /// Whose, which bytes, how.
    pub lock: RecordLock,
    /// Wait for it.
    pub wait: bool,
}

impl NameServer {
    /// Takes a lock, waiting in line if asked; dropping the future leaves the line.
    pub async fn lock_range(self: &Arc<Self>, caller: &Caller, wish: Wish) -> Result<()> {
        resolve::attr(&*self.store, wish.ino)?;
        let now = self.clock.now();
        let Wish { ino, lock, wait } = wish;
        let waiting = {
            let mut machines = self.lock();
            machines.sessions.check(caller.sid, caller.epoch, now)?;
            machines.request_lock(now, |req| lock::Event::Lock { req, ino, lock, wait })
        };
        let cancel = |m: &mut Machines, now, req| m.lock(now, lock::Event::Cancel { req });
        self.in_line(waiting, cancel).await
    }

    /// Gives a range back.
    pub async fn unlock_range(
        &self,
        caller: &Caller,
        ino: Ino,
        owner: u64,
        range: Range,
    ) -> Result<()> {
        let now = self.clock.now();
        let owner = Owner { session: caller.sid, owner };
        let (_, answer) = {
            let mut machines = self.lock();
            machines.sessions.check(caller.sid, caller.epoch, now)?;
            machines.request_lock(now, |req| lock::Event::Unlock { req, ino, owner, range })
        };
        answer.await.map_err(|_| FsError::new(Code::SessionExpired, "the session ended"))?
    }

    /// A lock in the way of this one.
    pub fn test_lock(
        &self,
        caller: &Caller,
        ino: Ino,
        lock: &RecordLock,
    ) -> Result<Option<RecordLock>> {
        self.may_read(caller)?;
        Ok(self.lock().locks.test(ino, lock))
    }
}

/// A held lock on the wire.
pub fn held_to(lock: &RecordLock) -> v1::HeldLock {
    v1::HeldLock {
        sid: lock.owner.session.0,
        owner: lock.owner.owner,
        pid: lock.pid,
        exclusive: lock.exclusive,
        start: lock.range.start,
        end: lock::last_byte(lock.range),
    }
}
