//! Creates a regular file, or finds the one that is there (open(2) with `O_CREAT`).

use super::intents::Intents;
use super::node::NewNode;
use super::{Context, Flush, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::attr::{Kind, NewMode};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::name::Name;
use dfs_core::{Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Create {
    /// Directory.
    pub dir: Ino,
    /// Name.
    pub name: Name,
    /// Permissions.
    pub mode: NewMode,
    /// Fail with `Exists` if the name exists (`O_EXCL`); else what is there is returned as it is,
    /// whatever it is: opening it is the caller's next question.
    pub exclusive: bool,
    /// It comes with the write lease: its content will be committed, or its name flushed.
    pub leased: bool,
}

impl Op for Create {
    fn verb(&self) -> &'static str {
        "create"
    }

    fn flush(&self) -> Flush {
        if self.leased { Flush::Later } else { Flush::AsSet }
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_name(self.dir, &self.name).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        if !self.exclusive
            && let Some(object) = resolve::lookup(cx, view, self.dir, &self.name)?
        {
            let dir = Some(resolve::attr(view, self.dir)?);
            return Ok(Verdict::Done(Outcome { object: Some(object), dir, ..Outcome::default() }));
        }
        rules::new_name(cx, view, self.dir, &self.name)?;
        Ok(Verdict::Change(rules::names_items(self.dir, &[&self.name])))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        NewNode::new(Kind::File, self.mode).make(cx, txn, self.dir, &self.name)
    }
}
