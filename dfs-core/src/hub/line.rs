//! One session's line of pushes that are not acknowledged yet.

use crate::BootTime;
use crate::hub::event::{MutationId, Push};
use std::collections::BTreeMap;

/// A push that awaits its ack.
#[derive(Debug)]
pub(super) struct Unacked {
    pub push: Push,
    pub sent: BootTime,
    pub weight: usize,
    /// Mutations that wait for the ack. Those aborted meanwhile are still named.
    pub waiters: Vec<MutationId>,
}

/// A `Trim` that is not obeyed yet.
#[derive(Debug)]
pub(super) struct Trimming {
    pub number: u64,
    /// Promises the client still has to give up.
    pub left: usize,
}

/// Pushes of one session, and whether it takes part at all.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// May be given promises: between `Activate` and `Void`.
    pub active: bool,
    pub last_number: u64,
    pub unacked: BTreeMap<u64, Unacked>,
    /// Sum of the weights.
    pub weight: usize,
    /// Number of the `DropAll` that awaits its ack; then the line holds nothing else.
    pub drop_all: Option<u64>,
    pub trim: Option<Trimming>,
    /// A `Trim` is due at the next step.
    pub trim_wanted: bool,
}

impl Line {
    /// A line whose pushes have numbers above this.
    pub fn above(number: u64) -> Line {
        Line { last_number: number, ..Line::default() }
    }

    /// The number of the next push.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Appends a push.
    pub fn append(&mut self, unacked: Unacked) {
        self.weight += unacked.weight;
        self.unacked.insert(unacked.push.number(), unacked);
    }

    /// Takes a push off the line.
    pub fn take(&mut self, number: u64) -> Option<Unacked> {
        let unacked = self.unacked.remove(&number)?;
        self.weight -= unacked.weight;
        if self.drop_all == Some(number) {
            self.drop_all = None;
        }
        Some(unacked)
    }

    /// Empties the line: the mutations that waited for it, and when its oldest push was sent.
    pub fn drain(&mut self) -> (Vec<MutationId>, Option<BootTime>) {
        let pushes = std::mem::take(&mut self.unacked);
        let sent = pushes.values().map(|u| u.sent).min();
        self.weight = 0;
        self.drop_all = None;
        self.trim = None;
        self.trim_wanted = false;
        (pushes.into_values().flat_map(|u| u.waiters).collect(), sent)
    }
}
