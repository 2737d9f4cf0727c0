//! Makes a file that its client has made in a delegated directory before it said so, together with the
//! first commit of its content or attributes (`docs/design/0025`).

use super::commit::{Commit, near};
use super::intents::Intents;
use super::node::NewNode;
use super::{Context, Flush, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::{Inode, Read};
use dfs_core::access::Credentials;
use dfs_core::attr::{Kind, NewMode};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::limits::STRIPE_UNIT;
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result, birth};

/// See the module.
#[derive(Clone, Debug)]
pub struct MakeFile {
    /// Who made it; the caller is who commits.
    pub who: Credentials,
    /// Directory.
    pub dir: Ino,
    /// Name, which must be absent.
    pub name: Name,
    /// Permissions.
    pub mode: NewMode,
    /// When; held near the server's own time.
    pub at: Timestamp,
    /// When its maker changed it last, if that is known; the same holds of it.
    pub changed_at: Option<Timestamp>,
    /// What follows on version 0; its inode is the new one.
    pub commit: Commit,
}

impl MakeFile {
    /// The maker, in place of who commits.
    fn maker<'a>(&'a self, cx: &Context<'a>) -> Context<'a> {
        Context { who: &self.who, cookie_key: cx.cookie_key }
    }

    fn commits(&self) -> bool {
        !self.commit.attrs_only || !self.commit.set.is_empty()
    }
}

impl Op for MakeFile {
    fn verb(&self) -> &'static str {
        "make"
    }

    /// Without content another commit follows, or its name is flushed.
    fn flush(&self) -> Flush {
        if self.commit.attrs_only { Flush::Later } else { self.commit.flush() }
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_name(self.dir, &self.name).attr(self.commit.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let dir = rules::new_name(&self.maker(cx), view, self.dir, &self.name)?;
        self.changed_at.map_or(Ok(()), rules::valid_time)?;
        let ino = self.commit.ino;
        rules::made_ahead(view, (ino, self.at))?;
        let attr = birth::plain_child(ino, Kind::File, self.mode, &dir, &self.who, self.at);
        self.commit.check_on(cx, view, &Inode { attr, unit: STRIPE_UNIT })?;
        Ok(Verdict::Change(rules::names_items(self.dir, &[&self.name])))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let at = near(self.at, txn.now);
        let made = Some((self.commit.ino, at));
        let node = NewNode { made, ..NewNode::new(Kind::File, self.mode) };
        let made = node.make(&self.maker(cx), txn, self.dir, &self.name)?;
        if !self.commits() {
            return Ok(made);
        }
        // Its maker has seen it with that time already.
        let now = self.changed_at.map_or(txn.now, |changed| near(changed, txn.now).max(at));
        let mut then = Txn { now, store: txn.store, batch: txn.batch, numbers: txn.numbers };
        let object = self.commit.effect(cx, &mut then)?.object;
        Ok(Outcome { object, ..made })
    }
}
