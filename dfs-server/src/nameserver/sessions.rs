//! Sessions and their control streams (PROTOCOL 2): establish, attach, renew, acknowledge, close.

use super::outbox::Message;
use super::{Caller, NameServer};
use crate::metastore::Durability;
use dfs_core::grant;
use dfs_core::hub::{self, Key};
use dfs_core::session::{Effect, Event, LostItem, State};
use dfs_core::{Code, FsError, GrantId, Ino, Result, Seq, SessionId, limits, negotiate};
use dfs_proto::convert::{ino_from, time_to};
use dfs_proto::v1::{self, from_client, from_server, lost};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

fn millis(d: Duration) -> u32 {
    d.as_millis().min(u128::from(u32::MAX)) as u32
}

pub(super) fn lost_to(item: LostItem) -> v1::Lost {
    match item {
        LostItem::Grant { ino, fence } => {
            v1::Lost { ino: ino.0, what: Some(lost::What::Fence(fence.0)) }
        }
        LostItem::Locks { ino } => v1::Lost { ino: ino.0, what: Some(lost::What::Locks(true)) },
    }
}

fn identity(bytes: &[u8], what: &str) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| {
        FsError::new(Code::Invalid, format!("{what} of {} bytes instead of 16", bytes.len()))
    })
}

impl NameServer {
    /// Opens or resumes a session; answered after its opening is journaled.
    pub async fn establish(&self, req: v1::EstablishReq) -> Result<v1::EstablishRep> {
        let protocol = negotiate::protocol(req.min_protocol, req.max_protocol)?;
        negotiate::demand(&req.required, negotiate::FEATURES)?;
        let (uuid, verifier) = (identity(&req.uuid, "uuid")?, identity(&req.verifier, "verifier")?);
        let description: String = req.description.chars().take(256).collect();
        tracing::info!(client = %description, protocol, "client asks for a session");
        let event = Event::Establish { uuid, verifier, description };
        let answer = self.lock().session(self.clock.now(), event);
        self.journal_settled().await?;
        match answer {
            Some(Effect::Established { sid, epoch, term, resumed, reclaim, lost }) => {
                Ok(v1::EstablishRep {
                    fail: None,
                    sid: sid.0,
                    epoch: epoch.0,
                    term_ms: millis(term),
                    leader_epoch: self.leader_epoch.into(),
                    root: Ino::ROOT.0,
                    protocol,
                    features: negotiate::common(&req.features)
                        .into_iter()
                        .map(Into::into)
                        .collect(),
                    limits: Some(told_limits()),
                    reclaim,
                    resumed,
                    server_time: Some(time_to(self.clock.wall())),
                    lost: lost.into_iter().map(lost_to).collect(),
                    next_op_id: 0,
                })
            }
            Some(Effect::Refused(error)) => Err(error),
            _ => Err(FsError::new(Code::Io, "the session table did not answer")),
        }
    }

    /// Binds a control stream to a session and numbers it. The queue begins with `Attached`, then come the pushes
    /// and recalls that are still unanswered.
    pub fn attach(&self, attach: &v1::Attach) -> Result<(u64, Receiver<Message>)> {
        let now = self.clock.now();
        let (sid, epoch) = (SessionId(attach.sid), Seq(attach.epoch));
        let mut machines = self.lock();
        let (lost, reclaim) = match machines.session(now, Event::Attach { sid, epoch }) {
            Some(Effect::Attached { lost, reclaim, .. }) => (lost, reclaim),
            Some(Effect::Refused(error)) => return Err(error),
            _ => return Err(FsError::new(Code::Io, "the session table did not answer")),
        };
        let (stream, queue) = machines.outboxes.open(sid, negotiate::common(&attach.features));
        let attached = v1::Attached {
            fail: None,
            lost: lost.into_iter().map(lost_to).collect(),
            leader_epoch: self.leader_epoch.into(),
            reclaim,
            relaxed: self.settings.durability == Durability::Relaxed,
            root_squash: self.settings.root_squash,
            first_version: self.first_version,
            ordered_calls: true,
            made_directories: true,
        };
        machines.outboxes.send(sid, from_server::Kind::Attached(attached));
        machines.hub(now, hub::Event::Attach { session: sid });
        let recalls: Vec<_> = machines
            .grants
            .grants()
            .filter(|g| g.grant.session == sid && matches!(g.state, grant::State::Recalling { .. }))
            .map(|g| g.grant)
            .collect();
        for g in recalls {
            machines.outboxes.recall(sid, g.ino, g.id, g.fence, g.min_until.since(now));
        }
        Ok((stream, queue))
    }

    /// One message of a control stream. A refusal ends the stream.
    pub fn from_client(&self, sid: SessionId, epoch: Seq, kind: from_client::Kind) -> Result<()> {
        let now = self.clock.now();
        let inos = |inos: Vec<u64>| inos.into_iter().map(ino_from).collect::<Vec<_>>();
        let versions =
            |v: Vec<v1::Version>| v.into_iter().map(|v| (ino_from(v.ino), v.ver)).collect();
        let mut machines = self.lock();
        let event = match kind {
            from_client::Kind::Attach(_) => {
                return Err(FsError::new(Code::Invalid, "a stream attaches only once"));
            }
            from_client::Kind::Renew(renew) => {
                let overdue = machines.hub.overdue(sid, now);
                let answer = machines.session(now, Event::Renew { sid, epoch, overdue });
                return match answer {
                    Some(Effect::RenewAck { term, blocked_on, .. }) => {
                        let ack = v1::RenewAck {
                            echo_ms: renew.send_time_ms,
                            term_ms: millis(term),
                            server_time: Some(time_to(self.clock.wall())),
                            blocked_on: blocked_on.unwrap_or(0),
                        };
                        machines.outboxes.send(sid, from_server::Kind::RenewAck(ack));
                        Ok(())
                    }
                    Some(Effect::Refused(error)) => Err(error),
                    _ => Err(FsError::new(Code::Io, "the session table did not answer")),
                };
            }
            from_client::Kind::Progress(progress) => {
                let (id, bytes) = (GrantId(progress.grant), progress.bytes);
                machines.grant(now, grant::Event::Progress { session: sid, id, bytes });
                return Ok(());
            }
            from_client::Kind::Ack(ack) => hub::Event::Ack {
                session: sid,
                number: ack.number,
                open: inos(ack.open),
                keep: versions(ack.keep),
            },
            from_client::Kind::Forget(forget) => {
                let attrs = forget.attrs.into_iter().map(|ino| Key::Attr(ino_from(ino)));
                let dirs = forget.dirs.into_iter().map(|ino| Key::Dir(ino_from(ino)));
                hub::Event::Forget { session: sid, keys: attrs.chain(dirs).collect() }
            }
            from_client::Kind::OpenHold(hold) => {
                hub::Event::OpenHold { session: sid, inos: inos(hold.inos) }
            }
            from_client::Kind::Unpin(unpin) => {
                hub::Event::Unpin { session: sid, versions: versions(unpin.versions) }
            }
            from_client::Kind::OrphanDone(done) => {
                hub::Event::OrphanDone { session: sid, inos: inos(done.inos) }
            }
        };
        machines.hub(now, event);
        Ok(())
    }

    /// A stream broke or was refused: it ends, the session lives on.
    pub fn detached(&self, sid: SessionId, stream: u64) {
        tracing::debug!(session = %sid, stream, "control stream ended");
        self.lock().outboxes.close_stream(sid, stream);
    }

    /// Ends a session; answered after its end is journaled.
    pub async fn close(&self, caller: &Caller) -> Result<()> {
        {
            let mut machines = self.lock();
            let known = machines
                .sessions
                .sessions()
                .any(|s| s.sid == caller.sid && s.epoch == caller.epoch);
            if !known {
                let text = format!("session {} is over", caller.sid);
                return Err(FsError::new(Code::SessionExpired, text));
            }
            machines.session(self.clock.now(), Event::Close { sid: caller.sid });
        }
        self.journal_settled().await
    }

    /// Ends every control stream, when the server stops.
    pub fn farewell(&self) {
        self.lock().outboxes.shutdown();
    }

    /// Sessions as operators see them.
    pub fn session_list(&self) -> Vec<v1::SessionInfo> {
        let machines = self.lock();
        let info = |s: dfs_core::session::SessionInfo<'_>| v1::SessionInfo {
            sid: s.sid.0,
            state: State::name(s.state).into(),
            description: s.description.into(),
            promises: machines.hub.promises(s.sid) as u64,
            unacked: machines.hub.unacked(s.sid) as u64,
        };
        machines.sessions.sessions().map(info).collect()
    }

    /// Grants as operators see them.
    pub fn grant_list(&self) -> Vec<v1::GrantInfo> {
        let now = self.clock.now();
        let machines = self.lock();
        let info = |g: grant::GrantInfo| v1::GrantInfo {
            ino: g.grant.ino.0,
            sid: g.grant.session.0,
            grant: Some(super::leases::grant_to(&g.grant, now)),
            state: g.state.name().into(),
            waiters: g.waiters as u32,
        };
        machines.grants.grants().map(info).collect()
    }
}

fn told_limits() -> v1::Limits {
    v1::Limits {
        inline_max_bytes: limits::INLINE_MAX as u32,
        message_max_bytes: limits::MESSAGE_MAX as u32,
        stripe_unit_bytes: limits::STRIPE_UNIT,
        replay_slots: limits::REPLAY_SLOTS as u32,
        lease_wait_max_ms: millis(limits::LEASE_WAIT_MAX),
    }
}
