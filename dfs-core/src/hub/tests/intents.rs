//! Random intents against a list of who came first.

use crate::hub::intent::Intents;
use crate::hub::{Hold, IntentKey, MutationId};
use crate::{Ino, name::Name};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Keys = Vec<(IntentKey, Hold)>;

fn keys() -> impl Strategy<Value = Keys> {
    let key = (1..3u64, 0..4usize).prop_map(|(ino, what)| match what {
        0 => IntentKey::Dir(Ino(ino)),
        1 => IntentKey::Attr(Ino(ino)),
        2 => IntentKey::Name(Ino(ino), Name::new(b"a").unwrap()),
        _ => IntentKey::Name(Ino(ino), Name::new(b"b").unwrap()),
    });
    let hold = prop_oneof![Just(Hold::Shared), Just(Hold::Exclusive)];
    prop::collection::vec((key, hold), 1..4)
}

/// Whether two mutations must not run together.
fn conflict(a: &Keys, b: &Keys) -> bool {
    let alone = |hold: &Hold| *hold == Hold::Exclusive;
    a.iter().any(|(x, h)| b.iter().any(|(y, g)| x == y && (alone(h) || alone(g))))
}

#[derive(Default)]
struct Checked {
    intents: Intents,
    wants: BTreeMap<MutationId, Keys>,
    running: BTreeSet<MutationId>,
}

impl Checked {
    fn grant(&mut self, m: MutationId) {
        for other in &self.running {
            assert!(!conflict(&self.wants[&m], &self.wants[other]), "{m} runs beside {other}");
        }
        // Who wants one key only can be held up by nothing but that key: strictly in order.
        if self.wants[&m].len() == 1 {
            for (earlier, keys) in self.wants.range(..m) {
                let waits = !self.running.contains(earlier);
                assert!(!(waits && keys.len() == 1 && conflict(keys, &self.wants[&m])));
            }
        }
        self.running.insert(m);
    }

    fn finish(&mut self, m: MutationId) {
        self.running.remove(&m);
        self.wants.remove(&m);
        let left = self.intents.release(m);
        self.intents.wake(left).into_iter().for_each(|m| self.grant(m));
    }
}

proptest! {
    #[test]
    fn h3_h4_h9_intents_exclude_keep_order_and_end(
        steps in prop::collection::vec((keys(), any::<prop::sample::Index>(), 0..3u8), 1..60)
    ) {
        let mut all = Checked::default();
        for (n, (keys, which, action)) in steps.into_iter().enumerate() {
            let m = MutationId(n as u64);
            all.wants.insert(m, keys.clone());
            if all.intents.begin(m, keys) {
                all.grant(m);
            }
            let some: Vec<MutationId> = match action {
                0 => all.running.iter().copied().collect(),
                1 => all.wants.keys().copied().collect(),
                _ => Vec::new(),
            };
            if !some.is_empty() {
                all.finish(*which.get(&some));
            }
            // Nobody waits without reason: some key it wants is held or awaited by another.
            for (m, keys) in all.wants.iter().filter(|(m, _)| !all.running.contains(m)) {
                prop_assert!(!all.intents.granted(*m));
                let others = all.wants.iter().filter(|(o, _)| *o != m);
                prop_assert!(others.into_iter().any(|(_, k)| conflict(keys, k)), "{} starves", m);
            }
        }
        while let Some(m) = all.running.first().copied() {
            all.finish(m);
        }
        prop_assert!(all.wants.is_empty(), "never granted: {:?}", all.wants);
    }
}
