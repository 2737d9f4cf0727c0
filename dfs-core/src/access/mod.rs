//! Who may do what to an inode: the POSIX permission rules (POSIX.1-2017, 4.5 File Access
//! Permissions; Linux inode(7), capabilities(7), acl(5)).

mod acl;
mod privilege;

pub use acl::{Acl, Entry, Tag};
pub use privilege::{Privilege, Privileges, Realm};

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

/// User and group that squashed callers get (`nobody`, exports(5)).
const NOBODY: u32 = 65_534;

/// The calling process as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// What it may do beyond that.
    pub privileges: Privileges,
}

impl Credentials {
    /// A user with the privileges that users have: the superuser all, others none.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>) -> Credentials {
        Credentials { uid, gid, groups, privileges: Privileges::of_user(uid) }
    }

    /// The superuser.
    pub fn root() -> Credentials {
        Credentials::new(0, 0, Vec::new())
    }

    /// Who is nobody in particular.
    pub fn nobody() -> Credentials {
        Credentials::new(NOBODY, NOBODY, Vec::new())
    }

    /// The caller where the superuser counts for nothing: it is nobody, and others have no privileges.
    pub fn squashed(self) -> Credentials {
        match self.uid {
            0 => Credentials::nobody(),
            uid => Credentials::new(uid, self.gid, self.groups),
        }
    }

    /// Whether the caller may do what concerns more than one inode.
    pub fn may(&self, privilege: Privilege) -> bool {
        self.privileges.anywhere(privilege)
    }

    /// Whether the caller may do this to an inode.
    pub fn may_to(&self, privilege: Privilege, attr: &Attr) -> bool {
        self.privileges.on(privilege, attr)
    }

    /// Whether the caller owns an inode or counts as its owner.
    pub fn owns(&self, attr: &Attr) -> bool {
        self.uid == attr.uid || self.privileges.own(attr)
    }

    /// Whether set-group-id stays on an inode that the caller changes: it is in the group or
    /// privileged (Linux `in_group_or_capable`).
    pub fn keeps_set_gid(&self, attr: &Attr) -> bool {
        self.in_group(attr.gid) || self.may_to(Privilege::SetId, attr)
    }

    /// Whether the caller is in `gid`.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// Whether `who` has all of `want` (`READ | WRITE | EXEC`) on the inode with this access control
/// list, if it has one.
///
/// The first matching class decides alone: owner, then group, then others. Who is privileged reads and
/// writes everything and executes what anyone may execute; directories it always searches. A list
/// whose mask is empty is not looked at (Linux `acl_permission_check`): the mode decides, so that
/// whom the list names falls under the group or the others.
pub fn permits(who: &Credentials, attr: &Attr, acl: Option<&Acl>, want: u32) -> bool {
    if overrides(who, attr, want) {
        return true;
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

/// Whether a privilege gives `who` all of `want`, whatever mode and list say (Linux
/// `generic_permission`).
pub fn overrides(who: &Credentials, attr: &Attr, want: u32) -> bool {
    let is_dir = attr.kind == Kind::Directory;
    let reads = if is_dir { want & WRITE == 0 } else { want == READ };
    let runs = is_dir || want & EXEC == 0 || attr.mode & 0o111 != 0;
    (reads && who.may_to(Privilege::ReadSearch, attr))
        || (runs && who.may_to(Privilege::Override, attr))
}

/// Whether the caller may make `uid` the owner of an inode (chown(2)).
pub fn may_set_owner(who: &Credentials, attr: &Attr, uid: u32) -> bool {
    who.may_to(Privilege::Chown, attr) || who.uid == attr.uid && uid == attr.uid
}

/// Whether the caller may make `gid` the group of an inode (chown(2)).
pub fn may_set_group(who: &Credentials, attr: &Attr, gid: u32) -> bool {
    let joins = || gid == attr.gid || who.in_group(gid);
    who.may_to(Privilege::Chown, attr) || who.uid == attr.uid && joins()
}

/// Whether `who`, allowed to write in directory `dir`, may remove or rename its entry `child`: in a
/// sticky directory only the owner of either and the privileged (POSIX unlink(), EPERM/EACCES; Linux
/// `__check_sticky`).
pub fn may_remove_entry(who: &Credentials, dir: &Attr, child: &Attr) -> bool {
    let privileged = who.may_to(Privilege::Owner, child);
    dir.mode & S_ISVTX == 0 || privileged || who.uid == dir.uid || who.uid == child.uid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::tests::attr;

    fn user(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        Credentials::new(uid, gid, groups.to_vec())
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
