//! Record locks across clients (PROTOCOL 4.6): fcntl ranges, and flock.

use super::machines::Machines;
use super::{Caller, NameServer, resolve};
use dfs_core::lock::{self, Kind, Owner, RecordLock};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::collections::BTreeMap;
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

    /// Gives a range back, of locks of that kind.
    pub async fn unlock_range(
        &self,
        caller: &Caller,
        ino: Ino,
        (owner, kind): (Owner, Kind),
        range: Range,
    ) -> Result<()> {
        let now = self.clock.now();
        let (_, answer) = {
            let mut machines = self.lock();
            machines.sessions.check(caller.sid, caller.epoch, now)?;
            machines.request_lock(now, |req| lock::Event::Unlock { req, ino, owner, kind, range })
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

    /// Record locks as operators see them: those held, then those waited for.
    pub fn lock_list(&self) -> Vec<v1::LockInfo> {
        let now = self.clock.now();
        let machines = self.lock();
        let sessions = machines.sessions.sessions();
        let clients: BTreeMap<_, _> = sessions.map(|s| (s.sid, s.description)).collect();
        let info = |ino: Ino, lock: &RecordLock| v1::LockInfo {
            ino: ino.0,
            lock: Some(held_to(lock)),
            client: clients.get(&lock.owner.session).map_or_else(String::new, |c| (*c).into()),
            waiting_ms: None,
        };
        let held = machines.locks.locks().map(|(ino, lock)| info(ino, &lock));
        let waiting = machines.locks.waiting().map(|(ino, waits)| {
            let waiting_ms = Some(now.since(waits.since).as_millis() as u64);
            v1::LockInfo { waiting_ms, ..info(ino, &waits.lock) }
        });
        held.chain(waiting).collect()
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
        kind: convert::lock_kind_to(lock.kind).into(),
    }
}
