//! Removes a name of something that is no directory (unlink(2)).

use super::intents::Intents;
use super::{Context, Flush, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result};

/// See the module. The inode that loses its last name stays, with `nlink` 0, until `FreeOrphan`.
#[derive(Clone, Debug)]
pub struct Unlink {
    /// Directory.
    pub dir: Ino,
    /// Name; of a directory it fails with `IsDirectory`.
    pub name: Name,
    /// When, if the caller has shown it before; kept near the server's clock.
    pub at: Option<Timestamp>,
}

impl Op for Unlink {
    fn verb(&self) -> &'static str {
        "unlink"
    }

    fn flush(&self) -> Flush {
        Flush::Later
    }

    fn grows(&self) -> bool {
        false
    }

    fn intents(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        let mut intents = Intents::of_name(self.dir, &self.name);
        if let Some(child) = resolve::entry(cx.cookie_key, view, self.dir, &self.name)? {
            intents = intents.attr(child.ino);
        }
        Ok(intents.done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let child = rules::named(cx, view, self.dir, &self.name)?;
        rules::removable(cx, view, &resolve::attr(view, self.dir)?, &child)?;
        rules::of_kind(&child, false)?;
        let mut items = rules::names_items(self.dir, &[&self.name]);
        items.push(rules::unlink_item(&child));
        Ok(Verdict::Change(items))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        txn.happened(self.at);
        let removed = txn.remove_name(cx, self.dir, &self.name)?;
        let object = txn.drop_link(removed.ino)?;
        let dir = txn.names_changed(self.dir)?;
        Ok(Outcome { object: Some(object), dir: Some(dir), ..Outcome::default() })
    }
}
