//! A batch of row changes, and a view of the store with a batch laid over it.

use super::Read;
use super::rows::{Dentry, Inode, LostRow, SessionRow, Stripe, check_stripe};
use dfs_core::{Ino, OpId, Result, SessionId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Row changes that become visible and durable together. `None` deletes the row. A later change of
/// the same row replaces the earlier one. What the batch forgets stays forgotten, also if the same
/// batch adds to it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Inodes.
    pub inodes: BTreeMap<Ino, Option<Inode>>,
    /// Directory entries by directory and cookie.
    pub dentries: BTreeMap<(Ino, u64), Option<Dentry>>,
    /// Extended attributes.
    pub xattrs: BTreeMap<(Ino, Vec<u8>), Option<Vec<u8>>>,
    /// Stripes by inode and index.
    pub stripes: BTreeMap<(Ino, u64), Option<Stripe>>,
    /// Open sessions.
    pub sessions: BTreeMap<SessionId, Option<SessionRow>>,
    /// Losses to record.
    pub lost: BTreeSet<LostRow>,
    /// Sessions whose losses and answers are forgotten.
    pub forget_sessions: BTreeSet<SessionId>,
    /// Answers to keep.
    pub answers: BTreeMap<(SessionId, OpId), Vec<u8>>,
    /// Answers below this number are forgotten.
    pub answers_done: BTreeMap<SessionId, OpId>,
    /// Numbers of the configuration table.
    pub numbers: BTreeMap<Cow<'static, str>, u64>,
}

impl Batch {
    /// Adds the changes of `later`, which win where both change the same row.
    pub fn append(&mut self, later: Batch) {
        self.inodes.extend(later.inodes);
        self.dentries.extend(later.dentries);
        self.xattrs.extend(later.xattrs);
        self.stripes.extend(later.stripes);
        self.sessions.extend(later.sessions);
        self.lost.extend(later.lost);
        self.forget_sessions.extend(later.forget_sessions);
        self.answers.extend(later.answers);
        for (sid, first_kept) in later.answers_done {
            let kept = self.answers_done.entry(sid).or_default();
            *kept = first_kept.max(*kept);
        }
        self.numbers.extend(later.numbers);
    }

    /// Whether `later` can be [appended](Batch::append) though it comes later: it adds nothing of what
    /// is forgotten here.
    pub(super) fn takes(&self, later: &Batch) -> bool {
        let forgotten = |sid| self.forget_sessions.contains(sid);
        !later.answers.keys().any(|(sid, op)| self.forgets(*sid, *op))
            && !later.lost.iter().any(|row| forgotten(&row.sid))
    }

    /// Leaves out the answers of these sessions that the batch forgets.
    pub(super) fn prune<'a>(&mut self, sids: impl IntoIterator<Item = &'a SessionId>) {
        for &sid in sids {
            let of_session = self.answers.range((sid, OpId(0))..=(sid, OpId(u64::MAX)));
            let forgotten = of_session.map(|(key, _)| *key).filter(|key| self.forgets(sid, key.1));
            for key in forgotten.collect::<Vec<_>>() {
                self.answers.remove(&key);
            }
        }
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty()
            && self.dentries.is_empty()
            && self.xattrs.is_empty()
            && self.stripes.is_empty()
            && self.sessions.is_empty()
            && self.lost.is_empty()
            && self.forget_sessions.is_empty()
            && self.answers.is_empty()
            && self.answers_done.is_empty()
            && self.numbers.is_empty()
    }

    /// Refuses rows that no store may hold, with `Invalid`. Such a row is a fault of the caller.
    pub(super) fn check(&self) -> Result<()> {
        for ((ino, index), stripe) in &self.stripes {
            if let Some(stripe) = stripe {
                check_stripe(*ino, *index, stripe)?;
            }
        }
        Ok(())
    }

    /// Whether the answer of this operation is forgotten.
    pub(super) fn forgets(&self, sid: SessionId, op: OpId) -> bool {
        self.forget_sessions.contains(&sid)
            || self.answers_done.get(&sid).is_some_and(|first_kept| op < *first_kept)
    }
}

/// The store as it will be when `batch` is committed.
pub struct Overlay<'a> {
    /// The store, perhaps with other batches over it.
    pub store: &'a dyn Read,
    /// What is laid over it.
    pub batch: &'a Batch,
}

impl Read for Overlay<'_> {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        match self.batch.inodes.get(&ino) {
            Some(row) => Ok(row.clone()),
            None => self.store.inode(ino),
        }
    }

    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        if first > last {
            return Ok(Vec::new());
        }
        let over: Vec<_> = self.batch.dentries.range((dir, first)..=(dir, last)).collect();
        // Each row laid over can hide at most one row of the store.
        let below = self.store.dentries(dir, first, last, limit.saturating_add(over.len()))?;
        let mut rows: BTreeMap<u64, Dentry> = below.into_iter().map(|d| (d.cookie, d)).collect();
        for ((_, cookie), row) in over {
            match row {
                Some(row) => rows.insert(*cookie, row.clone()),
                None => rows.remove(cookie),
            };
        }
        Ok(rows.into_values().take(limit).collect())
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows: BTreeMap<_, _> = self.store.xattrs(ino)?.into_iter().collect();
        let from = (ino, Vec::new());
        for ((_, name), value) in self.batch.xattrs.range(from..).take_while(|r| r.0.0 == ino) {
            match value {
                Some(value) => rows.insert(name.clone(), value.clone()),
                None => rows.remove(name),
            };
        }
        Ok(rows.into_iter().collect())
    }

    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        if first > last {
            return Ok(Vec::new());
        }
        let mut rows: BTreeMap<_, _> = self.store.stripes(ino, first, last)?.into_iter().collect();
        for ((_, index), stripe) in self.batch.stripes.range((ino, first)..=(ino, last)) {
            match stripe {
                Some(stripe) => rows.insert(*index, stripe.clone()),
                None => rows.remove(index),
            };
        }
        Ok(rows.into_iter().collect())
    }

    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        if self.batch.forgets(sid, op) {
            return Ok(None);
        }
        match self.batch.answers.get(&(sid, op)) {
            Some(answer) => Ok(Some(answer.clone())),
            None => self.store.answer(sid, op),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        match self.batch.numbers.get(name) {
            Some(number) => Ok(Some(*number)),
            None => self.store.number(name),
        }
    }
}
