//! What happens because time passes, and the trimming of promises (H12).

use super::line::{Trimming, Unacked};
use super::{Effect, Hub, Item, Key, Push};
use crate::limits::TRIM_ONE_IN;
use crate::seq::Sequencer;
use crate::{BootTime, Ino, SessionId};

/// What to look at when a time has come. A timer is never cancelled: what it finds decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A `Trim` is to be sent.
    Trim(SessionId),
    /// A `Trim` should be obeyed by now.
    TrimEnd(SessionId, u64),
    /// An inode without links may be freed.
    Orphan(Ino),
    /// Weak holds of a session end.
    Weak(SessionId),
}

impl Hub {
    pub(super) fn run_timers(&mut self, now: BootTime, seq: &mut Sequencer, out: &mut Vec<Effect>) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, timer)) = self.timers.pop_first() else { break };
            match timer {
                Timer::Trim(session) => self.trim(now, session, out),
                Timer::TrimEnd(session, number) => {
                    self.enforce_trim(now, session, number, seq, out);
                }
                Timer::Orphan(ino) => self.free(now, ino, out),
                Timer::Weak(session) => {
                    for ino in self.holds.end_weak(now, session) {
                        self.free(now, ino, out);
                    }
                }
            }
        }
    }

    /// The session has too many promises: asks it to give some up, at the next step.
    pub(super) fn want_trim(&mut self, now: BootTime, session: SessionId) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        if line.trim.is_none() && line.drop_all.is_none() && !line.trim_wanted {
            line.trim_wanted = true;
            self.timers.insert((now, Timer::Trim(session)));
        }
    }

    /// H12: asks.
    fn trim(&mut self, now: BootTime, session: SessionId, out: &mut Vec<Effect>) {
        let count = (self.promises.count(session) / TRIM_ONE_IN).max(1);
        let Some(line) = self.lines.get_mut(&session).filter(|line| line.trim_wanted) else {
            return; // voided or collapsed meanwhile
        };
        line.trim_wanted = false;
        let number = line.next_number();
        let push = Push::Trim { number, count };
        out.push(Effect::Send { session, push: push.clone() });
        line.append(Unacked { push, sent: now, weight: 1, waiters: Vec::new() });
        line.trim = Some(Trimming { number, left: count });
        let at = now + self.config.inval_deadline;
        self.timers.insert((at, Timer::TrimEnd(session, number)));
    }

    /// The client gave up `removed` promises.
    pub(super) fn trim_obeyed(&mut self, session: SessionId, removed: usize) {
        let trim = self.lines.get_mut(&session).and_then(|line| line.trim.as_mut());
        if let Some(trim) = trim {
            trim.left = trim.left.saturating_sub(removed);
        }
    }

    /// The client answered a `Trim`: it is over if it was obeyed, else at its deadline.
    pub(super) fn trim_acked(&mut self, session: SessionId, number: u64) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        if line.trim.as_ref().is_some_and(|trim| trim.number == number && trim.left == 0) {
            line.trim = None;
        }
    }

    /// H12: voids by push what the client did not choose itself.
    fn enforce_trim(
        &mut self,
        now: BootTime,
        session: SessionId,
        number: u64,
        seq: &mut Sequencer,
        out: &mut Vec<Effect>,
    ) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        let Some(trim) = line.trim.take_if(|trim| trim.number == number) else { return };
        let oldest = self.promises.oldest(session, trim.left);
        let items: Vec<Item> = oldest
            .into_iter()
            .map(|key| match key {
                Key::Attr(ino) => Item::Attr { ino },
                Key::Dir(dir) => Item::DirAll { dir },
            })
            .collect();
        if !items.is_empty() {
            self.queue(now, session, items, seq.next(), None, out);
        }
    }
}
