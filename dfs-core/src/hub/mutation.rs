//! The life of a mutation: intents, its pushes, readiness, and what it leaves behind.

use super::{Effect, Hold, Hub, IntentKey, Item, Key, MutationId};
use crate::seq::Sequencer;
use crate::{BootTime, Ino, SessionId};
use std::collections::BTreeMap;

/// Between `Begin` and `Committed` or `Abort`.
#[derive(Debug)]
pub(super) struct Mutation {
    origin: SessionId,
    /// Set by `Push`.
    pushed: Option<Pushed>,
}

#[derive(Debug)]
struct Pushed {
    items: Vec<Item>,
    origin_open: Vec<Ino>,
    /// Sessions whose ack is missing.
    waiting: usize,
}

impl Pushed {
    fn orphans(&self) -> impl Iterator<Item = Ino> + '_ {
        self.items.iter().filter_map(|item| match item {
            Item::Nlink0 { ino } => Some(*ino),
            _ => None,
        })
    }
}

impl Hub {
    /// H3, H4: takes the intents or queues for them.
    pub(super) fn begin(
        &mut self,
        m: MutationId,
        origin: SessionId,
        intents: Vec<(IntentKey, Hold)>,
        out: &mut Vec<Effect>,
    ) {
        self.mutations.insert(m, Mutation { origin, pushed: None });
        if self.intents.begin(m, intents) {
            out.push(Effect::Granted { m }); // H3
        }
    }

    /// H3: tells everybody but the origin and starts to wait for them.
    pub(super) fn push(
        &mut self,
        now: BootTime,
        m: MutationId,
        mut items: Vec<Item>,
        origin_open: Vec<Ino>,
        seq: &mut Sequencer,
        out: &mut Vec<Effect>,
    ) {
        let mutation = self.mutations.get(&m).expect("push of an unknown mutation");
        assert!(self.intents.granted(m), "push of mutation {m} before all intents are held");
        assert!(mutation.pushed.is_none(), "second push of mutation {m}");
        let origin = mutation.origin;
        let number = seq.next();
        let mut shares: BTreeMap<SessionId, Vec<Item>> = BTreeMap::new();
        for item in &mut items {
            assert!(self.intents.cover(m, item), "mutation {m} has no intent for {item:?}");
            let key = item.key();
            let holders: Vec<SessionId> = match item {
                Item::Undelegate { dir } => self.promises.delegate(*dir).into_iter().collect(),
                _ => self.promises.holders(key).collect(),
            };
            let hot = self.heat.changed(now, key, holders.len(), &self.config);
            if let (true, Key::Dir(dir)) = (hot, key) {
                // Naming names would keep the promises, and the storm with them.
                *item = Item::DirAll { dir };
            }
            for session in holders.into_iter().filter(|s| *s != origin) {
                shares.entry(session).or_default().push(item.clone());
            }
        }
        let waiting = shares.len();
        let mutation = self.mutations.get_mut(&m).expect("a running mutation");
        mutation.pushed = Some(Pushed { items, origin_open, waiting });
        for (session, share) in shares {
            self.queue(now, session, share, number, Some(m), out);
        }
        if waiting == 0 {
            self.ready(m, out);
        }
    }

    /// One session of the wait set of `m` is done with it.
    pub(super) fn cleared(&mut self, m: MutationId, out: &mut Vec<Effect>) {
        let Some(mutation) = self.mutations.get_mut(&m) else { return }; // aborted meanwhile
        let pushed = mutation.pushed.as_mut().expect("a mutation that is waited for was pushed");
        pushed.waiting -= 1;
        if pushed.waiting == 0 {
            self.ready(m, out); // H5
        }
    }

    fn ready(&self, m: MutationId, out: &mut Vec<Effect>) {
        let mutation = &self.mutations[&m];
        let pushed = mutation.pushed.as_ref().expect("a pushed mutation");
        let mut open = Vec::new();
        for ino in pushed.orphans() {
            open.extend(self.holds.of(ino).map(|session| (session, ino)));
            let own = (mutation.origin, ino);
            if pushed.origin_open.contains(&ino) && !open.contains(&own) {
                open.push(own);
            }
        }
        let mut kept = Vec::new();
        for item in &pushed.items {
            if let Item::Data { ino, old_ver, .. } = item {
                let sessions = self.pins.of((*ino, *old_ver));
                kept.extend(sessions.map(|session| (session, *ino, *old_ver)));
            }
        }
        out.push(Effect::Ready { m, open, kept });
    }

    /// H8. Used-up promises are gone since their acks; the origin keeps those it had.
    pub(super) fn committed(
        &mut self,
        now: BootTime,
        m: MutationId,
        mut keep: Vec<Key>,
        delegate: bool,
        out: &mut Vec<Effect>,
    ) {
        let mutation = self.mutations.remove(&m).expect("commit of an unknown mutation");
        let pushed = mutation.pushed.expect("commit of a mutation that was not pushed");
        assert_eq!(pushed.waiting, 0, "commit of mutation {m} before it was ready");
        for ino in pushed.orphans() {
            self.orphan(now, ino);
            if pushed.origin_open.contains(&ino) {
                self.hold_open(mutation.origin, &[ino]);
            }
        }
        let left = self.intents.release(m);
        // Before the queue is woken, but not against another one that shares the key: that one
        // has pushed to the holders of its time and would not tell a new one.
        keep.retain(|key| {
            !self.intents.conflicts_after_own(*key) && self.give(now, mutation.origin, *key)
        });
        let delegated = if delegate { self.delegate(mutation.origin, &keep) } else { Vec::new() };
        out.push(Effect::Kept { m, keys: keep, delegated });
        self.wake(left, out);
    }

    /// H9. Acks that are still missing no longer matter to anybody but their session.
    pub(super) fn abort(&mut self, m: MutationId, out: &mut Vec<Effect>) {
        self.mutations.remove(&m);
        let left = self.intents.release(m);
        self.wake(left, out);
    }

    fn wake(&mut self, left: Vec<IntentKey>, out: &mut Vec<Effect>) {
        out.extend(self.intents.wake(left).into_iter().map(|m| Effect::Granted { m }));
    }
}
