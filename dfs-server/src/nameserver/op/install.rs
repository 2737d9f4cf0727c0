//! Installing a new version of a file's content: the one place where stripes change.

use super::Txn;
use crate::metastore::{Inode, Read, Stripe};
use dfs_core::attr::Attr;
use dfs_core::extent::{self, Extent, Source};
use dfs_core::hub::Item;
use dfs_core::limits::FILE_SIZE_MAX;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use std::collections::BTreeMap;

/// A change of content: what lies behind `min_size` goes, `changes` are laid over, in order, and
/// the file ends at `size`.
pub(super) struct NewContent {
    /// Smallest size the file had on the way.
    pub min_size: u64,
    /// Size of the new version.
    pub size: u64,
    /// Data inside one stripe each; holes of any length.
    pub changes: Vec<Extent>,
}

impl NewContent {
    /// Bytes below are the same before and after, for a file of `old_size` bytes.
    fn unchanged_below(&self, old_size: u64) -> u64 {
        let changed = self.changes.iter().map(|change| change.range.start).min();
        let same_size = self.size == old_size && self.min_size >= old_size;
        let end = if same_size { u64::MAX } else { old_size.min(self.min_size).min(self.size) };
        changed.unwrap_or(end).min(end)
    }

    /// What others must forget of a file that is now as `row` says.
    pub fn item(&self, row: &Inode) -> Item {
        Item::Data {
            ino: row.attr.ino,
            old_ver: row.attr.content_ver,
            unchanged_below: Some(self.unchanged_below(row.attr.size)),
        }
    }

    /// Writes the stripes and moves version, size and blocks of `row`, which the caller puts.
    pub fn install(&self, txn: &mut Txn<'_>, row: &mut Inode) -> Result<()> {
        let Inode { attr: Attr { ino, size, .. }, unit, .. } = *row;
        let mut stripes = Stripes { ino, unit, size, touched: BTreeMap::new() };
        if self.min_size < row.attr.size {
            stripes.cut(txn, self.min_size)?;
        }
        for changes in self.changes.chunk_by(|one, next| share_stripe(one, next, row.unit)) {
            stripes.overlay(txn, changes)?;
        }
        for (index, touched) in stripes.touched {
            row.attr.blocks += extent::blocks(&touched.stripe);
            row.attr.blocks -= touched.old_blocks;
            let record = (!touched.stripe.is_empty()).then_some(touched.stripe);
            txn.batch.stripes.insert((row.attr.ino, index), record);
        }
        row.attr.size = self.size;
        row.attr.content_ver = txn.numbers.new_ver(txn.batch);
        Ok(())
    }
}

/// `FileTooBig` if a file cannot end at `size`.
pub(super) fn demand_size(size: u64) -> Result<()> {
    if size > FILE_SIZE_MAX {
        return Err(FsError::new(Code::FileTooBig, format!("size of {size} bytes")));
    }
    Ok(())
}

/// Whether two changes are data of the same stripe, one behind the other.
fn share_stripe(one: &Extent, next: &Extent, unit: u64) -> bool {
    one.range.end <= next.range.start
        && one.source != Source::Hole
        && next.source != Source::Hole
        && one.range.start / unit == next.range.start / unit
}

/// The stripes of a file that a change touches.
struct Stripes {
    ino: Ino,
    unit: u64,
    /// Of the file before the change: no stripe behind it has a record.
    size: u64,
    touched: BTreeMap<u64, Touched>,
}

/// A stripe, and the blocks its record had.
#[derive(Default)]
struct Touched {
    old_blocks: u64,
    stripe: Stripe,
}

impl Stripes {
    /// Reads the stripes with bytes in `range` that have a record and are not yet here.
    fn load(&mut self, txn: &Txn<'_>, range: Range) -> Result<()> {
        let (first, last) = self.indexes(range);
        if first * self.unit >= self.size {
            return Ok(());
        }
        for (index, stripe) in txn.view().stripes(self.ino, first, last)? {
            let old_blocks = extent::blocks(&stripe);
            self.touched.entry(index).or_insert(Touched { old_blocks, stripe });
        }
        Ok(())
    }

    /// First and last stripe with bytes in `range`; no file reaches further than its bound.
    fn indexes(&self, range: Range) -> (u64, u64) {
        (range.start / self.unit, (range.end - 1).min(FILE_SIZE_MAX) / self.unit)
    }

    /// Cuts everything behind `size`.
    fn cut(&mut self, txn: &Txn<'_>, size: u64) -> Result<()> {
        self.load(txn, Range::new(size, u64::MAX))?;
        for touched in self.touched.values_mut() {
            touched.stripe = extent::cut(&touched.stripe, size);
        }
        Ok(())
    }

    /// Lays changes over: data of one stripe, or one hole. A hole only touches stripes that have a
    /// record: it may span more stripes than could ever be visited.
    fn overlay(&mut self, txn: &Txn<'_>, changes: &[Extent]) -> Result<()> {
        let range = Range::new(changes[0].range.start, changes[changes.len() - 1].range.end);
        let (first, last) = self.indexes(range);
        if changes[0].source == Source::Hole {
            self.load(txn, range)?;
        } else {
            assert_eq!(first, last, "data lies in one stripe");
            if !self.touched.contains_key(&first) {
                self.load(txn, range)?;
                self.touched.entry(first).or_default();
            }
        }
        for (_, touched) in self.touched.range_mut(first..=last) {
            touched.stripe = extent::overlay(&touched.stripe, changes);
        }
        Ok(())
    }
}
