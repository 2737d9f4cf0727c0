//! Changes the size of a file, and attributes with it (truncate(2)): a commit without extents.

use super::install::{NewContent, demand_size};
use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, attributes};
use crate::metastore::{Inode, Read};
use crate::nameserver::resolve;
use dfs_core::attr::SetAttr;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::{Ino, Result};

/// See the module. A size that is already there changes times only, no version.
#[derive(Clone, Debug)]
pub struct Truncate {
    /// File. A directory fails with `IsDirectory`, anything else with `Invalid`.
    pub ino: Ino,
    /// New size in bytes; over 2^63-1 fails with `FileTooBig`.
    pub size: u64,
    /// Other changes that ride along; its size is not used.
    pub set: SetAttr,
    /// Permission to write was checked when the handle was opened (ftruncate(2)).
    pub opened: bool,
}

impl Truncate {
    /// The changes with the size among them, so that permission to write is asked for.
    fn whole(&self) -> SetAttr {
        SetAttr { size: Some(self.size), ..self.set }
    }

    /// The content change, if there is one.
    fn content(&self, row: &Inode) -> Option<NewContent> {
        let min_size = self.size.min(row.attr.size);
        (self.size != row.attr.size).then(|| NewContent {
            min_size,
            size: self.size,
            changes: Vec::new(),
        })
    }
}

impl Op for Truncate {
    fn verb(&self) -> &'static str {
        "truncate"
    }

    fn grows(&self) -> bool {
        false
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let row = resolve::inode(view, self.ino)?;
        resolve::demand_file(&row.attr)?;
        attributes::permit(cx, view, &row.attr, &self.whole(), self.opened)?;
        demand_size(self.size)?;
        let item = match self.content(&row) {
            Some(content) => content.item(&row),
            None => Item::Attr { ino: self.ino },
        };
        Ok(Verdict::Change(vec![item]))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let mut row = txn.inode(self.ino)?;
        if let Some(content) = self.content(&row) {
            content.install(txn, &mut row)?;
        }
        row.attr.mtime = txn.now;
        attributes::change(cx, txn, &mut row, &self.set, true)?;
        let object = txn.put_changed(row);
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
