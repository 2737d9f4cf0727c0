//! Who may change extended attributes, and what follows from it (xattr(7), Linux `xattr_permission`).

use super::{Context, Txn};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::access::{ACL_ACCESS, ACL_DEFAULT, Acl, Privilege, WRITE};
use dfs_core::attr::{Attr, Kind, S_ISGID, S_ISVTX};
use dfs_core::xattr::{CAPABILITY, Namespace, namespace};
use dfs_core::{Code, FsError, Result};

/// Whether the caller may set or remove the attribute. Fails as xattr(7) says: `NotPermitted`,
/// `AccessDenied`, `NotSupported`, `Invalid`, `OutOfRange`.
pub(super) fn permit_write(
    cx: &Context<'_>,
    view: &dyn Read,
    attr: &Attr,
    name: &[u8],
) -> Result<()> {
    let owner = cx.who.owns(attr);
    let refuse = |code: Code| {
        let text = format!("user {} on {} of {}", cx.who.uid, name.escape_ascii(), attr.ino);
        Err(FsError::new(code, text))
    };
    match namespace(name)? {
        Namespace::User => match attr.kind {
            Kind::File => resolve::demand(cx, view, attr, WRITE),
            // In a directory that everyone may write, everyone could fill the space of its owner.
            Kind::Directory if attr.mode & S_ISVTX != 0 && !owner => refuse(Code::NotPermitted),
            Kind::Directory => resolve::demand(cx, view, attr, WRITE),
            _ => refuse(Code::NotPermitted),
        },
        Namespace::Security if name == CAPABILITY => {
            match cx.who.may_to(Privilege::SetCapability, attr) {
                true => Ok(()),
                false => refuse(Code::NotPermitted),
            }
        }
        Namespace::Trusted | Namespace::Security if cx.who.may(Privilege::Admin) => Ok(()),
        Namespace::Trusted | Namespace::Security => refuse(Code::NotPermitted),
        Namespace::Acl if attr.kind == Kind::Symlink => refuse(Code::NotSupported),
        Namespace::Acl if name == ACL_DEFAULT && attr.kind != Kind::Directory => {
            refuse(Code::AccessDenied)
        }
        Namespace::Acl if owner => Ok(()),
        Namespace::Acl => refuse(Code::NotPermitted),
    }
}

/// Whether the caller may make a change that takes the capabilities of a program away.
pub(super) fn may_spend(cx: &Context<'_>, view: &dyn Read, attr: &Attr) -> Result<bool> {
    Ok(cx.who.uid == attr.uid || resolve::permits(cx, view, attr, WRITE)?)
}

/// Sets or, without value, removes an attribute of an inode whose row the caller puts.
pub(super) fn put(
    txn: &mut Txn<'_>,
    attr: &mut Attr,
    name: &[u8],
    value: Option<Vec<u8>>,
) -> Result<()> {
    if value.is_none() && !attr.has_xattrs {
        return Ok(());
    }
    txn.batch.xattrs.insert((attr.ino, name.to_vec()), value);
    attr.has_xattrs = !txn.view().xattrs(attr.ino)?.is_empty();
    Ok(())
}

/// Sets an attribute. An access control list moves the mode with it, and is kept only if it says
/// more than a mode does (Linux `posix_acl_update_mode`); `check_value` has seen it.
pub(super) fn set(
    cx: &Context<'_>,
    txn: &mut Txn<'_>,
    attr: &mut Attr,
    name: &[u8],
    value: &[u8],
) -> Result<()> {
    if name != ACL_ACCESS {
        return put(txn, attr, name, Some(value.to_vec()));
    }
    let acl = Acl::decode(value)?;
    attr.mode = attr.mode & !0o777 | acl.mode();
    if !cx.who.keeps_set_gid(attr) {
        attr.mode &= !S_ISGID;
    }
    put(txn, attr, name, (!acl.is_mode()).then(|| acl.encode()))
}

/// Refuses a value that is none: access control lists have a form. Fails as [`Acl::decode`].
pub(super) fn check_value(name: &[u8], value: &[u8]) -> Result<()> {
    match name == ACL_ACCESS || name == ACL_DEFAULT {
        true => Acl::decode(value).map(drop),
        false => Ok(()),
    }
}
