//! Moves a name (renameat2(2)): onto nothing, over something, or swapped with something.

mod check;

use super::intents::Intents;
use super::node::NewNode;
use super::{Context, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::attr::{Attr, Kind};
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result};

/// See the module. Two names of one inode: nothing happens (POSIX rename()).
#[derive(Clone, Debug)]
pub struct Rename {
    /// Directory of the old name.
    pub from_dir: Ino,
    /// Old name.
    pub from_name: Name,
    /// Directory of the new name.
    pub to_dir: Ino,
    /// New name.
    pub to_name: Name,
    /// Fail with `Exists` if the new name exists (`RENAME_NOREPLACE`).
    pub noreplace: bool,
    /// Swap the two, which must both exist (`RENAME_EXCHANGE`).
    pub exchange: bool,
    /// Leave a whiteout under the old name (`RENAME_WHITEOUT`), as overlay file systems ask for.
    pub whiteout: bool,
    /// When, if the caller has shown it before; kept near the server's clock.
    pub at: Option<Timestamp>,
}

impl Rename {
    /// Whether the name goes to another directory.
    fn crosses(&self) -> bool {
        self.from_dir != self.to_dir
    }

    /// What others must forget.
    fn items(&self, moved: &Attr, target: Option<&Attr>) -> Vec<Item> {
        let mut items = if self.crosses() {
            let mut items = rules::names_items(self.from_dir, &[&self.from_name]);
            items.extend(rules::names_items(self.to_dir, &[&self.to_name]));
            items
        } else {
            rules::names_items(self.from_dir, &[&self.from_name, &self.to_name])
        };
        items.push(Item::Attr { ino: moved.ino });
        if let Some(target) = target {
            let kept = Item::Attr { ino: target.ino };
            items.push(if self.exchange { kept } else { rules::unlink_item(target) });
        }
        items
    }
}

impl Op for Rename {
    fn verb(&self) -> &'static str {
        "rename"
    }

    fn grows(&self) -> bool {
        self.whiteout
    }

    fn intents(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        let mut intents = Intents::of_name(self.from_dir, &self.from_name);
        intents = intents.name(self.to_dir, &self.to_name);
        let mut moves_dir = false;
        if let Some(moved) = resolve::entry(cx.cookie_key, view, self.from_dir, &self.from_name)? {
            moves_dir |= moved.kind == Kind::Directory;
            intents = intents.attr(moved.ino);
        }
        if let Some(target) = resolve::entry(cx.cookie_key, view, self.to_dir, &self.to_name)? {
            let is_dir = target.kind == Kind::Directory;
            moves_dir |= is_dir && self.exchange;
            intents = if is_dir && !self.exchange {
                intents.removed_dir(target.ino)
            } else {
                intents.attr(target.ino)
            };
        }
        if moves_dir && self.crosses() {
            intents = intents.tree();
        }
        Ok(intents.done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let ends = self.ends(cx, view)?;
        self.check_loop(view, &ends)?;
        if ends.target.as_ref().is_some_and(|target| target.ino == ends.moved.ino) {
            let to_dir = self.crosses().then_some(ends.to_dir);
            let (object, dir) = (Some(ends.moved), Some(ends.from_dir));
            return Ok(Verdict::Done(Outcome { object, dir, to_dir, ..Outcome::default() }));
        }
        self.check_rights(cx, view, &ends)?;
        Ok(Verdict::Change(self.items(&ends.moved, ends.target.as_ref())))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        txn.happened(self.at);
        let moved = txn.known_entry(cx, self.from_dir, &self.from_name)?.ino;
        let target = txn.entry(cx, self.to_dir, &self.to_name)?.map(|entry| entry.ino);
        let object = move_to(txn, moved, self.to_dir)?;
        let replaced = match target {
            Some(target) if self.exchange => {
                let attr = move_to(txn, target, self.from_dir)?;
                txn.set_name(cx, self.from_dir, &self.from_name, &attr)?;
                Some(attr)
            }
            _ => {
                if self.whiteout {
                    NewNode::whiteout().place(cx, txn, self.from_dir, &self.from_name)?;
                } else {
                    txn.remove_name(cx, self.from_dir, &self.from_name)?;
                }
                target.map(|target| txn.drop_link(target)).transpose()?
            }
        };
        txn.set_name(cx, self.to_dir, &self.to_name, &object)?;
        let dir = Some(txn.names_changed(self.from_dir)?);
        let to_dir = self.crosses().then(|| txn.names_changed(self.to_dir)).transpose()?;
        Ok(Outcome { object: Some(object), dir, to_dir, replaced, created: false })
    }
}

/// Stamps an inode whose name moves; a directory learns its parent.
fn move_to(txn: &mut Txn<'_>, ino: Ino, dir: Ino) -> Result<Attr> {
    txn.change(ino, |attr| {
        if attr.kind == Kind::Directory {
            attr.parent = dir;
        }
    })
}
