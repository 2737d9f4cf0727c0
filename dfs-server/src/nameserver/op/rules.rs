//! Preconditions that several verbs share, in the order Linux checks them (`fs/namei.c`:
//! `filename_create`, `may_create`, `may_delete`).

use super::Context;
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::access::may_remove_entry;
use dfs_core::attr::{Attr, Kind};
use dfs_core::hub::Item;
use dfs_core::limits::LINK_MAX;
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};

/// A directory in which the caller may create `name`, which is absent. Fails with `Exists`,
/// `NotFound` (the directory was removed), `AccessDenied` and as `resolve::search`.
pub(super) fn new_name(cx: &Context<'_>, view: &dyn Read, dir: Ino, name: &Name) -> Result<Attr> {
    let dir_attr = resolve::search(cx, view, dir)?;
    if resolve::entry(cx.cookie_key, view, dir, name)?.is_some() {
        return Err(FsError::new(Code::Exists, format!("{name} exists in directory {dir}")));
    }
    resolve::demand_writable(cx, view, &dir_attr)?;
    Ok(dir_attr)
}

/// What an existing name stands for. Fails with `NotFound` and as `resolve::search`.
pub(super) fn named(cx: &Context<'_>, view: &dyn Read, dir: Ino, name: &Name) -> Result<Attr> {
    let absent = || FsError::new(Code::NotFound, format!("no {name} in directory {dir}"));
    resolve::lookup(cx, view, dir, name)?.ok_or_else(absent)
}

/// Whether the caller may take the entry of `child` out of `dir`. Fails with `NotFound` (the
/// directory was removed), `AccessDenied`, `NotPermitted` (sticky).
pub(super) fn removable(cx: &Context<'_>, view: &dyn Read, dir: &Attr, child: &Attr) -> Result<()> {
    resolve::demand_writable(cx, view, dir)?;
    if !may_remove_entry(cx.who, dir, child) {
        let text = format!("directory {} is sticky, inode {} of another", dir.ino, child.ino);
        return Err(FsError::new(Code::NotPermitted, text));
    }
    Ok(())
}

/// `NotDirectory` or `IsDirectory` if `child` is not of the kind the call removes.
pub(super) fn of_kind(child: &Attr, directory: bool) -> Result<()> {
    match (directory, child.kind == Kind::Directory) {
        (true, false) => {
            Err(FsError::new(Code::NotDirectory, format!("inode {} is no directory", child.ino)))
        }
        (false, true) => {
            Err(FsError::new(Code::IsDirectory, format!("inode {} is a directory", child.ino)))
        }
        _ => Ok(()),
    }
}

/// `NotEmpty` if `dir` is a directory with entries.
pub(super) fn empty(dir: &Attr) -> Result<()> {
    if dir.kind == Kind::Directory && dir.size > 0 {
        let text = format!("directory {} has {} entries", dir.ino, dir.size);
        return Err(FsError::new(Code::NotEmpty, text));
    }
    Ok(())
}

/// `TooManyLinks` if the inode cannot take one more: files as on ext4, directories (one link per
/// subdirectory) as far as the number goes.
pub(super) fn one_more_link(attr: &Attr) -> Result<()> {
    let most = if attr.kind == Kind::Directory { u32::MAX } else { LINK_MAX };
    if attr.nlink >= most {
        let text = format!("inode {} has {} links", attr.ino, attr.nlink);
        return Err(FsError::new(Code::TooManyLinks, text));
    }
    Ok(())
}

/// `Invalid` if the nanoseconds are none.
pub(super) fn valid_time(time: Timestamp) -> Result<()> {
    if time.nanos >= 1_000_000_000 {
        return Err(FsError::new(Code::Invalid, format!("{} nanoseconds", time.nanos)));
    }
    Ok(())
}

/// What a client has made before it said so: `Invalid` if an inode has this number, or the time is none.
pub(super) fn made_ahead(view: &dyn Read, (ino, at): (Ino, Timestamp)) -> Result<()> {
    valid_time(at)?;
    match view.inode(ino)? {
        None => Ok(()),
        Some(_) => Err(FsError::new(Code::Invalid, format!("inode {ino} exists"))),
    }
}

/// What others forget when `names` of `dir` change.
pub(super) fn names_items(dir: Ino, names: &[&Name]) -> Vec<Item> {
    let names = names.iter().map(|&name| name.clone()).collect();
    vec![Item::DirNames { dir, names }, Item::Attr { ino: dir }]
}

/// What others forget when one name of `child` goes away.
pub(super) fn unlink_item(child: &Attr) -> Item {
    let last = child.kind == Kind::Directory || child.nlink == 1;
    if last { Item::Nlink0 { ino: child.ino } } else { Item::Attr { ino: child.ino } }
}
