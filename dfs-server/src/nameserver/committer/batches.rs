//! Batches of jobs: one transaction of the store for each.

use super::{Done, Job, Setup, Work};
use crate::metastore::{Batch, Durability};
use crate::nameserver::op::{self, Allocate, Context, Flush, Txn};
use dfs_core::Result;
use std::time::Instant;

/// Who holds this commits.
pub(super) struct Batches {
    setup: Setup,
    /// Since when there are commits that a power loss would undo.
    pub(super) unflushed: Option<Instant>,
}

impl Batches {
    pub(super) fn new(setup: Setup) -> Batches {
        Batches { setup, unflushed: None }
    }

    /// Makes everything committed so far survive a power loss.
    pub(super) fn flush(&mut self) {
        if self.unflushed.is_none() {
            return;
        }
        let failed = self.setup.store.flush().err();
        if let Some(error) = &failed {
            tracing::error!(%error, "metadata could not be flushed");
        }
        self.unflushed = failed.map(|_| Instant::now());
    }

    /// Commits jobs together; if that fails, each alone, so that one bad job harms no other.
    pub(super) fn commit_group(&mut self, group: Vec<Job>) {
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
        let strict = self.setup.durability == Durability::Strict;
        let mut durable = false;
        let results = group.iter().map(|job| {
            durable |= match &job.work {
                Work::Op { op, .. } => match op.flush() {
                    Flush::Always => true,
                    Flush::AsSet => strict,
                    Flush::Later => false,
                },
                Work::Flush => true,
                Work::Rows(_) => strict,
                // Their record, if there is one, is (below).
                Work::Version | Work::Inos(_) => false,
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
                self.unflushed = match durable {
                    true => None,
                    false => self.unflushed.or_else(|| Some(Instant::now())),
                };
            } else if durable && self.unflushed.is_some() {
                self.setup.store.flush()?;
                self.unflushed = None;
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
                let number = self.setup.numbers.new_version(batch);
                Ok(Done { number, ..Done::default() })
            }
            Work::Inos(count) => {
                let first = self.setup.numbers.new_ino(batch).0;
                for _ in 1..*count {
                    self.setup.numbers.new_ino(batch);
                }
                Ok(Done { number: first, ..Done::default() })
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
                Ok(Done { outcome, number: 0 })
            }
        }
    }
}
