//! Which extended attributes exist (xattr(7)).

use crate::access::{ACL_ACCESS, ACL_DEFAULT};
use crate::{Code, FsError, Result};

/// Longest name in bytes (XATTR_NAME_MAX).
const NAME_MAX: usize = 255;

/// Capabilities of a program (capabilities(7)): they go with the first write.
pub const CAPABILITY: &[u8] = b"security.capability";

/// Part of the name before the first dot, and who may write there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Anybody with permission on the content, on files and directories only.
    User,
    /// The superuser, who alone sees them.
    Trusted,
    /// The superuser; everybody reads.
    Security,
    /// An access control list: the owner.
    Acl,
}

/// The namespace of a name. Fails with `OutOfRange` (name too long or empty), `Invalid` (nothing
/// behind the dot), `NotSupported` (no such namespace).
pub fn namespace(name: &[u8]) -> Result<Namespace> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_is_told_by_the_name() {
        let long = [&b"user."[..], &[b'x'; 251]].concat();
        for (name, wanted) in [
            (&b"user.a"[..], Ok(Namespace::User)),
            (b"trusted.a", Ok(Namespace::Trusted)),
            (b"security.a", Ok(Namespace::Security)),
            (ACL_ACCESS, Ok(Namespace::Acl)),
            (ACL_DEFAULT, Ok(Namespace::Acl)),
            (&long[..255], Ok(Namespace::User)),
            (&long, Err(Code::OutOfRange)),
            (b"", Err(Code::OutOfRange)),
            (b"user.", Err(Code::Invalid)),
            (b"user.a\0", Err(Code::Invalid)),
            (b"user", Err(Code::NotSupported)),
            (b"system.posix_acl", Err(Code::NotSupported)),
        ] {
            assert_eq!(namespace(name).map_err(|e| e.code), wanted, "{}", name.escape_ascii());
        }
    }
}
