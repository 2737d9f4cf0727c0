//! Moves a name (renameat2(2)): onto nothing, over something, or swapped with something.

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::access::WRITE;
use dfs_core::attr::{Attr, Kind};
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};

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
}

/// What stands at both ends.
struct Ends {
    from_dir: Attr,
    to_dir: Attr,
    moved: Attr,
    target: Option<Attr>,
}

impl Rename {
    /// Whether the name goes to another directory.
    fn crosses(&self) -> bool {
        self.from_dir != self.to_dir
    }

    /// Reads both ends and settles what the flags demand of them.
    fn ends(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Ends> {
        if self.noreplace && self.exchange {
            return Err(FsError::new(Code::Invalid, "rename without replacing excludes exchange"));
        }
        let moved = rules::named(cx, view, self.from_dir, &self.from_name)?;
        let target = resolve::lookup(cx, view, self.to_dir, &self.to_name)?;
        if self.noreplace && target.is_some() {
            let text = format!("{} exists in directory {}", self.to_name, self.to_dir);
            return Err(FsError::new(Code::Exists, text));
        }
        if self.exchange && target.is_none() {
            let text = format!("no {} in directory {}", self.to_name, self.to_dir);
            return Err(FsError::new(Code::NotFound, text));
        }
        let from_dir = resolve::attr(view, self.from_dir)?;
        let to_dir = resolve::attr(view, self.to_dir)?;
        if to_dir.nlink == 0 {
            let text = format!("directory {} was removed", self.to_dir);
            return Err(FsError::new(Code::NotFound, text));
        }
        Ok(Ends { from_dir, to_dir, moved, target })
    }

    /// No directory may end up inside itself (Linux `lock_rename` and its callers): `Invalid`; a
    /// target that holds the moved name is `NotEmpty`.
    fn check_loop(&self, view: &dyn Read, ends: &Ends) -> Result<()> {
        if !self.crosses() {
            return Ok(());
        }
        if is_inside(view, self.to_dir, &ends.moved)? {
            let text = format!("directory {} cannot move into itself", ends.moved.ino);
            return Err(FsError::new(Code::Invalid, text));
        }
        if let Some(target) = &ends.target
            && is_inside(view, self.from_dir, target)?
        {
            let code = if self.exchange { Code::Invalid } else { Code::NotEmpty };
            return Err(FsError::new(code, format!("inode {} holds the old name", target.ino)));
        }
        Ok(())
    }

    /// Permissions and kinds, as Linux `vfs_rename` checks them.
    fn check_rights(&self, cx: &Context<'_>, ends: &Ends) -> Result<()> {
        let Ends { from_dir, to_dir, moved, target } = ends;
        let is_dir = moved.kind == Kind::Directory;
        rules::removable(cx, from_dir, moved)?;
        match target {
            None => resolve::demand_writable(cx, to_dir)?,
            Some(target) => {
                rules::removable(cx, to_dir, target)?;
                if !self.exchange {
                    rules::of_kind(target, is_dir)?;
                }
            }
        }
        if self.crosses() {
            self.check_new_parents(cx, ends)?;
        }
        match target {
            Some(target) if !self.exchange => rules::empty(target),
            _ => Ok(()),
        }
    }

    /// A directory that changes parents has its `..` rewritten and counts as a link of the new one.
    fn check_new_parents(&self, cx: &Context<'_>, ends: &Ends) -> Result<()> {
        let moved_dir = ends.moved.kind == Kind::Directory;
        let target = ends.target.as_ref().filter(|target| target.kind == Kind::Directory);
        if moved_dir {
            resolve::demand(cx, &ends.moved, WRITE)?;
            if target.is_none() {
                rules::one_more_link(&ends.to_dir)?;
            }
        }
        if let Some(target) = target.filter(|_| self.exchange) {
            resolve::demand(cx, target, WRITE)?;
            if !moved_dir {
                rules::one_more_link(&ends.from_dir)?;
            }
        }
        Ok(())
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

/// Whether `dir` is `ancestor` or lies below it. Ends at the root: the parents of a directory with
/// names form no loop, which is what this check keeps true.
fn is_inside(view: &dyn Read, dir: Ino, ancestor: &Attr) -> Result<bool> {
    if ancestor.kind != Kind::Directory {
        return Ok(false);
    }
    let mut at = dir;
    while at != ancestor.ino {
        let parent = resolve::attr(view, at)?.parent;
        if parent == at {
            return Ok(false);
        }
        at = parent;
    }
    Ok(true)
}

impl Op for Rename {
    fn verb(&self) -> &'static str {
        "rename"
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
        self.check_rights(cx, &ends)?;
        Ok(Verdict::Change(self.items(&ends.moved, ends.target.as_ref())))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
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
                txn.remove_name(cx, self.from_dir, &self.from_name)?;
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
