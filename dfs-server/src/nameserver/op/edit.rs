//! The row changes that verbs share: attributes with their version, names with the counters of
//! their directory.

use super::commit::near;
use super::{Context, Txn};
use crate::metastore::{Dentry, Inode};
use crate::nameserver::resolve;
use dfs_core::attr::{Attr, Kind};
use dfs_core::birth;
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};

impl Txn<'_> {
    /// All of it happened at a client's time, held near the server's own, if that is given.
    pub(super) fn happened(&mut self, at: Option<Timestamp>) {
        self.now = at.map_or(self.now, |at| near(at, self.now));
    }

    /// The row as this transaction sees it. Fails with `Stale`.
    pub(super) fn inode(&self, ino: Ino) -> Result<Inode> {
        resolve::inode(&self.view(), ino)
    }

    /// The attributes as this transaction sees them. Fails with `Stale`.
    pub(super) fn attr(&self, ino: Ino) -> Result<Attr> {
        Ok(self.inode(ino)?.attr)
    }

    /// Replaces a row.
    pub(super) fn put(&mut self, row: Inode) {
        self.batch.inodes.insert(row.attr.ino, Some(row));
    }

    /// Replaces a row after a change others can see: `ctime` and `attr_ver` move.
    pub(super) fn put_changed(&mut self, mut row: Inode) -> Attr {
        row.attr.ctime = self.now;
        row.attr.attr_ver += 1;
        let attr = row.attr.clone();
        self.put(row);
        attr
    }

    /// Changes attributes visibly and returns them.
    pub(super) fn change(&mut self, ino: Ino, edit: impl FnOnce(&mut Attr)) -> Result<Attr> {
        let mut row = self.inode(ino)?;
        edit(&mut row.attr);
        Ok(self.put_changed(row))
    }

    /// The entry of a name, `None` if absent.
    pub(super) fn entry(&self, cx: &Context<'_>, dir: Ino, name: &Name) -> Result<Option<Dentry>> {
        resolve::entry(cx.cookie_key, &self.view(), dir, name)
    }

    /// The entry of a name that `check` has seen and whose intent was held since.
    pub(super) fn known_entry(&self, cx: &Context<'_>, dir: Ino, name: &Name) -> Result<Dentry> {
        let gone =
            || FsError::new(Code::Io, format!("entry {name} of {dir} vanished under intent"));
        self.entry(cx, dir, name)?.ok_or_else(gone)
    }

    /// Makes `name` stand for `child`: a new entry, or one that keeps its cookie and now names
    /// another inode. Counts entries and subdirectories; [`Txn::names_changed`] does the rest.
    pub(super) fn set_name(
        &mut self,
        cx: &Context<'_>,
        dir: Ino,
        name: &Name,
        child: &Attr,
    ) -> Result<()> {
        let old = self.entry(cx, dir, name)?;
        let mut row = self.inode(dir)?;
        let cookie = match &old {
            Some(old) => {
                row.attr.nlink -= subdirectories(old.kind);
                old.cookie
            }
            None => {
                row.attr.size += 1;
                resolve::free_cookie(cx.cookie_key, &self.view(), dir, name)?
            }
        };
        row.attr.nlink += subdirectories(child.kind);
        self.put(row);
        let entry = Dentry { dir, cookie, name: name.clone(), ino: child.ino, kind: child.kind };
        self.batch.dentries.insert((dir, cookie), Some(entry));
        Ok(())
    }

    /// Takes a name away and counts it off its directory. Returns what it named.
    pub(super) fn remove_name(
        &mut self,
        cx: &Context<'_>,
        dir: Ino,
        name: &Name,
    ) -> Result<Dentry> {
        let old = self.known_entry(cx, dir, name)?;
        let mut row = self.inode(dir)?;
        row.attr.size -= 1;
        row.attr.nlink -= subdirectories(old.kind);
        self.put(row);
        self.batch.dentries.insert((dir, old.cookie), None);
        Ok(old)
    }

    /// Stamps a directory after one operation on its names: times, `attr_ver` and `dir_ver` move
    /// once, however many names it changed, so that the caller can tell whether another operation
    /// came between (PROTOCOL 3.3).
    pub(super) fn names_changed(&mut self, dir: Ino) -> Result<Attr> {
        self.names_changed_at(dir, self.now)
    }

    /// As [`Txn::names_changed`], of an operation that took place at this time.
    pub(super) fn names_changed_at(&mut self, dir: Ino, at: Timestamp) -> Result<Attr> {
        let mut row = self.inode(dir)?;
        birth::named_at(&mut row.attr, at);
        let attr = row.attr.clone();
        self.put(row);
        Ok(attr)
    }

    /// Counts a removed name off its inode. One that had its last name stays as an orphan until
    /// `FreeOrphan`.
    pub(super) fn drop_link(&mut self, ino: Ino) -> Result<Attr> {
        self.change(ino, |attr| {
            attr.nlink = if attr.kind == Kind::Directory { 0 } else { attr.nlink - 1 };
        })
    }
}

/// Links an entry of this kind gives its directory: the `..` of a subdirectory.
fn subdirectories(kind: Kind) -> u32 {
    u32::from(kind == Kind::Directory)
}
