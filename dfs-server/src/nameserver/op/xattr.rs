//! Which extended attributes exist and who may change them (xattr(7), Linux `xattr_permission`).

use super::Context;
use crate::nameserver::resolve;
use dfs_core::access::WRITE;
use dfs_core::attr::{Attr, Kind, S_ISVTX};
use dfs_core::{Code, FsError, Result};

/// Longest name in bytes (XATTR_NAME_MAX).
const NAME_MAX: usize = 255;

/// Access control lists as the kernel passes them; kept, not interpreted.
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The same, for new entries of a directory.
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Part of the name before the first dot, and who may write there.
enum Namespace {
    User,
    Trusted,
    Security,
    Acl,
}

/// The namespace of a name. Fails with `OutOfRange` (name too long or empty), `Invalid` (nothing
/// behind the dot), `NotSupported` (no such namespace).
fn namespace(name: &[u8]) -> Result<Namespace> {
    if name.is_empty() || name.len() > NAME_MAX {
        let text = format!("attribute name of {} bytes", name.len());
        return Err(FsError::new(Code::OutOfRange, text));
    }
    let known = [
        (&b"user."[..], Namespace::User),
        (b"trusted.", Namespace::Trusted),
        (b"security.", Namespace::Security),
    ];
    for (prefix, namespace) in known {
        match name.strip_prefix(prefix) {
            Some(b"") => return Err(FsError::new(Code::Invalid, "empty attribute name")),
            Some(rest) if rest.contains(&0) => {
                return Err(FsError::new(Code::Invalid, "attribute name holds NUL"));
            }
            Some(_) => return Ok(namespace),
            None => {}
        }
    }
    if name == ACL_ACCESS || name == ACL_DEFAULT {
        return Ok(Namespace::Acl);
    }
    let text = format!("no attributes like {}", name.escape_ascii());
    Err(FsError::new(Code::NotSupported, text))
}

/// Whether the caller may set or remove the attribute. Fails as xattr(7) says: `NotPermitted`,
/// `AccessDenied`, `NotSupported`, `Invalid`, `OutOfRange`.
pub(super) fn permit_write(cx: &Context<'_>, attr: &Attr, name: &[u8]) -> Result<()> {
    let owner = cx.who.is_root() || cx.who.uid == attr.uid;
    let refuse = |code: Code| {
        let text = format!("user {} on {} of {}", cx.who.uid, name.escape_ascii(), attr.ino);
        Err(FsError::new(code, text))
    };
    match namespace(name)? {
        Namespace::User => match attr.kind {
            Kind::File => resolve::demand(cx, attr, WRITE),
            // In a directory that everyone may write, everyone could fill the space of its owner.
            Kind::Directory if attr.mode & S_ISVTX != 0 && !owner => refuse(Code::NotPermitted),
            Kind::Directory => resolve::demand(cx, attr, WRITE),
            _ => refuse(Code::NotPermitted),
        },
        Namespace::Trusted | Namespace::Security if cx.who.is_root() => Ok(()),
        Namespace::Trusted | Namespace::Security => refuse(Code::NotPermitted),
        Namespace::Acl if attr.kind == Kind::Symlink => refuse(Code::NotSupported),
        Namespace::Acl if name == ACL_DEFAULT && attr.kind != Kind::Directory => {
            refuse(Code::AccessDenied)
        }
        Namespace::Acl if owner => Ok(()),
        Namespace::Acl => refuse(Code::NotPermitted),
    }
}
