//! What the notifier has to send, as plain state: no clock, no thread, no kernel.
//!
//! Bounds: attributes and pages are sets of inodes, each at most [`INODES`] large; batches hold
//! at most [`ENTRIES`] entries together, and as many listings. Beyond that attributes are sent by the
//! caller, entries and listings are covered by an epoch raised at once, and pages are left to the next
//! open (PROTOCOL 5.3 rule 7).

use dfs_client::kernel::StaleEntry;
use dfs_core::Ino;
use dfs_core::limits::PUSH_QUEUE;
use dfs_core::range::Range;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Most inodes in one of the sets.
const INODES: usize = PUSH_QUEUE;
/// Most entries that wait, and most listings.
const ENTRIES: usize = PUSH_QUEUE;

/// Called when a batch is done.
pub type Done = Box<dyn FnOnce() + Send>;

/// One notification that may block.
#[derive(Debug)]
pub enum SlowJob {
    /// Forget a name.
    Entry { batch: u64, entry: StaleEntry },
    /// Forget the cached listing of a directory, after its names.
    Listing { batch: u64, dir: Ino },
    /// Forget pages.
    Pages { ino: Ino, range: Range },
}

struct Batch {
    number: u64,
    /// Still to send.
    entries: VecDeque<StaleEntry>,
    /// Directories of the entries, and others, sent after them.
    dirs: BTreeSet<Ino>,
    /// One of them is being sent.
    busy: bool,
    /// Not done before the epoch is raised: it was asked for before, or there was no room for the
    /// entries.
    needs_epoch: bool,
    /// Round of attributes this batch waits for.
    round: u64,
    /// When the epoch stands in for what was not sent.
    deadline: Instant,
    /// Without epoch: when it counts as done all the same.
    soft: Option<Instant>,
    /// Taken when done.
    done: Option<Done>,
}

/// The queue. See the module for its bounds.
#[derive(Default)]
pub struct Queue {
    attrs: BTreeSet<Ino>,
    /// Rounds of attributes taken so far, and sent so far.
    rounds_taken: u64,
    rounds_sent: u64,
    /// Somebody asked for the epoch.
    pub epoch_wanted: bool,
    /// It is being raised.
    epoch_busy: bool,
    /// The kernel knows no epoch.
    no_epoch: bool,
    batches: VecDeque<Batch>,
    next_batch: u64,
    /// Batches below this number are covered by the epoch taken last.
    epoch_covers: u64,
    entries: usize,
    listings: usize,
    pages: BTreeMap<Ino, (Range, Vec<Done>)>,
    /// Who waits for the pages that are being dropped now.
    pages_busy: Vec<Done>,
    /// The mount is gone.
    pub closed: bool,
}

impl Queue {
    /// Adds an inode whose attributes to forget; false if there is no room.
    pub fn add_attr(&mut self, ino: Ino) -> bool {
        let room = self.attrs.len() < INODES || self.attrs.contains(&ino);
        if room && !self.closed {
            self.attrs.insert(ino);
        }
        room
    }

    /// Adds a batch of entries and listings. Returns what is done already.
    pub fn add_batch(
        &mut self,
        (entries, listings): (Vec<StaleEntry>, Vec<Ino>),
        done: Done,
        deadline: Instant,
    ) -> Vec<Done> {
        if self.closed {
            return vec![done];
        }
        let mut batch = Batch {
            number: self.next_batch,
            dirs: entries.iter().map(|entry| entry.dir).chain(listings).collect(),
            entries: entries.into(),
            busy: false,
            needs_epoch: self.epoch_wanted || self.epoch_busy,
            round: self.rounds_taken + u64::from(!self.attrs.is_empty()),
            deadline,
            soft: None,
            done: Some(done),
        };
        let is_full = self.entries + batch.entries.len() > ENTRIES
            || self.listings + batch.dirs.len() > ENTRIES;
        if is_full {
            // Without epoch the kernel's own lifetimes end what is dropped here.
            tracing::warn!(epoch = !self.no_epoch, "too many entry notifications wait");
            batch.clear();
            batch.needs_epoch = !self.no_epoch;
        }
        self.epoch_wanted |= batch.needs_epoch;
        self.entries += batch.entries.len();
        self.listings += batch.dirs.len();
        self.next_batch += 1;
        self.batches.push_back(batch);
        self.take_done()
    }

    /// Adds pages to forget; what lies between two ranges goes with them. Gives `done` back if there is no room, or no mount.
    pub fn add_pages(&mut self, ino: Ino, range: Range, done: Done) -> Option<Done> {
        if self.closed {
            return Some(done);
        }
        if self.pages.len() >= INODES && !self.pages.contains_key(&ino) {
            tracing::warn!(inode = %ino, "too many page notifications wait, this one is dropped");
            return Some(done);
        }
        let (pages, waiting) = self.pages.entry(ino).or_insert((range, Vec::new()));
        *pages = Range::new(range.start.min(pages.start), range.end.max(pages.end));
        waiting.push(done);
        None
    }

    /// Takes all attributes, if there are any.
    pub fn take_attrs(&mut self) -> Option<BTreeSet<Ino>> {
        if self.attrs.is_empty() {
            return None;
        }
        self.rounds_taken += 1;
        Some(std::mem::take(&mut self.attrs))
    }

    /// The attributes taken last were sent. Returns what is done by that.
    pub fn attrs_sent(&mut self) -> Vec<Done> {
        self.rounds_sent = self.rounds_taken;
        self.take_done()
    }

    /// Takes the wish for an epoch: of a caller, or because a batch is late.
    pub fn take_epoch(&mut self, now: Instant) -> bool {
        self.epoch_covers = self.next_batch;
        let late = self.batches.iter().any(|b| b.late(now));
        self.epoch_busy = std::mem::take(&mut self.epoch_wanted) || late;
        self.epoch_busy
    }

    /// The epoch was raised. It covers every entry that was queued when it was taken; what came
    /// later may name lookups that began after it.
    pub fn epoch_raised(&mut self) -> Vec<Done> {
        let covers = self.epoch_covers;
        self.epoch_busy = false;
        for batch in self.batches.iter_mut().filter(|b| b.number < covers) {
            self.entries -= batch.entries.len();
            self.listings -= batch.dirs.len();
            batch.clear();
        }
        self.take_done()
    }

    /// The kernel has no epoch: batches that are late count as done at `soft`, and go on.
    pub fn epoch_unknown(&mut self, now: Instant, soft: Instant) -> Vec<Done> {
        (self.no_epoch, self.epoch_busy) = (true, false);
        for batch in self.batches.iter_mut().filter(|b| b.late(now)) {
            batch.soft = Some(soft);
            batch.needs_epoch = false;
        }
        self.take_done()
    }

    /// Whether a soft deadline has passed.
    pub fn soft_due(&self, now: Instant) -> bool {
        self.batches.iter().any(|b| b.done.is_some() && b.soft.is_some_and(|at| at <= now))
    }

    /// Takes the batches whose soft deadline has passed; their entries are still sent.
    pub fn take_soft(&mut self, now: Instant) -> Vec<Done> {
        let due = |b: &&mut Batch| b.soft.is_some_and(|at| at <= now);
        self.batches.iter_mut().filter(due).filter_map(|b| b.done.take()).collect()
    }

    /// When `quick` must look again.
    pub fn next_deadline(&self) -> Option<Instant> {
        let open = self.batches.iter().filter(|b| b.done.is_some());
        open.filter(|b| b.soft.is_some() || !b.sent()).map(|b| b.soft.unwrap_or(b.deadline)).min()
    }

    /// Takes the next notification that may block: entries first, somebody waits for them.
    pub fn take_slow(&mut self) -> Option<SlowJob> {
        for batch in self.batches.iter_mut().filter(|b| !b.busy) {
            let number = batch.number;
            if let Some(entry) = batch.entries.pop_front() {
                batch.busy = true;
                self.entries -= 1;
                return Some(SlowJob::Entry { batch: number, entry });
            }
            if let Some(dir) = batch.dirs.pop_first() {
                batch.busy = true;
                self.listings -= 1;
                return Some(SlowJob::Listing { batch: number, dir });
            }
        }
        let (ino, (range, waiting)) = self.pages.pop_first()?;
        self.pages_busy = waiting;
        Some(SlowJob::Pages { ino, range })
    }

    /// A notification has returned. Returns what is done by that.
    pub fn slow_sent(&mut self, job: &SlowJob) -> Vec<Done> {
        if let SlowJob::Entry { batch, .. } | SlowJob::Listing { batch, .. } = job
            && let Some(found) = self.batches.iter_mut().find(|b| b.number == *batch)
        {
            found.busy = false;
        }
        let mut done = self.take_done();
        if let SlowJob::Pages { .. } = job {
            done.append(&mut self.pages_busy);
        }
        done
    }

    /// Gives up: everything queued counts as done.
    pub fn close(&mut self) -> Vec<Done> {
        self.closed = true;
        self.attrs.clear();
        let mut done = std::mem::take(&mut self.pages_busy);
        done.extend(std::mem::take(&mut self.pages).into_values().flat_map(|(_, waiting)| waiting));
        done.extend(self.batches.drain(..).filter_map(|batch| batch.done));
        done
    }

    fn take_done(&mut self) -> Vec<Done> {
        let sent = self.rounds_sent;
        let mut done = Vec::new();
        self.batches.retain_mut(|batch| {
            let open = !batch.sent() || batch.round > sent;
            if !open {
                done.extend(batch.done.take());
            }
            open
        });
        done
    }
}

impl Batch {
    /// Whether none of its notifications is left.
    fn sent(&self) -> bool {
        self.entries.is_empty() && self.dirs.is_empty() && !self.busy && !self.needs_epoch
    }

    /// Whether the epoch must stand in for it.
    fn late(&self, now: Instant) -> bool {
        self.soft.is_none() && !self.sent() && (self.needs_epoch || self.deadline <= now)
    }

    /// Nothing is left to send.
    fn clear(&mut self) {
        self.entries.clear();
        self.dirs.clear();
        self.busy = false;
        self.needs_epoch = false;
    }
}
