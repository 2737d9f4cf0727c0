//! What the machines decided, on its way to the metadata store: strictly in order.
//!
//! Nothing follows from a record before it and all before it are durable (I3): while a batch is
//! under way the next records wait, and one that fails is tried again before anything behind it.

use super::op;
use crate::metastore::{Batch, LostRow, SessionRow};
use dfs_core::session::{LostItem, OpenSession};
use dfs_core::{BootTime, GrantId, Ino, SessionId};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::oneshot;

/// Pause after a batch failed.
const RETRY: Duration = Duration::from_millis(500);

/// Something to journal, in order; `then` follows when it is durable.
pub struct Record {
    /// What.
    pub fact: Fact,
    /// What follows.
    pub then: Then,
}

/// A fact for the journal.
pub enum Fact {
    /// A session was opened, or its row changed.
    Open(OpenSession),
    /// A session was closed.
    Close(SessionId),
    /// A session lost something.
    Lost(SessionId, LostItem),
    /// Nothing; only the order counts.
    Nothing,
}

/// What follows a record.
pub enum Then {
    /// Nothing.
    Nothing,
    /// The grant table learns that a loss is durable (K11).
    Grant {
        /// The inode.
        ino: Ino,
        /// The grant.
        id: GrantId,
    },
    /// The lock table learns it.
    Locks {
        /// The inode.
        ino: Ino,
        /// Who lost them.
        session: SessionId,
    },
    /// Somebody waits for it.
    Told(oneshot::Sender<()>),
}

/// The records that are not durable yet.
#[derive(Default)]
pub struct Journal {
    waiting: VecDeque<Record>,
    under_way: bool,
    not_before: BootTime,
}

impl Journal {
    /// Adds records behind all others.
    pub fn add(&mut self, records: Vec<Record>) {
        self.waiting.extend(records);
    }

    /// Takes everything that waits, to be committed as one batch; none while a batch is under way
    /// or a failed one must wait.
    pub fn take(&mut self, now: BootTime) -> Option<Vec<Record>> {
        if self.under_way || self.waiting.is_empty() || now < self.not_before {
            return None;
        }
        self.under_way = true;
        Some(self.waiting.drain(..).collect())
    }

    /// The batch taken last is durable.
    pub fn committed(&mut self) {
        self.under_way = false;
    }

    /// The batch taken last failed: it comes before what was added since.
    pub fn failed(&mut self, now: BootTime, records: Vec<Record>) {
        records.into_iter().rev().for_each(|record| self.waiting.push_front(record));
        (self.under_way, self.not_before) = (false, now + RETRY);
    }
}

/// The rows of a batch of records.
pub fn rows_of(records: &[Record]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|record| add_rows(&mut batch, &record.fact));
    batch
}

fn add_rows(batch: &mut Batch, fact: &Fact) {
    match fact {
        Fact::Nothing => {}
        Fact::Open(s) => {
            let row = SessionRow {
                sid: s.sid,
                epoch: s.epoch.0,
                uuid: s.uuid,
                verifier: s.verifier,
                description: s.description.clone(),
                floor: s.floor.0,
                absent: s.absent,
            };
            op::open_session(batch, row);
        }
        Fact::Close(sid) => op::close_session(batch, *sid),
        Fact::Lost(sid, item) => {
            let (ino, fence) = match *item {
                LostItem::Grant { ino, fence } => (ino, Some(fence)),
                LostItem::Locks { ino } => (ino, None),
            };
            op::record_loss(batch, LostRow { sid: *sid, ino, fence });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(sid: u64) -> Record {
        Record { fact: Fact::Close(SessionId(sid)), then: Then::Nothing }
    }

    fn sids(records: &[Record]) -> Vec<u64> {
        let sid = |record: &Record| match record.fact {
            Fact::Close(sid) => sid.0,
            _ => panic!("only closes here"),
        };
        records.iter().map(sid).collect()
    }

    #[test]
    fn regression_failed_record_holds_back_what_follows_it() {
        let (mut journal, start) = (Journal::default(), BootTime::default());
        journal.add(vec![close(1), close(2)]);
        let first = journal.take(start).unwrap();
        journal.add(vec![close(3)]);
        assert!(journal.take(start).is_none(), "a batch is under way");
        journal.failed(start, first);
        assert!(journal.take(start).is_none(), "not at once");
        let again = journal.take(start + RETRY).unwrap();
        assert_eq!(sids(&again), [1, 2, 3]);
        journal.committed();
        assert!(journal.take(start + RETRY).is_none(), "nothing is left");
        journal.add(vec![close(4)]);
        assert_eq!(sids(&journal.take(start + RETRY).unwrap()), [4]);
    }
}
