//! Write and read leases: taking, giving back, rescuing (PROTOCOL 4.1, 2.3).

use super::committer::Work;
use super::content::{Found, Wanted};
use super::machines::Machines;
use super::mutate::{Applied, Guard, Mutation};
use super::{Caller, NameServer, resolve};
use dfs_core::access::{READ, WRITE};
use dfs_core::extent::{Extent, ObjectName};
use dfs_core::grant::{self, Grant, Mode};
use dfs_core::range::Range;
use dfs_core::{
    BootTime, Code, Fence, FsError, GrantId, Ino, RequestId, Result, SessionId, limits,
};
use dfs_proto::convert::{ino_from, range_to};
use dfs_proto::v1;
use std::sync::Arc;
use std::time::Duration;

/// Times a call takes the lease again after a neighbour gave it back.
const LEASE_TRIES: usize = 8;

/// How a grant is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The inode.
    pub ino: Ino,
    /// Read or write.
    pub mode: Mode,
    /// Refuse instead of waiting.
    pub nonblock: bool,
    /// Longest wait.
    pub wait: Duration,
    /// Guaranteed time of possession.
    pub min_hold: Duration,
    /// Permission was checked when the handle was opened.
    pub opened: bool,
}

impl NameServer {
    /// Takes a grant on a whole file, waiting in line; dropping the future leaves the line.
    pub async fn acquire(self: &Arc<Self>, caller: &Caller, wish: Wish) -> Result<Grant> {
        let attr = resolve::attr(&*self.store, wish.ino)?;
        if !wish.opened {
            let mask = if wish.mode == Mode::Write { WRITE } else { READ };
            resolve::demand(&self.context(caller), &*self.store, &attr, mask)?;
        }
        resolve::demand_file(&attr)?;
        let now = self.clock.now();
        let event = |req| {
            grant::Event::Request(grant::Request {
                req,
                session: caller.sid,
                ino: wish.ino,
                mode: wish.mode,
                required: Range::ALL,
                desired: Range::ALL,
                nonblock: wish.nonblock,
                deadline: now + wish.wait.min(limits::LEASE_WAIT_MAX),
                min_hold: wish.min_hold,
            })
        };
        self.wait_for_grant(caller, now, event).await
    }

    async fn wait_for_grant(
        self: &Arc<Self>,
        caller: &Caller,
        now: BootTime,
        event: impl FnOnce(RequestId) -> grant::Event,
    ) -> Result<Grant> {
        let waiting = {
            let mut machines = self.lock();
            machines.sessions.check(caller.sid, caller.epoch, now)?;
            if machines.grants.count(caller.sid) >= limits::GRANTS_PER_SESSION {
                let text = format!("session {} has too many grants", caller.sid);
                return Err(FsError::new(Code::NoLocks, text));
            }
            machines.request(now, event)
        };
        let cancel = |m: &mut Machines, now, req| m.grant(now, grant::Event::Cancel { req });
        self.in_line(waiting, cancel).await
    }

    /// Takes a grant together with the content it is based on.
    pub async fn acquire_with_content(
        self: &Arc<Self>,
        caller: &Caller,
        wish: Wish,
        wanted: Wanted,
    ) -> Result<(Grant, Found)> {
        let grant = self.acquire(caller, wish).await?;
        let found = self.content(caller, wish.ino, Wanted { opened: true, ..wanted }).await?;
        Ok((grant, found))
    }

    /// Gives a grant back.
    pub fn release(&self, caller: &Caller, guard: Guard) -> Result<()> {
        let now = self.clock.now();
        let mut machines = self.lock();
        machines.sessions.check_read(caller.sid, caller.epoch, now)?;
        if !machines.has_grant(caller.sid, guard) {
            // K9
            return Err(FsError::new(Code::Fenced, format!("grant {} is gone", guard.grant)));
        }
        machines.grant(now, release_event(caller, guard));
        Ok(())
    }

    /// Gives a write grant to a session that lost it with unsaved bytes, if nothing was committed
    /// and nobody holds the file (K18).
    pub async fn rescue(
        self: &Arc<Self>,
        caller: &Caller,
        ino: Ino,
        base_ver: u64,
        old_fence: Fence,
    ) -> Result<Grant> {
        let attr = resolve::attr(&*self.store, ino)?;
        if attr.content_ver != base_ver {
            let text = format!("inode {ino} moved on from version {base_ver}");
            return Err(FsError::new(Code::Fenced, text));
        }
        let now = self.clock.now();
        let event = |req| {
            grant::Event::Rescue(grant::Rescue {
                req,
                session: caller.sid,
                ino,
                range: Range::ALL,
                old_fence,
                min_hold: limits::LEASE_HOLD_MIN,
            })
        };
        let grant = self.wait_for_grant(caller, now, event).await?;
        if resolve::attr(&*self.store, ino)?.content_ver == base_ver {
            return Ok(grant);
        }
        let guard = Guard { ino, grant: grant.id, fence: grant.fence };
        self.lock().grant(self.clock.now(), release_event(caller, guard));
        Err(FsError::new(Code::Fenced, format!("inode {ino} was committed meanwhile")))
    }

    /// Reserves a version number for objects that a commit will name.
    pub async fn new_upload(
        self: &Arc<Self>,
        caller: &Caller,
        guard: Guard,
        bytes: u64,
    ) -> Result<u64> {
        {
            let machines = self.lock();
            machines.sessions.check(caller.sid, caller.epoch, self.clock.now())?;
            let (ino, id, fence) = (guard.ino, guard.grant, guard.fence);
            machines.grants.check_commit(caller.sid, ino, id, fence, Range::ALL)?;
            if machines.uploads.count(caller.sid) >= limits::UPLOADS_PER_SESSION {
                let text = format!("session {} has too many uploads", caller.sid);
                return Err(FsError::new(Code::Busy, text));
            }
        }
        if self.objects.statfs()?.available < bytes {
            let text = format!("{bytes} bytes do not fit on the file store");
            return Err(FsError::new(Code::NoSpace, text));
        }
        self.reserve_version(caller.sid, Some(guard.fence)).await
    }

    /// A version number whose objects are kept until a commit names them, or its grant or session
    /// ends.
    pub(super) async fn reserve_version(
        self: &Arc<Self>,
        sid: SessionId,
        fence: Option<Fence>,
    ) -> Result<u64> {
        let ver = self.commit_work(Work::Version).await?.number;
        self.lock().uploads.begin(ver, sid, fence);
        Ok(ver)
    }

    /// The lease that comes with a file the caller has just created.
    pub async fn lease_of_new(self: &Arc<Self>, caller: &Caller, ino: Ino) -> Result<v1::Grant> {
        let wish = Wish {
            ino,
            mode: Mode::Write,
            nonblock: true,
            wait: Duration::ZERO,
            min_hold: limits::LEASE_HOLD_MIN,
            opened: true,
        };
        Ok(grant_to(&self.acquire(caller, wish).await?, self.clock.now()))
    }

    /// Whether the caller may write an object of this name: its upload is under way.
    pub fn may_upload(&self, caller: &Caller, name: ObjectName) -> Result<()> {
        let machines = self.lock();
        machines.sessions.check(caller.sid, caller.epoch, self.clock.now())?;
        if machines.uploads.is_live(name.born, caller.sid) {
            return Ok(());
        }
        let text = format!("session {} has no upload {}", caller.sid, name.born);
        Err(FsError::new(Code::Fenced, text))
    }

    /// Whether the caller may read objects.
    pub fn may_fetch(&self, caller: &Caller) -> Result<()> {
        self.may_read(caller)
    }

    /// Whether a commit of this caller may name an object: it was written for this file under a
    /// live upload, and it is stored with all bytes up to `end`.
    pub fn check_object(
        &self,
        caller: &Caller,
        name: ObjectName,
        ino: Ino,
        end: u64,
    ) -> Result<()> {
        let text = || format!("a commit of inode {ino} names {name:?}, which is not stored for it");
        let stored = if name.ino == ino { self.objects.content_len(name)? } else { None };
        if stored.is_none_or(|len| len < end) {
            return Err(FsError::new(Code::Invalid, text()));
        }
        self.may_upload(caller, name)
    }

    /// A commit has named the objects of an upload.
    pub fn upload_done(&self, ver: u64) {
        self.lock().uploads.committed(ver);
    }

    /// A commit has changed these parts of a file.
    pub fn touched(&self, ino: Ino, extents: &[Extent]) {
        self.notes.touched(ino, limits::STRIPE_UNIT, extents);
    }

    /// Carries out a change that needs the write lease only for itself, such as a truncation by
    /// path: takes the lease, changes, gives it back unless the session had it before.
    pub async fn mutate_under_lease(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        mut mutation: Mutation,
    ) -> Result<Applied> {
        let wish = Wish {
            ino,
            mode: Mode::Write,
            nonblock: false,
            wait: limits::LEASE_WAIT_MAX,
            min_hold: Duration::ZERO,
            // The operation itself checks what the caller may do.
            opened: true,
        };
        for _ in 0..LEASE_TRIES {
            let held = self.lock().grants.holders(ino).any(|g| g.session == caller.sid);
            let grant = self.acquire(&caller, wish).await?;
            let guard = Guard { ino, grant: grant.id, fence: grant.fence };
            mutation.guard = Some(guard);
            let answer = self.mutate(caller.clone(), mutation.clone()).await;
            if !held {
                self.lock().grant(self.clock.now(), release_event(&caller, guard));
            }
            match answer {
                // A neighbour's call of the same session gave the shared lease back.
                Err(error) if error.code == Code::Fenced => continue,
                answer => return answer,
            }
        }
        Err(super::reads::busy("lease"))
    }
}

fn release_event(caller: &Caller, guard: Guard) -> grant::Event {
    let Guard { ino, grant: id, fence } = guard;
    grant::Event::Release { session: caller.sid, ino, id, fence }
}

/// A grant that this caller names.
pub fn guard(ino: u64, grant: u64, fence: u64) -> Guard {
    Guard { ino: ino_from(ino), grant: GrantId(grant), fence: Fence(fence) }
}

/// A grant on the wire.
pub fn grant_to(grant: &Grant, now: BootTime) -> v1::Grant {
    v1::Grant {
        id: grant.id.0,
        fence: grant.fence.0,
        min_hold_ms: grant.min_until.since(now).as_millis().min(u128::from(u32::MAX)) as u32,
        range: Some(range_to(grant.range)),
        write: grant.mode == Mode::Write,
    }
}
