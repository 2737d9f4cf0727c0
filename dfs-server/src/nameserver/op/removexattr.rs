//! Removes one extended attribute (removexattr(2)).

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, xattr};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::access::{ACL_ACCESS, ACL_DEFAULT};
use dfs_core::attr::Kind;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::xattr::CAPABILITY;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct RemoveXattr {
    /// Inode.
    pub ino: Ino,
    /// Name with its namespace; absent: `NoData`, but an access control list that is not there is
    /// removed well (Linux `ext4_set_acl`).
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
        // As on Linux nobody is refused to remove a default list where none can be.
        let no_default = self.name == ACL_DEFAULT && attr.kind != Kind::Directory;
        // The kernel takes it away in the name of whoever writes the file or changes its owner.
        let spent = self.name == CAPABILITY && xattr::may_spend(cx, view, &attr)?;
        if !no_default && !spent {
            xattr::permit_write(cx, view, &attr, &self.name)?;
        }
        let is_list = self.name == ACL_ACCESS || self.name == ACL_DEFAULT;
        if !view.xattrs(self.ino)?.iter().any(|(name, _)| *name == self.name) {
            if is_list {
                return Ok(Verdict::Done(Outcome { object: Some(attr), ..Outcome::default() }));
            }
            let text = format!("no {} on inode {}", self.name.escape_ascii(), self.ino);
            return Err(FsError::new(Code::NoData, text));
        }
        Ok(Verdict::Change(vec![Item::Attr { ino: self.ino }]))
    }

    fn effect(&self, _: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let mut row = txn.inode(self.ino)?;
        xattr::put(txn, &mut row.attr, &self.name, None)?;
        let object = txn.put_changed(row);
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
