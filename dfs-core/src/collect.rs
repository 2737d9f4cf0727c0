//! Which stored objects go: the decision of mark and sweep (PROTOCOL 6.8, decision D6).
//!
//! An object goes if in two sweeps, [`COLLECT_GAP`] or more apart, no stripe refers to it, nobody
//! has pinned it, and its upload cannot be under way. The last is told by its number `born`: every
//! live upload has a version number, so an object below the lowest of them belongs to an upload
//! that is over. The second sweep guards against a mistake of the first, as does the age.
//!
//! The shell must look in this order: lowest live upload, then marks, then the listing. An upload
//! that ends in between is either still below protection or already marked.

use crate::extent::ObjectName;
use crate::limits::{COLLECT_CANDIDATES, COLLECT_GAP};
use crate::time::BootTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// The objects some stripe refers to: 24 bytes of memory each.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<ObjectName>);

impl FromIterator<ObjectName> for Marks {
    fn from_iter<I: IntoIterator<Item = ObjectName>>(names: I) -> Marks {
        let mut marks: Vec<ObjectName> = names.into_iter().collect();
        marks.sort_unstable();
        marks.dedup();
        Marks(marks)
    }
}

impl Marks {
    /// Whether a stripe refers to the object.
    pub fn contains(&self, name: ObjectName) -> bool {
        self.0.binary_search(&name).is_ok()
    }

    /// Number of objects.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// A stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Time since it was written.
    pub age: Duration,
}

/// Objects found free, and when that was seen first without a break.
pub type Candidates = BTreeMap<ObjectName, BootTime>;

/// What holds objects back in one sweep.
pub struct View<'a> {
    /// When the sweep began.
    pub now: BootTime,
    /// What stripes refer to.
    pub marks: &'a Marks,
    /// The lowest version number of a live upload; without one, the next number to be given out.
    pub lowest_live: u64,
    /// Whether somebody still reads a version the object is part of.
    pub pinned: &'a dyn Fn(ObjectName) -> bool,
}

impl View<'_> {
    fn is_free(&self, object: Listed) -> bool {
        object.name.born < self.lowest_live
            && object.age >= COLLECT_GAP
            && !self.marks.contains(object.name)
            && !(self.pinned)(object.name)
    }
}

/// What a sweep decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Remove these.
    pub remove: Vec<ObjectName>,
    /// What the next sweep gets as `before`.
    pub candidates: Candidates,
}

/// Decides about every listed object; `before` are the candidates of the sweep before. An object
/// that is held back once starts over.
pub fn sweep(
    view: &View<'_>,
    listed: impl IntoIterator<Item = Listed>,
    before: &Candidates,
) -> Decision {
    let mut decision = Decision::default();
    for object in listed {
        if !view.is_free(object) {
            continue;
        }
        match before.get(&object.name) {
            Some(since) if view.now.since(*since) >= COLLECT_GAP => {
                decision.remove.push(object.name);
            }
            Some(since) => {
                decision.candidates.insert(object.name, *since);
            }
            None if decision.candidates.len() < COLLECT_CANDIDATES => {
                decision.candidates.insert(object.name, view.now);
            }
            None => {}
        }
    }
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ino;
    use proptest::prelude::*;

    fn name(ino: u64, born: u64) -> ObjectName {
        ObjectName { ino: Ino(ino), born, n: 0 }
    }

    const OLD: Duration = COLLECT_GAP;

    fn run(now: BootTime, marks: &[ObjectName], live: u64, before: &Candidates) -> Decision {
        let marks = marks.iter().copied().collect();
        let view = View { now, marks: &marks, lowest_live: live, pinned: &|_| false };
        sweep(&view, [Listed { name: name(1, 5), age: OLD }], before)
    }

    #[test]
    fn free_object_goes_in_the_second_sweep_after_the_gap() {
        let start = BootTime(Duration::from_secs(7));
        let first = run(start, &[], 6, &Candidates::new());
        assert_eq!(first.remove, []);
        let early = run(start + COLLECT_GAP - Duration::from_nanos(1), &[], 6, &first.candidates);
        assert_eq!((early.remove.len(), &early.candidates), (0, &first.candidates));
        let last = run(start + COLLECT_GAP, &[], 6, &early.candidates);
        assert_eq!(last.remove, [name(1, 5)]);
        assert!(last.candidates.is_empty());
    }

    #[test]
    fn object_of_a_live_upload_stays() {
        let late = BootTime(Duration::from_secs(9999));
        let before = Candidates::from([(name(1, 5), BootTime::default())]);
        assert_eq!(run(late, &[], 5, &before), Decision::default());
        assert_eq!(run(late, &[name(1, 5)], 9, &before), Decision::default());
        assert_eq!(run(late, &[], 6, &before).remove.len(), 1);
    }

    #[derive(Clone, Debug)]
    struct Round {
        wait: u64,
        marked: Vec<bool>,
        pinned: Vec<bool>,
        ages: Vec<u64>,
        live: u64,
    }

    const OBJECTS: usize = 6;

    fn round() -> impl Strategy<Value = Round> {
        let flags = || prop::collection::vec(prop::bool::weighted(0.2), OBJECTS);
        let ages = prop::collection::vec(100..2000u64, OBJECTS);
        (0..200u64, flags(), flags(), ages, 3..9u64).prop_map(
            |(wait, marked, pinned, ages, live)| Round { wait, marked, pinned, ages, live },
        )
    }

    proptest! {
        /// An object goes exactly if an unbroken run of sweeps that long found it free.
        #[test]
        fn sweep_removes_what_was_free_throughout(rounds in prop::collection::vec(round(), 1..12)) {
            let mut now = BootTime::default();
            let mut free_since = [None; OBJECTS];
            let mut gone = [false; OBJECTS];
            let mut candidates = Candidates::new();
            for r in rounds {
                now = now + Duration::from_secs(r.wait);
                let marks = (0..OBJECTS).filter(|&i| r.marked[i]).map(|i| name(i as u64, i as u64));
                let marks: Marks = marks.collect();
                let pinned = |n: ObjectName| r.pinned[n.born as usize];
                let view = View { now, marks: &marks, lowest_live: r.live, pinned: &pinned };
                let listed = (0..OBJECTS).filter(|&i| !gone[i]).map(|i| Listed {
                    name: name(i as u64, i as u64),
                    age: Duration::from_secs(r.ages[i]),
                });
                let decision = sweep(&view, listed, &candidates);
                for i in 0..OBJECTS {
                    let free = !r.marked[i] && !r.pinned[i] && (i as u64) < r.live
                        && Duration::from_secs(r.ages[i]) >= COLLECT_GAP;
                    let due = free && free_since[i].is_some_and(|t| now.since(t) >= COLLECT_GAP);
                    let removed = decision.remove.contains(&name(i as u64, i as u64));
                    prop_assert_eq!(removed, due && !gone[i], "object {}", i);
                    gone[i] |= removed;
                    free_since[i] = if free { free_since[i].or(Some(now)) } else { None };
                }
                candidates = decision.candidates;
            }
        }
    }
}
