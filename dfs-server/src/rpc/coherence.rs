//! The `Coherence` service: leases, content, commits, record locks.

use super::{Services, attr_of, mark, mark_of, name_of};
use crate::nameserver::content::{Found, Wanted};
use crate::nameserver::leases::{self, Wish, grant_to, guard};
use crate::nameserver::locks::{self, held_to};
use crate::nameserver::mutate::{Applied, Mutation};
use crate::nameserver::op;
use dfs_core::attr::NewMode;
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::grant::Mode;
use dfs_core::lock::{Owner, RecordLock, range_of};
use dfs_core::{Fence, Result, SessionId, limits};
use dfs_proto::call::{Reply as _, Request as _};
use dfs_proto::convert::{
    attr_to, extent_to, extents_from, ino_from, lock_kind_from, range_from, set_attr_from,
    time_from,
};
use dfs_proto::v1::coherence_server::Coherence;
use dfs_proto::v1::*;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

fn content_rep(found: Found) -> ContentRep {
    let ver = found.attr.content_ver;
    let manifest = found.content.map(|content| Manifest {
        ver,
        size: content.attr.size,
        unit: content.unit,
        extents: content.extents.iter().map(extent_to).collect(),
        more: content.more,
    });
    ContentRep {
        fail: None,
        mark: Some(mark(found.promised)),
        attr: Some(attr_to(&found.attr)),
        manifest,
        data: found.data.map(Into::into),
    }
}

/// The objects that extents name, each with the end of the bytes they take of it.
fn named(extents: &[Extent]) -> BTreeMap<ObjectName, u64> {
    let mut ends = BTreeMap::new();
    for extent in extents {
        if let Source::Object(name, off) = extent.source {
            let end: &mut u64 = ends.entry(name).or_default();
            *end = (*end).max(off.saturating_add(extent.range.len()));
        }
    }
    ends
}

fn commit_rep(applied: &Applied, roomy: bool) -> CommitRep {
    let (mark, outcome) = (Some(mark_of(applied)), &applied.outcome);
    let (attr, dir) = (attr_of(&outcome.object), attr_of(&outcome.dir));
    CommitRep { fail: None, mark, attr, dir, roomy }
}

/// A lock that programs of other clients may share.
fn record_lock(
    session: SessionId,
    owner: u64,
    kind: LockKind,
    exclusive: bool,
    span: (u64, u64),
) -> Result<RecordLock> {
    let (owner, kind) = (Owner { session, owner }, lock_kind_from(kind));
    let range = range_of(span.0, span.1)?;
    Ok(RecordLock { owner, kind, pid: 0, exclusive, one_client: false, range })
}

impl Services {
    async fn take(&self, req: AcquireReq) -> Result<AcquireRep> {
        let caller = self.caller(&req);
        let wait = match req.wait_ms {
            0 => limits::LEASE_WAIT_MAX,
            ms => Duration::from_millis(ms.into()),
        };
        let wish = Wish {
            ino: ino_from(req.ino),
            mode: if req.write { Mode::Write } else { Mode::Read },
            nonblock: req.nonblock,
            wait,
            min_hold: match (req.write, req.append) {
                (true, true) => limits::LEASE_HOLD_MIN_APPEND,
                (true, false) => limits::LEASE_HOLD_MIN,
                (false, _) => Duration::ZERO,
            },
            opened: req.opened,
        };
        let wanted = Wanted {
            have_ver: req.have_ver,
            data_max: req.data_max_bytes.min(limits::REPLY_DATA_MAX).into(),
            range: dfs_core::range::Range::ALL,
            opened: true,
        };
        let (grant, found) = self.server.acquire_with_content(&caller, wish, wanted).await?;
        Ok(AcquireRep {
            fail: None,
            grant: Some(grant_to(&grant, self.server.clock.now())),
            content: Some(content_rep(found)),
        })
    }

    async fn save(&self, req: CommitReq) -> Result<CommitRep> {
        let caller = self.caller(&req);
        let guard = guard(req.ino, req.grant, req.fence);
        let extents = extents_from(req.extents)?;
        let check = |(name, end)| self.server.check_object(&caller, name, guard.ino, end);
        if let Err(error) = named(&extents).into_iter().try_for_each(check) {
            // A commit that is repeated has ended its upload.
            let answered = self.server.answered(&caller)?;
            return answered.map(|applied| commit_rep(&applied, false)).ok_or(error);
        }
        let commit = op::Commit {
            ino: guard.ino,
            base_ver: req.base_ver,
            min_size: req.min_size,
            size: req.size,
            extents: extents.clone(),
            set: set_attr_from(req.set)?,
            attrs_only: req.attrs_only,
            later: req.later,
        };
        let applied = match req.create {
            None => {
                let mutation = Mutation { guard: Some(guard), ..Mutation::new(commit) };
                self.server.mutate(caller.clone(), mutation).await?
            }
            Some(file) => {
                let left_over = file.left_over;
                let make = op::MakeFile {
                    who: self.server.caller(&file.who.unwrap_or_default()).who,
                    dir: ino_from(file.dir),
                    name: name_of(&file.name)?,
                    mode: NewMode { mode: file.mode, umask: file.umask },
                    at: time_from(file.at)?,
                    changed_at: file.changed_at.map(|at| time_from(Some(at))).transpose()?,
                    commit,
                };
                self.server.make_file(&caller, guard, make, left_over).await?
            }
        };
        self.server.upload_done(req.upload_ver);
        self.server.touched(guard.ino, &extents);
        if req.release {
            // Taken by force since the commit: then it is given back already.
            let _ = self.server.release(&caller, guard);
        }
        Ok(commit_rep(&applied, self.server.is_roomy()))
    }

    async fn copy(&self, req: CloneReq) -> Result<CommitRep> {
        let clone = op::CloneRange {
            src: ino_from(req.src),
            src_off: req.src_off,
            len: req.len,
            dst: ino_from(req.dst),
            dst_off: req.dst_off,
            opened: true,
        };
        let guard = guard(req.dst, req.grant, req.fence);
        let mutation = Mutation { guard: Some(guard), ..Mutation::new(clone) };
        let applied = self.server.mutate(self.caller(&req), mutation).await?;
        Ok(commit_rep(&applied, self.server.is_roomy()))
    }

    async fn lock_file(&self, req: LockReq) -> Result<LockRep> {
        let caller = self.caller(&req);
        let span = (req.start, req.end);
        let lock = record_lock(caller.sid, req.owner, req.kind(), req.exclusive, span)?;
        let lock = RecordLock { pid: req.pid, one_client: req.one_client, ..lock };
        let ino = ino_from(req.ino);
        self.server.lock_range(&caller, locks::Wish { ino, lock, wait: req.wait }).await?;
        let (attr, promised) = self.server.attributes(&caller, ino).await?;
        Ok(LockRep { fail: None, attr: Some(attr_to(&attr)), mark: Some(mark(promised)) })
    }
}

#[tonic::async_trait]
impl Coherence for Services {
    async fn get_content(&self, req: Request<GetContentReq>) -> Answer<ContentRep> {
        let req = req.into_inner();
        self.answer("getcontent", req.identity(), async {
            let wanted = Wanted {
                have_ver: req.have_ver,
                data_max: req.data_max_bytes.min(limits::REPLY_DATA_MAX).into(),
                range: range_from(req.range),
                opened: req.opened,
            };
            Ok(content_rep(
                self.server.content(&self.caller(&req), ino_from(req.ino), wanted).await?,
            ))
        })
        .await
    }

    async fn get_contents(&self, req: Request<GetContentsReq>) -> Answer<ContentsRep> {
        let req = req.into_inner();
        self.answer("getcontents", req.identity(), async {
            let inos = req.inos.iter().map(|ino| ino_from(*ino)).collect();
            let found = self.server.contents(&self.caller(&req), inos).await?;
            let rep = |found: Result<Found>| {
                found.map_or_else(|error| ContentRep::refuse(&error), content_rep)
            };
            Ok(ContentsRep { fail: None, contents: found.into_iter().map(rep).collect() })
        })
        .await
    }

    async fn acquire(&self, req: Request<AcquireReq>) -> Answer<AcquireRep> {
        let req = req.into_inner();
        self.answer("acquire", req.identity(), self.take(req)).await
    }

    async fn release(&self, req: Request<ReleaseReq>) -> Answer<ReleaseRep> {
        let req = req.into_inner();
        self.answer("release", req.identity(), async {
            self.server.release(&self.caller(&req), guard(req.ino, req.grant, req.fence))?;
            Ok(ReleaseRep::default())
        })
        .await
    }

    async fn rescue(&self, req: Request<RescueReq>) -> Answer<AcquireRep> {
        let req = req.into_inner();
        self.answer("rescue", req.identity(), async {
            let (caller, ino) = (self.caller(&req), ino_from(req.ino));
            let fence = Fence(req.fence);
            let grant = self.server.rescue(&caller, ino, req.base_ver, fence).await?;
            let (attr, promised) = self.server.attributes(&caller, ino).await?;
            let found = Found { attr, content: None, data: None, promised };
            Ok(AcquireRep {
                fail: None,
                grant: Some(leases::grant_to(&grant, self.server.clock.now())),
                content: Some(content_rep(found)),
            })
        })
        .await
    }

    async fn new_upload(&self, req: Request<NewUploadReq>) -> Answer<NewUploadRep> {
        let req = req.into_inner();
        self.answer("newupload", req.identity(), async {
            let guard = guard(req.ino, req.grant, req.fence);
            let caller = self.caller(&req);
            let ver = self.server.new_upload(&caller, guard, req.size_hint_bytes).await?;
            Ok(NewUploadRep { fail: None, ver })
        })
        .await
    }

    async fn reserve(&self, req: Request<ReserveReq>) -> Answer<ReserveRep> {
        let req = req.into_inner();
        self.answer("reserve", req.identity(), async {
            let drawn = self.server.reserve(&self.caller(&req), req.count).await?;
            Ok(ReserveRep {
                fail: None,
                count: drawn.count,
                first_ino: drawn.ino.0,
                first_grant: drawn.fence.0,
            })
        })
        .await
    }

    async fn commit(&self, req: Request<CommitReq>) -> Answer<CommitRep> {
        let req = req.into_inner();
        self.answer("commit", req.identity(), self.save(req)).await
    }

    async fn clone(&self, req: Request<CloneReq>) -> Answer<CommitRep> {
        let req = req.into_inner();
        self.answer("clone", req.identity(), self.copy(req)).await
    }

    async fn lock(&self, req: Request<LockReq>) -> Answer<LockRep> {
        let req = req.into_inner();
        self.answer("lock", req.identity(), self.lock_file(req)).await
    }

    async fn unlock(&self, req: Request<UnlockReq>) -> Answer<UnlockRep> {
        let req = req.into_inner();
        self.answer("unlock", req.identity(), async {
            let (caller, ino) = (self.caller(&req), ino_from(req.ino));
            let span = (req.start, req.end);
            let lock = record_lock(caller.sid, req.owner, req.kind(), false, span)?;
            self.server.unlock_range(&caller, ino, (lock.owner, lock.kind), lock.range).await?;
            Ok(UnlockRep::default())
        })
        .await
    }

    async fn test_lock(&self, req: Request<TestLockReq>) -> Answer<TestLockRep> {
        let req = req.into_inner();
        self.answer("testlock", req.identity(), async {
            let (caller, ino) = (self.caller(&req), ino_from(req.ino));
            let span = (req.start, req.end);
            let lock = record_lock(caller.sid, req.owner, req.kind(), req.exclusive, span)?;
            let lock = RecordLock { one_client: req.one_client, ..lock };
            let held = self.server.test_lock(&caller, ino, &lock)?;
            Ok(TestLockRep { fail: None, held: held.as_ref().map(held_to) })
        })
        .await
    }
}
