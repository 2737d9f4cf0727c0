//! Pushes and their acks, and the sessions they go to.

use super::line::{Line, Unacked};
use super::timer::Timer;
use super::{Effect, Hub, Item, Key, MutationId, Push};
use crate::{BootTime, Ino, Seq, SessionId};

impl Hub {
    /// Queues a session's share of a mutation's items; `waiter` waits for the ack.
    pub(super) fn queue(
        &mut self,
        now: BootTime,
        session: SessionId,
        items: Vec<Item>,
        seq: Seq,
        waiter: Option<MutationId>,
        out: &mut Vec<Effect>,
    ) {
        let line = self.lines.get_mut(&session).expect("line of a session with promises");
        let weight: usize = items.iter().map(Item::weight).sum();
        if line.drop_all.is_none() && line.weight + weight > self.config.push_queue {
            self.collapse(now, session, seq, out);
        }
        let line = self.lines.get_mut(&session).expect("line of a session with promises");
        if let Some(number) = line.drop_all {
            // It is to forget everything anyway, this included.
            let unacked = line.unacked.get_mut(&number).expect("the unacknowledged `DropAll`");
            unacked.waiters.extend(waiter);
            return;
        }
        let number = line.next_number();
        for item in items.iter().filter(|item| item.uses_up()) {
            self.promises.use_up(session, item.key(), number);
        }
        let push = Push::Inval { number, seq, items };
        out.push(Effect::Send { session, push: push.clone() });
        let waiters = waiter.into_iter().collect();
        line.append(Unacked { push, sent: now, weight, waiters });
    }

    /// H10: one `DropAll` in place of all pushes of a session. The promises stay until its ack, so
    /// that changes which begin meanwhile wait for that; new ones are not given. It is as old as
    /// the oldest push it stands for, so that a silent client gains no time.
    fn collapse(&mut self, now: BootTime, session: SessionId, seq: Seq, out: &mut Vec<Effect>) {
        let line = self.lines.get_mut(&session).expect("line of a session with promises");
        let (waiters, sent) = line.drain();
        let number = line.next_number();
        let push = Push::DropAll { number, seq };
        out.push(Effect::Send { session, push: push.clone() });
        let sent = sent.unwrap_or(now);
        line.append(Unacked { push, sent, weight: 1, waiters });
        line.drop_all = Some(number);
    }

    /// H5: a push is answered. Does nothing if it is not awaited (any more).
    pub(super) fn settle(&mut self, session: SessionId, number: u64, out: &mut Vec<Effect>) {
        let taken = self.lines.get_mut(&session).and_then(|line| line.take(number));
        let Some(unacked) = taken else { return };
        match unacked.push {
            Push::Inval { items, .. } => {
                for item in items.iter().filter(|item| item.uses_up()) {
                    self.promises.settle(session, item.key(), number);
                }
                for item in &items {
                    if let Item::Undelegate { dir } = item {
                        self.promises.undelegate(session, *dir);
                    }
                }
            }
            Push::DropAll { .. } => drop(self.promises.clear(session)), // H10
            Push::Trim { .. } => self.trim_acked(session, number),
        }
        for m in unacked.waiters {
            self.cleared(m, out);
        }
    }

    /// The pushes of a session, which may be new.
    pub(super) fn line(&mut self, session: SessionId) -> &mut Line {
        let above = self.pushes_above;
        self.lines.entry(session).or_insert_with(|| Line::above(above))
    }

    /// A session may have promises from now on. If it was voided before, what it may have open is
    /// believed for one more orphan grace, in which it restates its open inodes.
    pub(super) fn activate(&mut self, now: BootTime, session: SessionId) {
        self.line(session).active = true;
        let by = now + self.config.orphan_grace;
        if self.holds.shorten(session, by) {
            self.timers.insert((by, Timer::Weak(session)));
        }
    }

    /// Sends everything unacknowledged again: acks may have been lost with the old stream, so also
    /// what the client has seen; it answers a second time.
    pub(super) fn resend(&self, session: SessionId, out: &mut Vec<Effect>) {
        let Some(line) = self.lines.get(&session) else { return };
        for unacked in line.unacked.values() {
            out.push(Effect::Send { session, push: unacked.push.clone() });
        }
    }

    /// H7: nobody waits for the session; its promises remain only as weak holds.
    pub(super) fn void(&mut self, now: BootTime, session: SessionId, out: &mut Vec<Effect>) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        line.active = false;
        let (waiters, _) = line.drain();
        let inos = self.promises.clear(session);
        let until = now + self.config.weak_hold_max;
        if self.holds.weaken(session, inos, until, &self.config) {
            self.timers.insert((until, Timer::Weak(session)));
        }
        for m in waiters {
            self.cleared(m, out);
        }
    }

    /// Nothing of the session stays (S9).
    pub(super) fn gone(&mut self, now: BootTime, session: SessionId, out: &mut Vec<Effect>) {
        self.void(now, session, out);
        if let Some(line) = self.lines.remove(&session) {
            // Its client may have another session soon.
            self.pushes_above = self.pushes_above.max(line.last_number);
        }
        for ino in self.holds.gone(session) {
            self.free(now, ino, out);
        }
        let unpinned = self.pins.clear(session);
        out.extend(unpinned.into_iter().map(|(ino, ver)| Effect::Unpinned { ino, ver }));
    }

    /// The client gives promises up; what it does not have is passed over.
    pub(super) fn forget(&mut self, session: SessionId, keys: Vec<Key>) {
        let removed = keys.into_iter().filter(|key| self.promises.remove(session, *key)).count();
        self.trim_obeyed(session, removed);
    }

    /// The session has inodes open; unknown sessions are passed over.
    pub(super) fn hold_open(&mut self, session: SessionId, inos: &[Ino]) {
        if self.lines.contains_key(&session) {
            inos.iter().for_each(|ino| self.holds.open(session, *ino, &self.config));
        }
    }

    pub(super) fn close(
        &mut self,
        now: BootTime,
        session: SessionId,
        inos: Vec<Ino>,
        out: &mut Vec<Effect>,
    ) {
        for ino in inos {
            self.holds.close(session, ino);
            self.free(now, ino, out);
        }
    }

    /// The session reads old versions; unknown sessions are passed over.
    pub(super) fn pin(&mut self, session: SessionId, versions: &[(Ino, u64)]) {
        if self.lines.contains_key(&session) {
            for version in versions {
                self.pins.add(session, *version, self.config.pins_per_session);
            }
        }
    }

    pub(super) fn unpin(
        &mut self,
        session: SessionId,
        versions: Vec<(Ino, u64)>,
        out: &mut Vec<Effect>,
    ) {
        for (ino, ver) in versions {
            if self.pins.remove(session, (ino, ver)) {
                out.push(Effect::Unpinned { ino, ver });
            }
        }
    }

    /// `ino` lost its last link just now.
    pub(super) fn orphan(&mut self, now: BootTime, ino: Ino) {
        let free_at = now + self.config.orphan_grace;
        self.holds.orphan(ino, free_at);
        self.timers.insert((free_at, Timer::Orphan(ino)));
    }

    /// Frees `ino` if it is an orphan, old enough, and held by nobody. Promises on it, as that of
    /// who unlinked it, mean nothing any more: its number never comes back.
    pub(super) fn free(&mut self, now: BootTime, ino: Ino, out: &mut Vec<Effect>) {
        if self.holds.free(now, ino) {
            for key in [Key::Attr(ino), Key::Dir(ino)] {
                let holders: Vec<SessionId> = self.promises.holders(key).collect();
                for session in holders {
                    self.promises.remove(session, key);
                }
            }
            out.push(Effect::OrphanFree { ino });
        }
    }
}
