//! Group commit: batches are built from whatever queued while the last batch was made durable
//! (decision D7), and each job is answered after its batch.
//!
//! Jobs take effect in the order they were queued. Queueing never blocks; the queue is bounded by the
//! operations that sessions may have outstanding (`REPLAY_SLOTS`).
//!
//! A thread of its own commits. But a lone change, when every call that is there has been read, is
//! committed by the thread that answers calls: it then waits for no other one, unless the disk has
//! lately been slow (`docs/design/0019`).

mod batches;

use super::numbers::Numbers;
use super::op::{Op, Outcome};
use crate::clock::Clock;
use crate::metastore::{Batch, Durability, MetaStore};
use batches::Batches;
use dfs_core::access::Credentials;
use dfs_core::seq::Sequencer;
use dfs_core::{OpId, Result, SessionId};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most jobs in one batch.
const GROUP_MAX: usize = 512;
/// In relaxed durability, unflushed batches wait at most this long.
const FLUSH_WITHIN: Duration = Duration::from_millis(10);
/// A batch that took longer says that the disk is slow.
const SLOW: Duration = Duration::from_millis(20);
/// A disk that was slow is not waited for by the thread that answers calls for so long.
const AVOID: Duration = Duration::from_secs(5);

/// Under which operation number an answer is kept.
#[derive(Clone, Copy, Debug)]
pub struct AnswerKey {
    /// The session.
    pub sid: SessionId,
    /// The operation.
    pub op: OpId,
    /// Answers below are received.
    pub done_below: OpId,
}

/// Something to make durable.
pub enum Work {
    /// The effect of an operation, with its answer.
    Op {
        /// The operation; its checks have passed and its intents are held.
        op: Arc<dyn Op>,
        /// Who asked.
        who: Credentials,
        /// Where its answer is kept.
        answer: Option<AnswerKey>,
    },
    /// Rows that depend on nothing.
    Rows(Batch),
    /// A new version number.
    Version,
    /// So many inode numbers that follow each other.
    Inos(u32),
    /// Nothing: it is done when everything before it survives a power loss.
    Flush,
}

/// What became of a job.
#[derive(Debug, Default)]
pub struct Done {
    /// What the operation did.
    pub outcome: Outcome,
    /// The (first) number drawn by `Work::Version` or `Work::Inos`.
    pub number: u64,
}

type Callback = Box<dyn FnOnce(Result<Done>) + Send>;

/// Work that waits for its batch.
struct Job {
    work: Work,
    done: Callback,
}

/// What the committing thread works with.
pub struct Setup {
    /// Where batches go.
    pub store: Arc<dyn MetaStore>,
    /// Inode and version numbers.
    pub numbers: Numbers,
    /// The order of all events.
    pub seq: Arc<Mutex<Sequencer>>,
    /// For file times.
    pub clock: Arc<dyn Clock>,
    /// Leader epoch of this server.
    pub epoch: u16,
    /// Key of the directory cookies.
    pub cookie_key: [u8; 16],
    /// When commits are answered.
    pub durability: Durability,
}

/// The queue, and the thread that sees to it that it is emptied. Dropping it finishes what is queued
/// and ends the thread.
pub struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// The thread waits here.
    due: Condvar,
    batches: Mutex<Batches>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The thread is to look.
    wanted: bool,
    closed: bool,
    /// It looks in time for the flush of what is unflushed.
    watching: bool,
    /// Until then every batch is the thread's.
    slow_until: Option<Instant>,
}

impl Committer {
    /// Starts the thread.
    pub fn start(setup: Setup) -> std::io::Result<Committer> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            due: Condvar::new(),
            batches: Mutex::new(Batches::new(setup)),
        });
        let its = shared.clone();
        let thread =
            std::thread::Builder::new().name("committer".into()).spawn(move || its.run())?;
        Ok(Committer { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a job; `done` runs on the thread that commits it.
    pub fn submit(&self, work: Work, done: impl FnOnce(Result<Done>) + Send + 'static) {
        drop(self.enqueue(work, done));
    }

    /// Queues a job whose submitter waits for it: it keeps its place in the queue from now on, and is
    /// committed by [`Turn::take`].
    pub fn enqueue(
        &self,
        work: Work,
        done: impl FnOnce(Result<Done>) + Send + 'static,
    ) -> Turn<'_> {
        self.shared.queue().jobs.push_back(Job { work, done: Box::new(done) });
        Turn { shared: &self.shared, taken: false }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.due.notify_one();
        let thread = self.thread.lock().expect("no panic under this lock").take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread panicked");
        }
    }
}

/// A queued job. The committing thread takes it if this is dropped.
pub struct Turn<'a> {
    shared: &'a Shared,
    taken: bool,
}

impl Turn<'_> {
    /// When every task that can run has run, commits what is queued if it is a lone job; else the
    /// thread does. Blocks for one commit, so no lock may be held that a job's `done` takes.
    pub async fn take(mut self) {
        if self.shared.queue().is_prompt() {
            tokio::task::yield_now().await;
            self.taken = true;
            self.shared.help();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.shared.want();
        }
    }
}

impl Queue {
    fn is_prompt(&self) -> bool {
        self.slow_until.is_none_or(|until| Instant::now() >= until)
    }

    fn group(&mut self) -> Vec<Job> {
        let count = self.jobs.len().min(GROUP_MAX);
        self.jobs.drain(..count).collect()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panic under this lock")
    }

    /// Tells the thread to look.
    fn want(&self) {
        self.queue().wanted = true;
        self.due.notify_one();
    }

    /// Commits a lone job here. Of several the thread takes care: calls can be read meanwhile.
    fn help(&self) {
        if self.queue().jobs.len() != 1 {
            return self.want();
        }
        let mut batches = match self.batches.try_lock() {
            Ok(batches) => batches,
            // The thread is at it, or another helper that leaves the rest to it.
            Err(TryLockError::WouldBlock) => return self.want(),
            Err(TryLockError::Poisoned(_)) => panic!("no panic under this lock"),
        };
        self.commit(&mut batches);
        let unflushed = batches.unflushed.is_some();
        drop(batches);
        let is_wanted = {
            let queue = self.queue();
            unflushed && !queue.watching || !queue.jobs.is_empty()
        };
        if is_wanted {
            self.want();
        }
    }

    /// Commits one batch; false if nothing was queued.
    fn commit(&self, batches: &mut Batches) -> bool {
        let group = self.queue().group();
        if group.is_empty() {
            return false;
        }
        let begun = Instant::now();
        batches.commit_group(group);
        let ended = Instant::now();
        if ended - begun > SLOW {
            self.queue().slow_until = Some(ended + AVOID);
        }
        true
    }

    /// The thread.
    fn run(&self) {
        loop {
            let unflushed = self.batches().unflushed;
            let closed = self.wait(unflushed.map(|since| since + FLUSH_WITHIN));
            let mut batches = self.batches();
            while self.commit(&mut batches) {}
            if closed || batches.unflushed.is_some_and(|since| since.elapsed() >= FLUSH_WITHIN) {
                batches.flush();
            }
            if closed {
                return;
            }
        }
    }

    /// Waits until the thread is wanted, at most until `until`. True: all ends.
    fn wait(&self, until: Option<Instant>) -> bool {
        let idle = |queue: &mut Queue| !queue.wanted && !queue.closed;
        let (mut queue, due) = (self.queue(), &self.due);
        queue.watching = until.is_some();
        let waited = match until {
            None => due.wait_while(queue, idle),
            Some(until) => {
                let limit = until.saturating_duration_since(Instant::now());
                let waited = due.wait_timeout_while(queue, limit, idle);
                Ok(waited.expect("no panic under this lock").0)
            }
        };
        let mut queue = waited.expect("no panic under this lock");
        queue.wanted = false;
        queue.watching = false;
        queue.closed
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().expect("no panic under this lock")
    }
}

#[cfg(test)]
mod tests;
