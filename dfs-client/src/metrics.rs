//! What the client counts. Reading a counter costs nothing and stops nobody.

use crate::rpc::Verb;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of one client.
#[derive(Debug)]
pub struct Metrics {
    /// Calls sent, repeats included, by [`Verb`].
    rpcs: Vec<Counter>,
    /// Calls sent again after a failure or a request to wait.
    pub repeats: Counter,
    /// Questions answered from the metadata cache.
    pub hits: Counter,
    /// Questions the metadata cache could not answer.
    pub misses: Counter,
    /// Pushes received that must be acknowledged.
    pub pushes: Counter,
    /// Acknowledgements sent.
    pub acks: Counter,
    /// Times the session lease ran out.
    pub lapses: Counter,
    /// Sessions established, the first included.
    pub sessions: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            rpcs: Verb::ALL.iter().map(|_| Counter::default()).collect(),
            repeats: Counter::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            pushes: Counter::default(),
            acks: Counter::default(),
            lapses: Counter::default(),
            sessions: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counts a call that is sent now.
    pub fn sent(&self, verb: Verb) {
        self.rpcs[verb as usize].inc();
    }

    /// Calls sent so far, without those never used.
    pub fn rpcs(&self) -> BTreeMap<&'static str, u64> {
        let all = Verb::ALL.iter().map(|verb| (verb.name(), self.rpcs[*verb as usize].get()));
        all.filter(|(_, n)| *n > 0).collect()
    }

    /// Every counter with its name; calls as `rpc.<verb>`.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> =
            self.rpcs().into_iter().map(|(verb, n)| (format!("rpc.{verb}"), n)).collect();
        let rest = [
            ("repeats", &self.repeats),
            ("hits", &self.hits),
            ("misses", &self.misses),
            ("pushes", &self.pushes),
            ("acks", &self.acks),
            ("lapses", &self.lapses),
            ("sessions", &self.sessions),
        ];
        all.extend(rest.map(|(name, counter)| (name.to_string(), counter.get())));
        all
    }
}
