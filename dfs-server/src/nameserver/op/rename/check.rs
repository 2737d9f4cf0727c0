//! What must hold for a name to move, in the order Linux checks it (`do_renameat2`, `vfs_rename`).

use super::Rename;
use crate::metastore::Read;
use crate::nameserver::op::{Context, rules};
use crate::nameserver::resolve;
use dfs_core::access::WRITE;
use dfs_core::attr::{Attr, Kind};
use dfs_core::{Code, FsError, Ino, Result};

/// What stands at both ends.
pub(super) struct Ends {
    pub from_dir: Attr,
    pub to_dir: Attr,
    pub moved: Attr,
    pub target: Option<Attr>,
}

impl Rename {
    /// Reads both ends and settles what the flags demand of them.
    pub(super) fn ends(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Ends> {
        if self.exchange && (self.noreplace || self.whiteout) {
            return Err(FsError::new(Code::Invalid, "exchanging names excludes the other flags"));
        }
        let from_dir = resolve::search(cx, view, self.from_dir)?;
        let to_dir = resolve::search(cx, view, self.to_dir)?;
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
        if to_dir.nlink == 0 {
            let text = format!("directory {} was removed", self.to_dir);
            return Err(FsError::new(Code::NotFound, text));
        }
        Ok(Ends { from_dir, to_dir, moved, target })
    }

    /// No directory may end up inside itself (Linux `lock_rename` and its callers): `Invalid`; a
    /// target that holds the moved name is `NotEmpty`.
    pub(super) fn check_loop(&self, view: &dyn Read, ends: &Ends) -> Result<()> {
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
    pub(super) fn check_rights(
        &self,
        cx: &Context<'_>,
        view: &dyn Read,
        ends: &Ends,
    ) -> Result<()> {
        let Ends { from_dir, to_dir, moved, target } = ends;
        let is_dir = moved.kind == Kind::Directory;
        rules::removable(cx, view, from_dir, moved)?;
        match target {
            None => resolve::demand_writable(cx, view, to_dir)?,
            Some(target) => {
                rules::removable(cx, view, to_dir, target)?;
                if !self.exchange {
                    rules::of_kind(target, is_dir)?;
                }
            }
        }
        if self.crosses() {
            self.check_new_parents(cx, view, ends)?;
        }
        match target {
            Some(target) if !self.exchange => rules::empty(target),
            _ => Ok(()),
        }
    }

    /// A directory that changes parents has its `..` rewritten and counts as a link of the new one.
    fn check_new_parents(&self, cx: &Context<'_>, view: &dyn Read, ends: &Ends) -> Result<()> {
        let moved_dir = ends.moved.kind == Kind::Directory;
        let target = ends.target.as_ref().filter(|target| target.kind == Kind::Directory);
        if moved_dir {
            resolve::demand(cx, view, &ends.moved, WRITE)?;
            if target.is_none() {
                rules::one_more_link(&ends.to_dir)?;
            }
        }
        if let Some(target) = target.filter(|_| self.exchange) {
            resolve::demand(cx, view, target, WRITE)?;
            if !moved_dir {
                rules::one_more_link(&ends.from_dir)?;
            }
        }
        Ok(())
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
