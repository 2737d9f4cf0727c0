//! The reclaim window after a name-server start (PROTOCOL 2.5, rows S11 to S15).
//!
//! One record more than PROTOCOL asks for: that a session missed a reclaim window is journaled.
//! Otherwise a second restart would believe the old claims of such a session, although their
//! objects went to others in between, without any `Lost` record (the grants were never restated,
//! so nobody knew of the loss).

use super::{Effect, OpenSession, SessionTable, State, lease, over};
use crate::{BootTime, Seq, SessionId};

impl SessionTable {
    pub(super) fn load(
        &mut self,
        now: BootTime,
        sessions: Vec<OpenSession>,
        out: &mut Vec<Effect>,
    ) {
        assert!(self.sessions.is_empty(), "sessions are loaded before any is established");
        // S11
        for record in sessions {
            if !record.absent {
                self.insert(record, State::Reclaim);
                continue;
            }
            // It missed the window of an earlier start, and others may have taken what it held
            // without a record of each loss: it has nothing to reclaim and nobody waits for it.
            out.push(Effect::Lapsed { sid: record.sid });
            self.insert(record, State::Courtesy { since: now });
        }
        self.grace_end = Some(now + self.config.grace_window());
        self.end_grace_early(out);
    }

    pub(super) fn reclaim_done(&mut self, now: BootTime, sid: SessionId, out: &mut Vec<Effect>) {
        match self.state(sid) {
            Some(State::Reclaim) => {
                // S13
                let lapse_at = lease::lapse_at(now, self.config.term);
                self.set_state(sid, State::Active { lapse_at });
                out.push(Effect::Reclaimed { sid });
                self.end_grace_early(out);
            }
            // The answer to the first one was lost, or the session began in this grace.
            Some(State::Active { .. }) => out.push(Effect::Reclaimed { sid }),
            // It came too late: what it did not restate in time is gone (S14).
            Some(State::Courtesy { .. }) => out.push(Effect::Refused(super::away(sid))),
            None => out.push(Effect::Refused(over(sid))),
        }
    }

    /// Ends grace when nobody is left who could reclaim (S13).
    pub(super) fn end_grace_early(&mut self, out: &mut Vec<Effect>) {
        if self.grace_end.is_some() && self.reclaiming.is_empty() {
            self.grace_end = None;
            out.push(Effect::GraceEnd);
        }
    }

    /// Ends grace when its time is over.
    pub(super) fn end_grace_in_time(&mut self, now: BootTime, last: Seq, out: &mut Vec<Effect>) {
        let Some(end) = self.grace_end.filter(|&end| end <= now) else { return };
        for sid in std::mem::take(&mut self.reclaiming) {
            // S14
            self.set_state(sid, State::Courtesy { since: end });
            let session = self.sessions.get_mut(&sid).expect("a known session");
            (session.floor, session.absent) = (last, true);
            out.push(Effect::DropUnreclaimed { sid, floor: last });
            out.push(Effect::Lapsed { sid });
        }
        self.grace_end = None;
        out.push(Effect::GraceEnd);
    }
}
