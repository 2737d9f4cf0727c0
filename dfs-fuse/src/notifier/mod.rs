//! Telling the kernel what to forget (PROTOCOL 5.3).
//!
//! Two plain threads, so that nothing that can block ever holds up a request or an answer to the
//! server. `quick` sends what never blocks: attributes and the epoch. `slow` sends what may block
//! on locks that running requests hold: entries and pages. When the entries of a batch are not all
//! gone after [`BLOCKED`], `quick` raises the epoch, which makes the kernel revalidate every entry,
//! and the batch counts as done.
//!
//! Lock order: there is one lock, and no notification and no callback runs under it.

mod queue;
mod sink;

pub use sink::{Device, Epoch, Sink};

use dfs_client::kernel::{KernelCache, StaleEntry};
use dfs_core::Ino;
use dfs_core::limits::SOFT_ACK_DELAY;
use dfs_core::range::Range;
use queue::{Done, Queue, SlowJob};
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entry notifications that have not returned after this time are taken for blocked (rule 5).
pub const BLOCKED: Duration = Duration::from_millis(5);

/// The notifier. Before [`Notifier::attach`] the kernel has nothing to forget, so everything is
/// done at once.
pub struct Notifier {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes `quick`.
    quick: Condvar,
    /// Wakes `slow`.
    slow: Condvar,
    sink: std::sync::OnceLock<Box<dyn Sink>>,
}

impl Notifier {
    /// A notifier without a kernel yet.
    pub fn new() -> Arc<Notifier> {
        Arc::new(Notifier {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue::default()),
                quick: Condvar::new(),
                slow: Condvar::new(),
                sink: std::sync::OnceLock::new(),
            }),
            threads: Mutex::default(),
        })
    }

    /// Begins to send to `sink`. Call once, before the first request is served.
    pub fn attach(&self, sink: Box<dyn Sink>) -> std::io::Result<()> {
        if self.shared.sink.set(sink).is_err() {
            return Err(std::io::Error::other("notifier is attached already"));
        }
        let (quick, slow) = (self.shared.clone(), self.shared.clone());
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(spawn("dfs-notify", Box::new(move || quick.run_quick()))?);
        threads.push(spawn("dfs-notify-slow", Box::new(move || slow.run_slow()))?);
        Ok(())
    }

    /// Ends the threads when the mount is gone: what is queued counts as done. Does not wait for
    /// them, as a notification may hang until the kernel has torn the mount down.
    pub fn close(&self) {
        let done = self.shared.lock().close();
        self.shared.quick.notify_one();
        self.shared.slow.notify_one();
        call(done);
    }
}

impl KernelCache for Notifier {
    fn forget_attr(&self, ino: Ino) {
        let Some(sink) = self.shared.sink.get() else { return };
        if self.shared.lock().add_attr(ino) {
            self.shared.quick.notify_one();
        } else {
            // The queue is full. This notification never blocks, so the caller can send it.
            sink.attr(ino);
        }
    }

    /// `done` also waits for every attribute and epoch that was asked for before this call.
    fn forget_entries(
        &self,
        entries: Vec<StaleEntry>,
        listings: Vec<Ino>,
        done: Box<dyn FnOnce() + Send>,
    ) {
        if self.shared.sink.get().is_none() {
            return done();
        }
        let stale = (entries, listings);
        let finished = self.shared.lock().add_batch(stale, done, Instant::now() + BLOCKED);
        self.shared.slow.notify_one();
        self.shared.quick.notify_one();
        call(finished);
    }

    fn forget_pages(&self, ino: Ino, range: Range, done: Box<dyn FnOnce() + Send>) {
        if self.shared.sink.get().is_none() {
            return done();
        }
        let refused = self.shared.lock().add_pages(ino, range, done);
        self.shared.slow.notify_one();
        call(refused.into_iter().collect());
    }

    /// On the thread of the caller.
    fn give_pages(&self, ino: Ino, bytes: &[u8]) -> bool {
        self.shared.sink.get().is_some_and(|sink| sink.give(ino, bytes))
    }

    fn bump_epoch(&self) {
        self.shared.lock().epoch_wanted = true;
        self.shared.quick.notify_one();
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_quick(&self) {
        let Some(sink) = self.sink.get() else { return };
        let mut queue = self.lock();
        while !queue.closed {
            let now = Instant::now();
            let attrs = queue.take_attrs();
            let epoch = queue.take_epoch(now);
            if attrs.is_none() && !epoch && !queue.soft_due(now) {
                let wait = queue.next_deadline().map(|at| at.saturating_duration_since(now));
                queue = match wait {
                    Some(wait) => {
                        let waited = self.quick.wait_timeout(queue, wait);
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.quick.wait(queue).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            }
            drop(queue);
            for ino in attrs.iter().flat_map(BTreeSet::iter) {
                sink.attr(*ino);
            }
            let answer = epoch.then(|| sink.epoch());
            queue = self.lock();
            let mut done = if attrs.is_some() { queue.attrs_sent() } else { Vec::new() };
            match answer {
                Some(Epoch::Raised) => done.append(&mut queue.epoch_raised()),
                Some(Epoch::Unknown) => {
                    let now = Instant::now();
                    done.append(&mut queue.epoch_unknown(now, now + SOFT_ACK_DELAY));
                }
                None => {}
            }
            done.append(&mut queue.take_soft(Instant::now()));
            drop(queue);
            call(done);
            queue = self.lock();
        }
    }

    fn run_slow(&self) {
        let Some(sink) = self.sink.get() else { return };
        let mut queue = self.lock();
        while !queue.closed {
            let Some(job) = queue.take_slow() else {
                queue = self.slow.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            match &job {
                SlowJob::Entry { entry, .. } => sink.entry(entry),
                SlowJob::Listing { dir, .. } => sink.pages(*dir, Range::ALL),
                SlowJob::Pages { ino, range } => sink.pages(*ino, *range),
            }
            let done = self.lock().slow_sent(&job);
            call(done);
            queue = self.lock();
        }
    }
}

fn call(done: Vec<Done>) {
    for done in done {
        done();
    }
}

#[cfg(test)]
mod tests;
