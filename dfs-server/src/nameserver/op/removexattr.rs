//! Removes one extended attribute (removexattr(2)).

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, xattr};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct RemoveXattr {
    /// Inode.
    pub ino: Ino,
    /// Name with its namespace; absent: `NoData`.
    pub name: Vec<u8>,
}

impl Op for RemoveXattr {
    fn verb(&self) -> &'static str {
        "removexattr"
    }

    fn grows(&self) -> bool {
        false
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let attr = resolve::attr(view, self.ino)?;
        xattr::permit_write(cx, &attr, &self.name)?;
        if !view.xattrs(self.ino)?.iter().any(|(name, _)| *name == self.name) {
            let text = format!("no {} on inode {}", self.name.escape_ascii(), self.ino);
            return Err(FsError::new(Code::NoData, text));
        }
        Ok(Verdict::Change(vec![Item::Attr { ino: self.ino }]))
    }

    fn effect(&self, _: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        txn.batch.xattrs.insert((self.ino, self.name.clone()), None);
        let left = !txn.view().xattrs(self.ino)?.is_empty();
        let object = txn.change(self.ino, |attr| attr.has_xattrs = left)?;
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
