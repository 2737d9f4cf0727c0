//! Who may do what to an inode: the POSIX permission rules (POSIX.1-2017, 4.5 File Access
//! Permissions; Linux inode(7), capabilities(7), acl(5)).

mod acl;

pub use acl::{Acl, Entry, Tag};

use crate::attr::{Attr, Kind, S_ISVTX};

/// Name of the extended attribute that holds the access control list of an inode.
pub const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The same for the list that new entries of a directory inherit.
pub const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Permission bits of the group class; with an access control list: its mask.
const GROUP_CLASS: u32 = 0o070;

/// May read.
pub const READ: u32 = 4;
/// May write.
pub const WRITE: u32 = 2;
/// May execute or search.
pub const EXEC: u32 = 1;

/// The calling process as the server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// The superuser.
    pub fn root() -> Credentials {
        Credentials::default()
    }

    /// Whether the caller overrides permission checks.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether the caller is in `gid`.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// Whether `who` has all of `want` (`READ | WRITE | EXEC`) on the inode with this access control
/// list, if it has one.
///
/// The first matching class decides alone: owner, then group, then others. The superuser reads and
/// writes everything and executes what anyone may execute; directories it always searches. A list
/// whose mask is empty is not looked at (Linux `acl_permission_check`): the mode decides, so that
/// whom the list names falls under the group or the others.
pub fn permits(who: &Credentials, attr: &Attr, acl: Option<&Acl>, want: u32) -> bool {
    if who.is_root() {
        let exec_ok = attr.kind == Kind::Directory || attr.mode & 0o111 != 0;
        return want & EXEC == 0 || exec_ok;
    }
    if let Some(acl) = acl.filter(|_| who.uid != attr.uid && attr.mode & GROUP_CLASS != 0) {
        return acl.permits(who, attr.gid, want);
    }
    let shift = if who.uid == attr.uid {
        6
    } else if who.in_group(attr.gid) {
        3
    } else {
        0
    };
    (attr.mode >> shift) & want == want
}

/// Whether `who`, allowed to write in directory `dir`, may remove or rename its entry `child`: in a
/// sticky directory only the owner of either and the superuser (POSIX unlink(), EPERM/EACCES).
pub fn may_remove_entry(who: &Credentials, dir: &Attr, child: &Attr) -> bool {
    dir.mode & S_ISVTX == 0 || who.is_root() || who.uid == dir.uid || who.uid == child.uid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::tests::attr;

    fn user(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        Credentials { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn permits_first_matching_class_decides() {
        let mut file = attr(Kind::File);
        (file.uid, file.gid, file.mode) = (10, 20, 0o074);
        assert!(!permits(&user(10, 20, &[]), &file, None, READ), "owner without bits");
        assert!(permits(&user(11, 20, &[]), &file, None, READ | WRITE | EXEC));
        assert!(permits(&user(11, 1, &[5, 20]), &file, None, WRITE), "supplementary group");
        assert!(permits(&user(11, 21, &[]), &file, None, READ));
        assert!(!permits(&user(11, 21, &[]), &file, None, WRITE));
    }

    #[test]
    fn permits_root_executes_only_what_anyone_may() {
        let mut file = attr(Kind::File);
        file.mode = 0o600;
        assert!(permits(&Credentials::root(), &file, None, READ | WRITE));
        assert!(!permits(&Credentials::root(), &file, None, EXEC));
        file.mode = 0o001;
        assert!(permits(&Credentials::root(), &file, None, EXEC));
        let mut dir = attr(Kind::Directory);
        dir.mode = 0;
        assert!(permits(&Credentials::root(), &dir, None, EXEC));
    }

    #[test]
    fn sticky_directory_protects_entries_of_others() {
        let (mut dir, mut child) = (attr(Kind::Directory), attr(Kind::File));
        (dir.uid, dir.mode, child.uid) = (1, 0o1777, 2);
        assert!(may_remove_entry(&user(1, 0, &[]), &dir, &child));
        assert!(may_remove_entry(&user(2, 0, &[]), &dir, &child));
        assert!(!may_remove_entry(&user(3, 0, &[]), &dir, &child));
        dir.mode = 0o777;
        assert!(may_remove_entry(&user(3, 0, &[]), &dir, &child));
    }
}
