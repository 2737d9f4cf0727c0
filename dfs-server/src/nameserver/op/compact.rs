//! Replaces a part of one stripe's record by one object with the same bytes (PROTOCOL 4.2
//! "Compaction"). Content and version stay, so nobody has to forget anything.

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict};
use crate::metastore::{Read, Stripe};
use crate::nameserver::resolve;
use dfs_core::extent::{self, ObjectName};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Compact {
    /// File.
    pub ino: Ino,
    /// Index of the stripe.
    pub index: u64,
    /// The part of the record that was rewritten. What of it was written again since stays as it is
    /// now; if that is all of it, `StaleVersion`: else a writer who never rests would never be
    /// compacted.
    pub read: Stripe,
    /// The object with the bytes from the start of the first extent to the end of the last, holes
    /// between them as zeros.
    pub object: ObjectName,
}

impl Compact {
    /// The record as it is, and as it becomes.
    fn records(&self, view: &dyn Read) -> Result<(Stripe, Stripe)> {
        let mut found = view.stripes(self.ino, self.index, self.index)?;
        let now = found.pop().map(|(_, stripe)| stripe).unwrap_or_default();
        let size = resolve::inode(view, self.ino)?.attr.size;
        let new = extent::cut(&extent::replace(&now, &self.read, self.object), size);
        if new != now {
            return Ok((now, new));
        }
        let text = format!("stripe {} of inode {} moved on", self.index, self.ino);
        Err(FsError::new(Code::StaleVersion, text))
    }
}

impl Op for Compact {
    fn verb(&self) -> &'static str {
        "compact"
    }

    fn grows(&self) -> bool {
        false
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.ino).done())
    }

    fn check(&self, _: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        self.records(view)?;
        Ok(Verdict::Change(Vec::new()))
    }

    fn effect(&self, _: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        // It runs without intents, so that it delays no writer: only the record decides.
        let (now, record) = self.records(&txn.view())?;
        let mut row = txn.inode(self.ino)?;
        // Filled holes take space; that is no change of the file, so `attr_ver` stays.
        row.attr.blocks += extent::blocks(&record);
        row.attr.blocks -= extent::blocks(&now);
        let object = Some(row.attr.clone());
        txn.put(row);
        txn.batch.stripes.insert((self.ino, self.index), Some(record));
        Ok(Outcome { object, ..Outcome::default() })
    }
}
