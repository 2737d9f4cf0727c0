//! Creates a directory (mkdir(2)), which its client may have made before it said so (`docs/design/0041`).

use super::commit::near;
use super::intents::Intents;
use super::node::NewNode;
use super::{Context, Flush, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use dfs_core::attr::{Kind, MKDIR_MODE, NewMode};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Mkdir {
    /// Directory to create it in.
    pub dir: Ino,
    /// Name.
    pub name: Name,
    /// Permissions.
    pub mode: NewMode,
    /// Its number, and when its client made it; held near the server's own time.
    pub made: Option<(Ino, Timestamp)>,
}

impl Op for Mkdir {
    fn verb(&self) -> &'static str {
        "mkdir"
    }

    fn flush(&self) -> Flush {
        Flush::Later
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_name(self.dir, &self.name).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let dir = rules::new_name(cx, view, self.dir, &self.name)?;
        rules::one_more_link(&dir)?;
        self.made.map_or(Ok(()), |made| rules::made_ahead(view, made))?;
        Ok(Verdict::Change(rules::names_items(self.dir, &[&self.name])))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let mode = NewMode { mode: self.mode.mode & MKDIR_MODE, ..self.mode };
        let made = self.made.map(|(ino, at)| (ino, near(at, txn.now)));
        let node = NewNode { made, ..NewNode::new(Kind::Directory, mode) };
        node.make(cx, txn, self.dir, &self.name)
    }
}
