//! Where to find grants and waiting requests, by their number and by their session.

use std::collections::{BTreeMap, BTreeSet};

use super::Effect;
use crate::{GrantId, Ino, RequestId, SessionId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    Grant(GrantId),
    Waiter(RequestId),
}

/// Kept from the effects of the managers: each grant begins with `Granted` or `Reclaimed` and ends
/// with `Dropped` or `Revoked`, each wait ends with `Granted` or `Denied`.
#[derive(Debug, Default)]
pub(super) struct Index {
    grants: BTreeMap<GrantId, Ino>,
    waiters: BTreeMap<RequestId, (SessionId, Ino)>,
    of_session: BTreeSet<(SessionId, Ino, Member)>,
    counts: BTreeMap<SessionId, usize>,
}

impl Index {
    pub(super) fn ino_of(&self, id: GrantId) -> Option<Ino> {
        self.grants.get(&id).copied()
    }

    pub(super) fn ino_waited_for(&self, req: RequestId) -> Option<Ino> {
        self.waiters.get(&req).map(|&(_, ino)| ino)
    }

    /// The inodes of which a session holds or wants a grant, in order.
    pub(super) fn inos_of(&self, session: SessionId) -> Vec<Ino> {
        let first = (session, Ino(0), Member::Grant(GrantId(0)));
        let members = self.of_session.range(first..).take_while(|member| member.0 == session);
        let mut inos: Vec<Ino> = members.map(|&(_, ino, _)| ino).collect();
        inos.dedup();
        inos
    }

    /// Grants a session holds or waits for.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.counts.get(&session).copied().unwrap_or(0)
    }

    pub(super) fn waits(&mut self, session: SessionId, ino: Ino, req: RequestId) {
        self.waiters.insert(req, (session, ino));
        self.add((session, ino, Member::Waiter(req)));
    }

    pub(super) fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            match *effect {
                Effect::Granted { req, grant, .. } => {
                    self.answered(req);
                    self.began(grant.session, grant.ino, grant.id);
                }
                Effect::Denied { req, .. } => self.answered(req),
                Effect::Reclaimed { grant } => self.began(grant.session, grant.ino, grant.id),
                Effect::Revoked { session, ino, id, .. }
                | Effect::Dropped { session, ino, id, .. } => {
                    self.grants.remove(&id);
                    self.remove((session, ino, Member::Grant(id)));
                }
                Effect::Fenced { .. } | Effect::Recall { .. } | Effect::JournalLost { .. } => {}
            }
        }
    }

    fn began(&mut self, session: SessionId, ino: Ino, id: GrantId) {
        self.grants.insert(id, ino);
        self.add((session, ino, Member::Grant(id)));
    }

    fn add(&mut self, member: (SessionId, Ino, Member)) {
        if self.of_session.insert(member) {
            *self.counts.entry(member.0).or_default() += 1;
        }
    }

    fn remove(&mut self, member: (SessionId, Ino, Member)) {
        if !self.of_session.remove(&member) {
            return;
        }
        let left = self.count(member.0) - 1;
        match left {
            0 => drop(self.counts.remove(&member.0)),
            _ => drop(self.counts.insert(member.0, left)),
        }
    }

    fn answered(&mut self, req: RequestId) {
        if let Some((session, ino)) = self.waiters.remove(&req) {
            self.remove((session, ino, Member::Waiter(req)));
        }
    }
}
