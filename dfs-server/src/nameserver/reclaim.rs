//! Restating after a restart what a session held before it (PROTOCOL 2.5).
//!
//! A session is believed, within bounds: what could not have been given before this server started,
//! what others hold, and more than anybody may hold is refused or passed over.

use super::machines::Machines;
use super::sessions::lost_to;
use super::{Caller, NameServer};
use dfs_core::grant::{self, Mode};
use dfs_core::lock::{self, Owner, RecordLock};
use dfs_core::session::{Effect, Event, LostItem};
use dfs_core::{BootTime, Fence, GrantId, Result, Seq, SessionId, hub, limits};
use dfs_proto::convert::{ino_from, lock_kind_from, object_from, range_from};
use dfs_proto::v1;

impl NameServer {
    /// Takes over what a session held before the restart (S12).
    pub fn reclaim(&self, caller: &Caller, req: v1::ReclaimReq) -> Result<v1::ReclaimRep> {
        let (now, sid) = (self.clock.now(), caller.sid);
        let undone = req.grants.iter().map(|claim| self.is_undone(claim));
        let undone = undone.collect::<Result<Vec<bool>>>()?;
        let mut machines = self.lock();
        machines.sessions.check_reclaim(sid, caller.epoch)?;
        let mut refused = Vec::new();
        for (claim, undone) in req.grants.iter().zip(undone) {
            refused.extend(match undone {
                true => Some(lost_grant(claim)),
                false => self.reclaim_grant(&mut machines, now, sid, claim).err(),
            });
        }
        for claim in req.locks {
            refused.extend(reclaim_lock(&mut machines, now, sid, &claim).err());
        }
        for item in &refused {
            machines.session(now, Event::Conflict { sid, item: *item });
        }
        // Too many losses have ended it.
        machines.sessions.check_reclaim(sid, caller.epoch)?;
        let inos = req.open.into_iter().map(ino_from).collect();
        machines.hub(now, hub::Event::ReclaimOpen { session: sid, inos });
        for pin in req.pins {
            reclaim_pin(&mut machines, now, sid, pin)?;
        }
        for upload in req.uploads {
            let known = upload.ver < self.first_version;
            if known && machines.uploads.count(sid) < limits::UPLOADS_PER_SESSION {
                machines.uploads.reclaim(upload.ver, sid);
            }
        }
        Ok(v1::ReclaimRep { fail: None, lost: refused.into_iter().map(lost_to).collect() })
    }

    /// Whether a power loss undid the content that the holder of a grant is on (`docs/design/0037`).
    /// Content that is older than the server's is a commit whose answer the holder does not know yet.
    fn is_undone(&self, claim: &v1::ReclaimGrant) -> Result<bool> {
        let row = self.store.inode(ino_from(claim.ino))?;
        Ok(claim.content_ver > row.map_or(0, |row| row.attr.content_ver))
    }

    /// The error is what is lost.
    fn reclaim_grant(
        &self,
        machines: &mut Machines,
        now: BootTime,
        sid: SessionId,
        claim: &v1::ReclaimGrant,
    ) -> Result<(), LostItem> {
        let (ino, id, fence) = (ino_from(claim.ino), GrantId(claim.grant), Fence(claim.fence));
        let item = lost_grant(claim);
        let given = self.was_given_before(id, fence);
        let room = machines.grants.count(sid) < limits::GRANTS_PER_SESSION;
        if given && room && machines.sessions.may_reclaim(sid, item) {
            let mode = if claim.write { Mode::Write } else { Mode::Read };
            let range = range_from(claim.range);
            let event = grant::Reclaim {
                session: sid,
                ino,
                id,
                fence,
                mode,
                range,
                min_hold: std::time::Duration::ZERO,
            };
            machines.grant(now, grant::Event::Reclaim(event));
        }
        let own = |held: grant::Grant| held.session == sid && held.id == id && held.fence == fence;
        if machines.grants.holders(ino).any(own) { Ok(()) } else { Err(item) }
    }

    /// Whether a grant is of an earlier start of the server. Its number and fence are one sequence number.
    pub(super) fn was_given_before(&self, id: GrantId, fence: Fence) -> bool {
        id.0 == fence.0 && Seq(fence.0).epoch() < self.leader_epoch
    }

    /// Everything is restated (S13).
    pub fn reclaim_done(&self, caller: &Caller) -> Result<()> {
        let mut machines = self.lock();
        machines.sessions.check_reclaim(caller.sid, caller.epoch)?;
        match machines.session(self.clock.now(), Event::ReclaimDone { sid: caller.sid }) {
            Some(Effect::Refused(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

fn lost_grant(claim: &v1::ReclaimGrant) -> LostItem {
    LostItem::Grant { ino: ino_from(claim.ino), fence: Fence(claim.fence) }
}

/// The error is what is lost.
fn reclaim_lock(
    machines: &mut Machines,
    now: BootTime,
    sid: SessionId,
    claim: &v1::ReclaimLock,
) -> Result<(), LostItem> {
    let ino = ino_from(claim.ino);
    let item = LostItem::Locks { ino };
    let range = lock::range_of(claim.start, claim.end).map_err(|_| item)?;
    if !machines.sessions.may_reclaim(sid, item) {
        return Err(item);
    }
    let (owner, kind) = (Owner { session: sid, owner: claim.owner }, lock_kind_from(claim.kind()));
    let v1::ReclaimLock { pid, exclusive, one_client, .. } = *claim;
    let lock = RecordLock { owner, kind, pid, exclusive, one_client, range };
    let event = |req| lock::Event::Reclaim { req, ino, lock };
    let (_, mut answer) = machines.request_lock(now, event);
    if matches!(answer.try_recv(), Ok(Ok(()))) { Ok(()) } else { Err(item) }
}

/// Pins beyond the bounds are passed over: their readers move on.
fn reclaim_pin(
    machines: &mut Machines,
    now: BootTime,
    sid: SessionId,
    pin: v1::ReclaimPin,
) -> Result<()> {
    let version = pin.version.unwrap_or_default();
    let (ino, ver) = (ino_from(version.ino), version.ver);
    if machines.uploads.pinned_objects() + pin.objects.len() > limits::RECLAIMED_OBJECTS {
        return Ok(());
    }
    let objects = pin.objects.into_iter().map(|o| object_from(Some(o))).collect::<Result<_>>()?;
    machines.hub(now, hub::Event::ReclaimPin { session: sid, versions: vec![(ino, ver)] });
    if machines.hub.pinned(ino, ver) {
        machines.uploads.pin(ino, ver, objects);
    }
    Ok(())
}
