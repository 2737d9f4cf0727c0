//! Creates a symbolic link (symlink(2)).

use super::intents::Intents;
use super::node::NewNode;
use super::{Context, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use dfs_core::attr::Kind;
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::limits::SYMLINK_MAX;
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Symlink {
    /// Directory.
    pub dir: Ino,
    /// Name.
    pub name: Name,
    /// Target: 1 to 4095 bytes without NUL, not looked at any further. An empty one fails with
    /// `NotFound`, a longer one with `NameTooLong`.
    pub target: Vec<u8>,
}

impl Op for Symlink {
    fn verb(&self) -> &'static str {
        "symlink"
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_name(self.dir, &self.name).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        if self.target.is_empty() {
            return Err(FsError::new(Code::NotFound, "empty target of a symbolic link"));
        }
        if self.target.len() > SYMLINK_MAX {
            let text =
                format!("target of {} bytes is longer than {SYMLINK_MAX}", self.target.len());
            return Err(FsError::new(Code::NameTooLong, text));
        }
        if self.target.contains(&0) {
            return Err(FsError::new(Code::Invalid, "target of a symbolic link holds NUL"));
        }
        rules::new_name(cx, view, self.dir, &self.name)?;
        Ok(Verdict::Change(rules::names_items(self.dir, &[&self.name])))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let node =
            NewNode { link_target: &self.target, ..NewNode::new(Kind::Symlink, 0o777.into()) };
        node.make(cx, txn, self.dir, &self.name)
    }
}
