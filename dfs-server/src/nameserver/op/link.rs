//! Gives an inode one more name (link(2)). A symbolic link is linked itself, not followed.

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::attr::Kind;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Link {
    /// Inode to name; a directory fails with `NotPermitted`, one without names with `NotFound`.
    pub ino: Ino,
    /// Directory of the new name.
    pub dir: Ino,
    /// New name.
    pub name: Name,
    /// When, if the caller has shown it before; kept near the server's clock.
    pub at: Option<Timestamp>,
}

impl Op for Link {
    fn verb(&self) -> &'static str {
        "link"
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_name(self.dir, &self.name).attr(self.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let child = resolve::attr(view, self.ino)?;
        rules::new_name(cx, view, self.dir, &self.name)?;
        if child.kind == Kind::Directory {
            return Err(FsError::new(Code::NotPermitted, format!("{} is a directory", self.ino)));
        }
        if child.nlink == 0 {
            return Err(FsError::new(Code::NotFound, format!("inode {} was unlinked", self.ino)));
        }
        rules::one_more_link(&child)?;
        let mut items = rules::names_items(self.dir, &[&self.name]);
        items.push(Item::Attr { ino: self.ino });
        Ok(Verdict::Change(items))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        txn.happened(self.at);
        let object = txn.change(self.ino, |attr| attr.nlink += 1)?;
        txn.set_name(cx, self.dir, &self.name, &object)?;
        let dir = txn.names_changed(self.dir)?;
        Ok(Outcome { object: Some(object), dir: Some(dir), ..Outcome::default() })
    }
}
