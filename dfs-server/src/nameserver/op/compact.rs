//! Replaces the record of one stripe by one object with the same bytes (PROTOCOL 4.2
//! "Compaction"). Content and version stay, so nobody has to forget anything.

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict};
use crate::metastore::{Read, Stripe};
use crate::nameserver::resolve;
use dfs_core::extent::{self, Extent, ObjectName, Source};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Compact {
    /// File.
    pub ino: Ino,
    /// Index of the stripe.
    pub index: u64,
    /// The record that was rewritten; if it is another by now, `StaleVersion`.
    pub read: Stripe,
    /// The object with the bytes from the start of the first extent to the end of the last, holes
    /// between them as zeros.
    pub object: ObjectName,
}

impl Compact {
    /// The new record.
    fn record(&self) -> Result<Stripe> {
        let (Some(first), Some(last)) = (self.read.first(), self.read.last()) else {
            return Err(FsError::new(Code::Invalid, "a hole needs no compaction"));
        };
        let range = Range::new(first.range.start, last.range.end);
        Ok(vec![Extent { range, source: Source::Object(self.object, 0) }])
    }

    /// `StaleVersion` unless the record is the one that was read.
    fn still_current(&self, view: &dyn Read) -> Result<()> {
        let now = view.stripes(self.ino, self.index, self.index)?;
        if now.first().map(|(_, stripe)| stripe) == Some(&self.read) {
            return Ok(());
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
        resolve::inode(view, self.ino)?;
        self.record()?;
        self.still_current(view)?;
        Ok(Verdict::Change(Vec::new()))
    }

    fn effect(&self, _: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        // It runs without intents, so that it delays no writer: only the record decides.
        self.still_current(&txn.view())?;
        let record = self.record()?;
        let mut row = txn.inode(self.ino)?;
        // Filled holes take space; that is no change of the file, so `attr_ver` stays.
        row.attr.blocks += extent::blocks(&record);
        row.attr.blocks -= extent::blocks(&self.read);
        let object = Some(row.attr.clone());
        txn.put(row);
        txn.batch.stripes.insert((self.ino, self.index), Some(record));
        Ok(Outcome { object, ..Outcome::default() })
    }
}
