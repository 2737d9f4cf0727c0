//! Hot keys: changed so often before so many holders that promises cost more than they save (3.4).

use crate::BootTime;
use crate::hub::event::Config;
use crate::hub::key::Key;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Heat {
    since: BootTime,
    changes: u32,
    hot_until: BootTime,
}

/// Keys with many holders that changed a short while ago.
#[derive(Debug, Default)]
pub(super) struct HeatMap {
    keys: BTreeMap<Key, Heat>,
    /// When to look whether an entry is still needed; as many as there are changes in the window.
    checks: VecDeque<(BootTime, Key)>,
}

impl HeatMap {
    /// Counts a change of a key with `holders`; whether the key is hot now.
    pub fn changed(&mut self, now: BootTime, key: Key, holders: usize, config: &Config) -> bool {
        self.expire(now);
        if holders <= config.hot_holders {
            return self.is_hot(now, key);
        }
        let fresh = || Heat { since: now, changes: 0, hot_until: now };
        let heat = self.keys.entry(key).or_insert_with(fresh);
        if now.since(heat.since) >= WINDOW {
            heat.since = now;
            heat.changes = 0;
        }
        heat.changes += 1;
        if heat.changes > config.hot_changes_per_second {
            heat.hot_until = now + config.hot_pause;
        }
        self.checks.push_back((now + WINDOW + config.hot_pause, key));
        self.is_hot(now, key)
    }

    /// Whether no promise is given on it.
    pub fn is_hot(&self, now: BootTime, key: Key) -> bool {
        self.keys.get(&key).is_some_and(|heat| now < heat.hot_until)
    }

    fn expire(&mut self, now: BootTime) {
        while let Some(&(at, key)) = self.checks.front() {
            if now < at {
                break;
            }
            self.checks.pop_front();
            let idle = |heat: &Heat| now >= heat.hot_until && now.since(heat.since) >= WINDOW;
            if self.keys.get(&key).is_some_and(idle) {
                self.keys.remove(&key);
            }
        }
    }
}
