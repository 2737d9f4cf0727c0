//! Intents: which mutation touches what, and who waits behind it (H3, H4, H8, H9).
//!
//! A mutation takes its keys one by one in the order of [`IntentKey`], so that no two can wait for
//! each other; each key is handed on first come, first served.

use crate::hub::event::{Item, MutationId};
use crate::hub::key::{Hold, IntentKey, Key};
use crate::{Ino, name::Name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who holds and awaits one key. Exists only while somebody holds it.
#[derive(Debug, Default)]
struct Slot {
    /// The only holder holds it alone.
    exclusive: bool,
    holders: BTreeSet<MutationId>,
    queue: VecDeque<(MutationId, Hold)>,
}

impl Slot {
    fn admits(&self, hold: Hold) -> bool {
        self.holders.is_empty() || (hold == Hold::Shared && !self.exclusive)
    }

    fn admit(&mut self, m: MutationId, hold: Hold) {
        self.exclusive = hold == Hold::Exclusive;
        self.holders.insert(m);
    }
}

/// What one mutation wants: `keys[..held]` it has, for `keys[held]` it waits.
#[derive(Debug)]
struct Claim {
    keys: Vec<(IntentKey, Hold)>,
    held: usize,
}

/// All intents of a name server.
#[derive(Debug, Default)]
pub(super) struct Intents {
    slots: BTreeMap<IntentKey, Slot>,
    claims: BTreeMap<MutationId, Claim>,
}

impl Intents {
    /// Starts taking `keys` for `m`; true when it has them all.
    pub fn begin(&mut self, m: MutationId, mut keys: Vec<(IntentKey, Hold)>) -> bool {
        keys.sort();
        // Of a key named twice the stronger hold, which sorts last, stays.
        keys.reverse();
        keys.dedup_by(|later, kept| later.0 == kept.0);
        keys.reverse();
        let old = self.claims.insert(m, Claim { keys, held: 0 });
        assert!(old.is_none(), "mutation {m} begins twice");
        self.advance(m)
    }

    /// Takes further keys of `m` until one is taken by others; true when it has them all.
    fn advance(&mut self, m: MutationId) -> bool {
        let claim = self.claims.get_mut(&m).expect("claim of a running mutation");
        while let Some((key, hold)) = claim.keys.get(claim.held) {
            let slot = self.slots.entry(key.clone()).or_default();
            if !slot.queue.is_empty() || !slot.admits(*hold) {
                slot.queue.push_back((m, *hold)); // H4
                return false;
            }
            slot.admit(m, *hold);
            claim.held += 1;
        }
        true
    }

    /// Whether `m` has all its keys.
    pub fn granted(&self, m: MutationId) -> bool {
        self.claims.get(&m).is_some_and(|c| c.held == c.keys.len())
    }

    /// Takes everything from `m`; what it leaves behind must be given to [`Intents::wake`].
    pub fn release(&mut self, m: MutationId) -> Vec<IntentKey> {
        let Some(claim) = self.claims.remove(&m) else { return Vec::new() };
        let mut left = Vec::new();
        for (i, (key, _)) in claim.keys.into_iter().enumerate().take(claim.held + 1) {
            let slot = self.slots.get_mut(&key).expect("slot of a held or awaited key");
            if i < claim.held {
                slot.holders.remove(&m);
                slot.exclusive = false;
            } else {
                slot.queue.retain(|(waiting, _)| *waiting != m);
            }
            if slot.holders.is_empty() && slot.queue.is_empty() {
                self.slots.remove(&key);
            } else {
                left.push(key);
            }
        }
        left
    }

    /// Hands `keys` on to those who wait; the mutations that now have everything.
    pub fn wake(&mut self, keys: Vec<IntentKey>) -> Vec<MutationId> {
        let mut granted = Vec::new();
        for key in keys {
            while let Some(slot) = self.slots.get_mut(&key) {
                let Some(&(m, hold)) = slot.queue.front() else { break };
                if !slot.admits(hold) {
                    break;
                }
                slot.queue.pop_front();
                slot.admit(m, hold);
                self.claims.get_mut(&m).expect("claim of a waiting mutation").held += 1;
                if self.advance(m) {
                    granted.push(m);
                }
            }
        }
        granted
    }

    fn exclusive(&self, key: &IntentKey) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.exclusive)
    }

    /// Whether a running mutation may change what a reader wants a promise on. Of a directory the
    /// reader saw `name`, or without one the whole listing.
    pub fn conflicts(&self, key: Key, name: Option<&Name>) -> bool {
        match (key, name) {
            (Key::Attr(ino), _) => self.slots.contains_key(&IntentKey::Attr(ino)),
            (Key::Dir(dir), Some(name)) => {
                self.exclusive(&IntentKey::Dir(dir))
                    || self.slots.contains_key(&IntentKey::Name(dir, name.clone()))
            }
            (Key::Dir(dir), None) => {
                let all = IntentKey::Dir(dir)..IntentKey::Attr(dir);
                self.slots.range(all).next().is_some()
            }
        }
    }

    /// Whether a running mutation may change what the origin of a committed one knows from its
    /// own change, which touched only names it held alone.
    pub fn conflicts_after_own(&self, key: Key) -> bool {
        match key {
            Key::Attr(_) => self.conflicts(key, None),
            Key::Dir(dir) => self.exclusive(&IntentKey::Dir(dir)),
        }
    }

    /// Whether `m` holds what it needs to change `item`.
    pub fn cover(&self, m: MutationId, item: &Item) -> bool {
        let held = |key: IntentKey, alone: bool| {
            let slot = self.slots.get(&key);
            slot.is_some_and(|s| s.holders.contains(&m) && (s.exclusive || !alone))
        };
        let attr = |ino: Ino| held(IntentKey::Attr(ino), false);
        match item {
            Item::Attr { ino } | Item::Data { ino, .. } | Item::Nlink0 { ino } => attr(*ino),
            Item::Undelegate { .. } => true,
            Item::DirAll { dir } => held(IntentKey::Dir(*dir), true),
            Item::DirNames { dir, names } => {
                names.iter().all(|n| held(IntentKey::Name(*dir, n.clone()), true))
            }
        }
    }
}
