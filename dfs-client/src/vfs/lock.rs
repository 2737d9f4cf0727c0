//! Record locks (fcntl(2), flock(2)), with the fences that make them useful (PROTOCOL 4.6): unsaved
//! bytes are committed before a lock is given back, and who is given one reads the newest version.
//!
//! The index of SQLite's write-ahead log is shared through a mapping of `NAME-shm`, which is one only
//! on one machine. Whoever uses it holds a read lock on one byte of it all the time: only programs of
//! one mount share that lock, so that others are told the database is busy instead of losing rows.

use super::{RecordLock, Vfs};
use dfs_core::access::Credentials;
use dfs_core::lock::Kind;
use dfs_core::{Code, Ino, Result};
use dfs_proto::{convert, v1};

/// The byte of `NAME-shm` that is locked by all who map it (`UNIX_SHM_DMS` in SQLite's `os_unix.c`).
const WAL_INDEX_IN_USE: u64 = 128;

impl Vfs {
    /// Whether only programs of this mount may share `lock`. Where the name is not known it is as if
    /// it were that of an index: too careful with others that lock exactly this byte.
    fn one_client(&self, ino: Ino, lock: &RecordLock) -> bool {
        let in_use =
            !lock.exclusive && (lock.start, lock.end) == (WAL_INDEX_IN_USE, WAL_INDEX_IN_USE);
        in_use
            && self.client.metadata.last_name(ino).is_none_or(|n| n.as_bytes().ends_with(b"-shm"))
    }

    /// Fails with `Io` if locks of this file were lost since `fh` was opened: what they protected
    /// may have changed, so none is taken through it any more.
    pub fn may_lock(&self, fh: u64) -> Result<()> {
        self.content.may_lock(fh)
    }

    /// A lock of somebody else that is in the way of `lock`, if there is one (F_GETLK).
    pub async fn getlk(&self, ino: Ino, lock: &RecordLock) -> Result<Option<RecordLock>> {
        let request = v1::TestLockReq {
            ino: ino.0,
            owner: lock.owner,
            exclusive: lock.exclusive,
            start: lock.start,
            end: last_byte(lock),
            one_client: self.one_client(ino, lock),
            kind: convert::lock_kind_to(lock.kind).into(),
            ..Default::default()
        };
        let held = self.client.call(&Credentials::root(), request).await?.held;
        let here = self.client.session.identity().sid;
        Ok(held.map(|held| RecordLock {
            owner: held.owner,
            kind: convert::lock_kind_from(held.kind()),
            // A process number of another machine means nothing here.
            pid: if held.sid == here { held.pid } else { 0 },
            exclusive: held.exclusive,
            start: held.start,
            end: held.end,
        }))
    }

    /// Takes a lock, or gives it back. `wait`: until it is free. Errors: `WouldBlock`, `Deadlock`,
    /// `Interrupted`, `NoLocks`; `Io` if what the lock protected could not be saved.
    pub async fn setlk(
        &self,
        who: &Credentials,
        ino: Ino,
        lock: &RecordLock,
        unlock: bool,
        wait: bool,
    ) -> Result<()> {
        if unlock {
            return self.unlock(who, ino, lock).await;
        }
        if !lock.exclusive && self.client.locks.exclusive(ino, lock) {
            self.release_fence(ino).await?;
        }
        if lock.kind == Kind::Flock && self.client.locks.changes(ino, lock) {
            // Unless it is given at once, the old lock is lost (flock(2)).
            self.client.locks.remove(ino, lock);
            self.client.locks.doubt(ino, lock);
        }
        let one_client = self.one_client(ino, lock);
        let request = v1::LockReq {
            ino: ino.0,
            owner: lock.owner,
            pid: lock.pid,
            exclusive: lock.exclusive,
            start: lock.start,
            end: last_byte(lock),
            wait,
            one_client,
            kind: convert::lock_kind_to(lock.kind).into(),
            ..Default::default()
        };
        let asked = self.client.metadata.asked();
        let reply = match self.client.call(who, request).await {
            Ok(reply) => reply,
            Err(e) => {
                if matches!(e.code, Code::Interrupted | Code::Io) {
                    self.client.locks.doubt(ino, lock);
                }
                return Err(e);
            }
        };
        self.client.locks.add(ino, lock, one_client);
        if let Some(attr) = reply.attr {
            let attr = convert::attr_from(attr)?;
            let mark = reply.mark.unwrap_or_default();
            let attr = self.client.metadata.store_attr(asked, &mark, attr);
            if let Some(hooks) = self.client.hooks() {
                hooks.advance(&attr).await;
            }
        }
        if one_client {
            self.take_over(who, ino, lock).await?;
        }
        Ok(())
    }

    /// The log and the database beside an index may be open here since before another machine wrote
    /// them.
    async fn take_over(&self, who: &Credentials, ino: Ino, lock: &RecordLock) -> Result<()> {
        let Some(hooks) = self.client.hooks() else { return Ok(()) };
        let current = hooks.advance_all().await;
        if current.is_err() {
            self.unlock(who, ino, lock).await?;
        }
        current
    }

    /// Gives back whatever `owner` holds on the inode: its process closed the file.
    pub async fn release_locks(&self, ino: Ino, owner: u64) -> Result<()> {
        let (kind, start, end) = (Kind::Any, 0, u64::MAX);
        let all = RecordLock { owner, kind, pid: 0, exclusive: false, start, end };
        self.unlock(&Credentials::root(), ino, &all).await
    }

    /// The lock goes even if the fence fails: a lock nobody can give back would stop everybody.
    async fn unlock(&self, who: &Credentials, ino: Ino, lock: &RecordLock) -> Result<()> {
        if !self.client.locks.any(ino, lock) {
            return Ok(());
        }
        let saved = self.release_fence(ino).await;
        self.client.locks.remove(ino, lock);
        let request = v1::UnlockReq {
            ino: ino.0,
            owner: lock.owner,
            start: lock.start,
            end: last_byte(lock),
            kind: convert::lock_kind_to(lock.kind).into(),
            ..Default::default()
        };
        self.client.change(who, Vec::new(), request, |_, _| Ok(())).await?;
        saved
    }

    async fn release_fence(&self, ino: Ino) -> Result<()> {
        let Some(hooks) = self.client.hooks() else { return Ok(()) };
        let saved = hooks.flush(ino).await;
        hooks.rest(ino);
        saved
    }
}

/// Infinity on the wire is `u64::MAX`; the kernel may say `i64::MAX`.
fn last_byte(lock: &RecordLock) -> u64 {
    if lock.end >= i64::MAX as u64 { u64::MAX } else { lock.end }
}
