//! Group commit: one thread builds batches from whatever queued while the last batch was made
//! durable (decision D7), and answers each job after its batch.
//!
//! Jobs take effect in the order they were submitted. Submitting never blocks; the queue is bounded
//! by the operations that sessions may have outstanding (`REPLAY_SLOTS`).

use super::numbers::Numbers;
use super::op::{self, Context, Op, Outcome, Txn};
use crate::clock::Clock;
use crate::metastore::{Batch, Durability, MetaStore};
use dfs_core::access::Credentials;
use dfs_core::seq::Sequencer;
use dfs_core::{Code, FsError, OpId, Result, SessionId};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most jobs in one batch.
const GROUP_MAX: usize = 512;
/// In relaxed durability, unflushed batches wait at most this long.
const FLUSH_WITHIN: Duration = Duration::from_millis(10);

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
    /// Nothing: it is done when everything before it survives a power loss.
    Flush,
}

/// What became of a job.
#[derive(Debug, Default)]
pub struct Done {
    /// What the operation did.
    pub outcome: Outcome,
    /// The version drawn by `Work::Version`.
    pub ver: u64,
}

type Callback = Box<dyn FnOnce(Result<Done>) + Send>;

struct Job {
    work: Work,
    done: Callback,
}

/// Handle of the committing thread. Dropping it finishes what is queued and ends the thread.
pub struct Committer {
    queue: Option<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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

impl Committer {
    /// Starts the thread.
    pub fn start(setup: Setup) -> std::io::Result<Committer> {
        let (queue, jobs) = channel();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || Thread { setup, unflushed: false }.run(&jobs))?;
        Ok(Committer { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Queues a job; `done` runs on the committing thread.
    pub fn submit(&self, work: Work, done: impl FnOnce(Result<Done>) + Send + 'static) {
        let job = Job { work, done: Box::new(done) };
        let queue = self.queue.as_ref().expect("queue lives as long as the committer");
        if let Err(refused) = queue.send(job) {
            (refused.0.done)(Err(FsError::new(Code::Io, "the committing thread has ended")));
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().expect("no panic under this lock").take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread panicked");
        }
    }
}

struct Thread {
    setup: Setup,
    unflushed: bool,
}

impl Thread {
    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            let wait = if self.unflushed { FLUSH_WITHIN } else { Duration::from_secs(3600) };
            let first = match jobs.recv_timeout(wait) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            };
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP_MAX - 1));
            self.commit_group(group);
        }
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.unflushed)
            && let Err(error) = self.setup.store.flush()
        {
            tracing::error!(%error, "metadata could not be flushed");
            self.unflushed = true;
        }
    }

    /// Commits jobs together; if that fails, each alone, so that one bad job harms no other.
    fn commit_group(&mut self, group: Vec<Job>) {
        match self.commit(&group) {
            Ok(results) => {
                for (job, done) in group.into_iter().zip(results) {
                    (job.done)(Ok(done));
                }
            }
            Err(error) if group.len() == 1 => {
                for job in group {
                    (job.done)(Err(error.clone()));
                }
            }
            Err(_) => {
                for job in group {
                    self.commit_group(vec![job]);
                }
            }
        }
    }

    fn commit(&mut self, group: &[Job]) -> Result<Vec<Done>> {
        let mut batch = Batch::default();
        let mut durable = self.setup.durability == Durability::Strict;
        let results = group.iter().map(|job| {
            durable |= match &job.work {
                Work::Op { op, .. } => op.durable(),
                Work::Flush => true,
                Work::Rows(_) | Work::Version => false,
            };
            self.effect(&job.work, &mut batch)
        });
        let results = results.collect::<Result<Vec<_>>>();
        // Numbers are given out for good: a power loss must not bring them back.
        durable |= !batch.numbers.is_empty();
        let committed = results.and_then(|results| {
            if !batch.is_empty() {
                let durability = if durable { Durability::Strict } else { Durability::Relaxed };
                let seq = self.setup.seq.lock().expect("no panic under this lock").next();
                self.setup.store.commit(self.setup.epoch, seq, &batch, durability)?;
                // A strict commit flushes everything before it, too.
                self.unflushed = !durable;
            } else if durable && self.unflushed {
                self.setup.store.flush()?;
                self.unflushed = false;
            }
            Ok(results)
        });
        if committed.is_ok() {
            self.setup.numbers.committed();
        }
        committed
    }

    fn effect(&mut self, work: &Work, batch: &mut Batch) -> Result<Done> {
        match work {
            Work::Version => {
                let ver = self.setup.numbers.new_version(batch);
                Ok(Done { ver, ..Done::default() })
            }
            Work::Flush => Ok(Done::default()),
            Work::Rows(rows) => {
                batch.append(rows.clone());
                Ok(Done::default())
            }
            Work::Op { op: work, who, answer } => {
                let cx = Context { who, cookie_key: &self.setup.cookie_key };
                let mut txn = Txn {
                    store: &*self.setup.store,
                    batch,
                    numbers: &mut self.setup.numbers,
                    now: self.setup.clock.wall(),
                };
                let outcome = work.effect(&cx, &mut txn)?;
                if let Some(key) = answer {
                    op::keep_answer(batch, key.sid, key.op, key.done_below, &outcome);
                }
                Ok(Done { outcome, ver: 0 })
            }
        }
    }
}

#[cfg(test)]
mod tests;
