//! How a grant is asked back, and taken when it does not come (rows K5 to K7 and K10 to K12).

use std::collections::VecDeque;

use super::manager::{Manager, Step, deny};
use super::{Effect, Grant, State};
use crate::limits::{RECALL_HARD, RECALL_PROGRESS};
use crate::{BootTime, Code, GrantId, SessionId};

impl Manager {
    /// Recalls each held grant that somebody waits for, and takes those whose recall ran out.
    pub(super) fn recall_conflicting(&mut self, step: &mut Step) {
        for id in self.grants.keys().copied().collect::<Vec<_>>() {
            let held = &self.grants[&id];
            if !self.is_wanted(&held.grant) {
                continue;
            }
            let grant = held.grant;
            match held.state {
                State::Revoking => {}
                // K12
                State::Held | State::Recalling { .. } if step.away.contains(&grant.session) => {
                    self.revoke(id, step)
                }
                State::Held => {
                    // K4, K6; K5: the holder itself waits, the recall says how long
                    let from = grant.min_until.max(step.now);
                    let (soft, hard) = (from + RECALL_PROGRESS, from + RECALL_HARD);
                    self.set_state(id, State::Recalling { soft, hard, flushed: 0 });
                    push_recall(&grant, step);
                }
                // K10
                State::Recalling { soft, .. } if soft <= step.now => self.revoke(id, step),
                State::Recalling { .. } => {}
            }
        }
    }

    /// K7
    pub(super) fn progress(&mut self, session: SessionId, id: GrantId, bytes: u64, now: BootTime) {
        let Some(held) = self.grants.get_mut(&id).filter(|held| held.grant.session == session)
        else {
            return;
        };
        if let State::Recalling { soft, hard, flushed } = &mut held.state
            && bytes > *flushed
        {
            *flushed = bytes;
            // Progress during the guaranteed term must not shorten what follows it.
            *soft = (now + RECALL_PROGRESS).max(*soft).min(*hard);
        }
    }

    /// Does what time has brought.
    pub(super) fn tick(&mut self, step: &mut Step) {
        // K14, second half
        let queue = std::mem::take(&mut self.queue);
        let (late, waiting) = queue.into_iter().partition(|waiter| waiter.deadline <= step.now);
        self.queue = waiting;
        let late: VecDeque<_> = late;
        for waiter in late {
            deny(waiter, Code::Busy, "waited too long for", step);
        }
        self.settle(step);
    }

    /// A session's lease ran out: it answers no recall and waits for nothing. What is wanted is
    /// taken now (K12); of other recalls it may not have heard, so they are forgotten.
    pub(super) fn lapsed(&mut self, session: SessionId, step: &mut Step) {
        self.drop_waiters(session, step);
        for held in self.grants.values_mut().filter(|held| held.grant.session == session) {
            if let State::Recalling { .. } = held.state {
                held.state = State::Held;
            }
        }
        self.settle(step);
    }

    /// Takes a grant by force: nobody gets its bytes before the loss is durable (K10, I3).
    pub(super) fn revoke(&mut self, id: GrantId, step: &mut Step) {
        let held = &self.grants[&id];
        assert_ne!(held.state, State::Revoking, "a grant is lost once");
        let Grant { session, ino, fence, .. } = held.grant;
        self.set_state(id, State::Revoking);
        step.out.push(Effect::JournalLost { session, ino, id, fence });
    }

    /// K11
    pub(super) fn lost_durable(&mut self, id: GrantId, step: &mut Step) {
        if self.grants.get(&id).is_none_or(|held| held.state != State::Revoking) {
            return;
        }
        let Grant { session, ino, fence, .. } =
            self.grants.remove(&id).expect("just looked up").grant;
        step.out.push(Effect::Revoked { session, ino, id, fence });
        self.settle(step);
    }

    /// When `tick` has something to do. A recall that ran out waits for somebody to want the grant.
    pub(super) fn next_deadline(&self) -> Option<BootTime> {
        let waits = self.queue.iter().map(|waiter| waiter.deadline);
        let recalls = self.grants.values().filter_map(|held| match held.state {
            State::Recalling { soft, .. } if self.is_wanted(&held.grant) => Some(soft),
            _ => None,
        });
        waits.chain(recalls).min()
    }

    fn set_state(&mut self, id: GrantId, state: State) {
        self.grants.get_mut(&id).expect("only known grants change").state = state;
    }
}

fn push_recall(grant: &Grant, step: &mut Step) {
    let Grant { session, ino, id, fence, min_until, .. } = *grant;
    let hold = min_until.since(step.now);
    step.out.push(Effect::Recall { session, ino, id, fence, hold });
}
