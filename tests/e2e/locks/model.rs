//! What locks of several processes must do, byte by byte: the rules of fcntl(2) and flock(2).

use super::worker::Order;
use nix::libc;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that are looked at; the last stands for all behind.
pub const BYTES: i64 = 8;

/// By which call a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Process,
    OpenFile,
    Flock,
}

/// Whose locks: a worker's, or those of the file it has open.
pub type Owner = (usize, Kind);

/// Whether locks know of each other, and the byte.
type Byte = (usize, bool, i64);

/// A lock that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub owner: Owner,
    pub file: usize,
    /// None: given back.
    pub exclusive: Option<bool>,
    first: i64,
    last: i64,
}

impl Wish {
    /// What an order of a worker asks for; none if it only closes.
    pub fn of(worker: usize, order: Order) -> Option<Wish> {
        match order {
            Order::Record { command, file, kind, start, len } => {
                let open_file = [libc::F_OFD_SETLK, libc::F_OFD_SETLKW].contains(&command);
                let owner = (worker, if open_file { Kind::OpenFile } else { Kind::Process });
                let exclusive = (kind != libc::F_UNLCK).then_some(kind == libc::F_WRLCK);
                let last = if len == 0 { BYTES } else { start + len - 1 };
                Some(Wish { owner, file, exclusive, first: start, last })
            }
            Order::Flock { file, operation } => {
                let kind = operation & !libc::LOCK_NB;
                let exclusive = (kind != libc::LOCK_UN).then_some(kind == libc::LOCK_EX);
                let owner = (worker, Kind::Flock);
                Some(Wish { owner, file, exclusive, first: 0, last: BYTES })
            }
            Order::Close { .. } => None,
        }
    }

    fn bytes(self) -> impl Iterator<Item = Byte> {
        (self.first..=self.last).map(move |byte| (self.file, self.owner.1 == Kind::Flock, byte))
    }
}

/// Who has what, and who waits.
#[derive(Debug, Default)]
pub struct Model {
    held: BTreeMap<Byte, BTreeMap<Owner, bool>>,
    pub waiting: BTreeMap<usize, Wish>,
}

impl Model {
    /// Whose locks are in the way.
    pub fn against(&self, wish: Wish) -> BTreeSet<Owner> {
        let Some(alone) = wish.exclusive else { return BTreeSet::new() };
        let holders = wish.bytes().filter_map(|byte| self.held.get(&byte)).flatten();
        let others = holders.filter(|(owner, held)| **owner != wish.owner && (alone || **held));
        others.map(|(owner, _)| *owner).collect()
    }

    /// Gives the lock, or takes it back.
    pub fn give(&mut self, wish: Wish) {
        for byte in wish.bytes() {
            let holders = self.held.entry(byte).or_default();
            match wish.exclusive {
                Some(exclusive) => holders.insert(wish.owner, exclusive),
                None => holders.remove(&wish.owner),
            };
        }
    }

    /// A flock whose mode cannot be changed at once is lost.
    pub fn stopped(&mut self, wish: Wish) {
        if wish.owner.1 == Kind::Flock && !self.against(wish).is_empty() {
            self.give(Wish { exclusive: None, ..wish });
        }
    }

    /// The process closed a descriptor of the file.
    pub fn closed(&mut self, worker: usize, file: usize) {
        let of_file = self.held.iter_mut().filter(|((of, ..), _)| *of == file);
        of_file
            .for_each(|(_, holders)| holders.retain(|owner, _| *owner != (worker, Kind::Process)));
    }

    /// The process is gone.
    pub fn gone(&mut self, worker: usize) {
        self.waiting.remove(&worker);
        self.held.values_mut().for_each(|holders| holders.retain(|owner, _| owner.0 != worker));
    }

    /// How others see a byte: the strongest lock on it.
    pub fn seen(&self, file: usize, flock: bool, byte: i64) -> i32 {
        let holders = self.held.get(&(file, flock, byte)).into_iter().flatten();
        let modes: Vec<bool> = holders.map(|(_, exclusive)| *exclusive).collect();
        match (modes.is_empty(), modes.contains(&true)) {
            (true, _) => libc::F_UNLCK,
            (_, true) => libc::F_WRLCK,
            (_, false) => libc::F_RDLCK,
        }
    }

    /// Whether waiting for this closes a circle (Some), if everybody in the chain waits for one owner
    /// only. Linux looks at one of several.
    pub fn circle(&self, wish: Wish) -> Option<bool> {
        let mut steps = 0;
        let mut holder = self.only(wish)?;
        // Nobody is told of a wait for an open file's lock, and an open file is told of none: it waits for
        // locks of one file, and the open file that holds locks of another one is somebody else.
        let of_processes =
            |holder: Owner| [wish.owner, holder].iter().all(|o| o.1 == Kind::Process);
        while of_processes(holder) && steps <= self.waiting.len() {
            if holder == wish.owner {
                return Some(true);
            }
            let waits = self.waiting.get(&holder.0).filter(|w| w.owner == holder);
            let Some(waits) = waits else { return Some(false) };
            holder = self.only(*waits)?;
            steps += 1;
        }
        Some(false)
    }

    fn only(&self, wish: Wish) -> Option<Owner> {
        let against = self.against(wish);
        against.first().copied().filter(|_| against.len() == 1)
    }
}
