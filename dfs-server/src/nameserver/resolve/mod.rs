//! Reading the namespace: from names to inodes, with the permissions a caller needs on the way.
//!
//! Everything here is a pure function of a view of the store. Whether an answer may be cached and
//! what is promised with it is decided elsewhere (PROTOCOL 3.1).

mod content;
mod entry;
mod list;
#[cfg(test)]
mod tests;

pub(super) use content::demand_file;
pub use content::{Content, content};
pub use entry::{entry, free_cookie};
pub use list::{Page, list};

use super::op::Context;
use crate::metastore::{Inode, Read};
use dfs_core::access::{self, ACL_ACCESS, ACL_DEFAULT, Acl, EXEC, WRITE};
use dfs_core::attr::{Attr, Kind};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};

/// Extended attributes, name and value, by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// A row that must exist. `Stale` if it does not: the caller knows a number that was freed.
pub fn inode(view: &dyn Read, ino: Ino) -> Result<Inode> {
    view.inode(ino)?
        .ok_or_else(|| FsError::new(Code::Stale, format!("inode {ino} does not exist any more")))
}

/// Attributes of an inode. Needs no permission (POSIX stat() needs search on the path only).
/// Fails with `Stale`.
pub fn attr(view: &dyn Read, ino: Ino) -> Result<Attr> {
    Ok(inode(view, ino)?.attr)
}

/// All extended attributes, whoever may read them, and the attributes at the same moment. The
/// kernel of the client decides which caller sees which (xattr(7)). Fails with `Stale`.
pub fn xattrs(view: &dyn Read, ino: Ino) -> Result<(Attr, Xattrs)> {
    Ok((attr(view, ino)?, view.xattrs(ino)?))
}

/// Whether the caller has all of `mask` (`READ | WRITE | EXEC`, 0: existence) on the inode
/// (access(2)). Fails with `AccessDenied`, `Stale`.
pub fn access(cx: &Context<'_>, view: &dyn Read, ino: Ino, mask: u32) -> Result<Attr> {
    let attr = attr(view, ino)?;
    demand(cx, view, &attr, mask)?;
    Ok(attr)
}

/// The access control list of an inode, if it has one.
pub fn acl(view: &dyn Read, attr: &Attr) -> Result<Option<Acl>> {
    list_named(view, attr, ACL_ACCESS)
}

/// The list that new entries of a directory inherit, if it has one.
pub fn default_acl(view: &dyn Read, dir: &Attr) -> Result<Option<Acl>> {
    list_named(view, dir, ACL_DEFAULT)
}

fn list_named(view: &dyn Read, attr: &Attr, name: &[u8]) -> Result<Option<Acl>> {
    if !attr.has_xattrs {
        return Ok(None);
    }
    let all = view.xattrs(attr.ino)?;
    all.iter().find(|(found, _)| found == name).map(|(_, value)| Acl::decode(value)).transpose()
}

/// Whether the caller has all of `mask` on the inode, whose list decides where it has one.
pub fn permits(cx: &Context<'_>, view: &dyn Read, attr: &Attr, mask: u32) -> Result<bool> {
    // The list says nothing of the privileged and the owner.
    let listed = !access::overrides(cx.who, attr, mask) && cx.who.uid != attr.uid;
    let acl = if listed { acl(view, attr)? } else { None };
    Ok(access::permits(cx.who, attr, acl.as_ref(), mask))
}

/// `AccessDenied` unless the caller has all of `mask` on the inode.
pub fn demand(cx: &Context<'_>, view: &dyn Read, attr: &Attr, mask: u32) -> Result<()> {
    if permits(cx, view, attr, mask)? {
        return Ok(());
    }
    let text = format!("inode {} of user {} refuses user {}", attr.ino, attr.uid, cx.who.uid);
    Err(FsError::new(Code::AccessDenied, text))
}

/// A directory the caller may search. Fails with `Stale`, `NotDirectory`, `AccessDenied`.
pub fn search(cx: &Context<'_>, view: &dyn Read, dir: Ino) -> Result<Attr> {
    let attr = attr(view, dir)?;
    if attr.kind != Kind::Directory {
        return Err(FsError::new(Code::NotDirectory, format!("inode {dir} is no directory")));
    }
    demand(cx, view, &attr, EXEC)?;
    Ok(attr)
}

/// `NotFound` if the directory was removed, `AccessDenied` unless the caller may change names in
/// it (Linux `may_create`).
pub fn demand_writable(cx: &Context<'_>, view: &dyn Read, dir: &Attr) -> Result<()> {
    if dir.nlink == 0 {
        return Err(FsError::new(Code::NotFound, format!("directory {} was removed", dir.ino)));
    }
    demand(cx, view, dir, WRITE | EXEC)
}

/// Looks a name up; `None`: it is absent. Needs search on the directory. Fails with `Stale`,
/// `NotDirectory`, `AccessDenied`.
pub fn lookup(cx: &Context<'_>, view: &dyn Read, dir: Ino, name: &Name) -> Result<Option<Attr>> {
    search(cx, view, dir)?;
    match entry(cx.cookie_key, view, dir, name)? {
        Some(found) => Ok(Some(attr(view, found.ino)?)),
        None => Ok(None),
    }
}

/// Walks components from `dir`, following no symbolic links; `None`: one of them is absent. Fails
/// as [`lookup`] does, with `NotDirectory` where a component before the last is something else.
pub fn lookup_path(
    cx: &Context<'_>,
    view: &dyn Read,
    dir: Ino,
    components: &[Name],
) -> Result<Option<Attr>> {
    let mut at = attr(view, dir)?;
    for name in components {
        match lookup(cx, view, at.ino, name)? {
            Some(found) => at = found,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}
