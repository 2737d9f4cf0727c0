//! Changes mode, owner, group and times (chmod(2), chown(2), utimensat(2)). A new size is content
//! and goes through `Truncate`.

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, attributes};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::attr::SetAttr;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct SetAttributes {
    /// Inode, with or without names.
    pub ino: Ino,
    /// What to change; a size fails with `Invalid`. Nothing: the answer is what is there.
    pub set: SetAttr,
    /// Permission to write was checked when the handle was opened; counts for `drop_suid` and for
    /// times set to now.
    pub opened: bool,
}

impl Op for SetAttributes {
    fn verb(&self) -> &'static str {
        "setattr"
    }

    fn grows(&self) -> bool {
        false
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let attr = resolve::attr(view, self.ino)?;
        if self.set.size.is_some() {
            return Err(FsError::new(Code::Invalid, "a new size goes through truncate"));
        }
        if self.set.is_empty() {
            return Ok(Verdict::Done(Outcome { object: Some(attr), ..Outcome::default() }));
        }
        attributes::permit(cx, view, &attr, &self.set, self.opened)?;
        Ok(Verdict::Change(vec![Item::Attr { ino: self.ino }]))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let mut row = txn.inode(self.ino)?;
        attributes::change(cx, txn, &mut row, &self.set, false)?;
        let object = txn.put_changed(row);
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
