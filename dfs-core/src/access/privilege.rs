//! What a process may do beyond what modes and ownership allow: the capabilities of Linux that
//! concern files (capabilities(7)), and where a user namespace confines them (user_namespaces(7)).

use crate::attr::Attr;
use crate::range::Range;

/// One privilege; its number is that of the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Gives files away (CAP_CHOWN).
    Chown = 0,
    /// Reads and writes everything, searches every directory, executes what anyone may
    /// (CAP_DAC_OVERRIDE).
    Override = 1,
    /// Reads everything and searches every directory (CAP_DAC_READ_SEARCH).
    ReadSearch = 2,
    /// Does what only the owner may (CAP_FOWNER).
    Owner = 3,
    /// Keeps and sets set-id bits (CAP_FSETID).
    SetId = 4,
    /// Sees and changes `trusted.` and `security.` attributes (CAP_SYS_ADMIN).
    Admin = 21,
    /// Makes devices (CAP_MKNOD).
    MakeDevice = 27,
    /// Gives capabilities to programs (CAP_SETFCAP).
    SetCapability = 31,
}

impl Privilege {
    const ALL: [Privilege; 8] = [
        Privilege::Chown,
        Privilege::Override,
        Privilege::ReadSearch,
        Privilege::Owner,
        Privilege::SetId,
        Privilege::Admin,
        Privilege::MakeDevice,
        Privilege::SetCapability,
    ];

    fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// A set of privileges, in force everywhere or in a realm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    bits: u64,
    realm: Option<Realm>,
}

/// The users and groups that a user namespace knows: privileges that a process has only there are in
/// force on what belongs to them (Linux `privileged_wrt_inode_uidgid`), and those that concern the
/// whole machine are not in force at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realm {
    /// Users, as ranges.
    pub uids: Vec<Range>,
    /// Groups, as ranges.
    pub gids: Vec<Range>,
}

impl Realm {
    fn knows_user(&self, uid: u32) -> bool {
        knows(&self.uids, uid)
    }

    fn knows_group(&self, gid: u32) -> bool {
        knows(&self.gids, gid)
    }
}

fn knows(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|range| range.covers(Range::of_len(id.into(), 1)))
}

impl Privileges {
    /// Those a user has who says nothing else: all for the superuser, none for others.
    pub fn of_user(uid: u32) -> Privileges {
        match uid {
            0 => Privileges::of_capabilities(u64::MAX),
            _ => Privileges::default(),
        }
    }

    /// Those among capabilities, one bit for each number.
    pub fn of_capabilities(capabilities: u64) -> Privileges {
        let known: u64 = Privilege::ALL.iter().map(|privilege| privilege.bit()).sum();
        Privileges { bits: capabilities & known, realm: None }
    }

    /// The same, in this realm only.
    pub fn within(self, realm: Realm) -> Privileges {
        Privileges { realm: Some(realm), ..self }
    }

    /// The same without one.
    pub fn without(self, privilege: Privilege) -> Privileges {
        Privileges { bits: self.bits & !privilege.bit(), ..self }
    }

    /// As capabilities, one bit for each number.
    pub fn capabilities(&self) -> u64 {
        self.bits
    }

    /// Where they are in force; none: everywhere.
    pub fn realm(&self) -> Option<&Realm> {
        self.realm.as_ref()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Whether this one is among them, wherever it is in force.
    pub fn has(&self, privilege: Privilege) -> bool {
        self.bits & privilege.bit() != 0
    }

    /// Whether this one is in force on the whole machine.
    pub(super) fn anywhere(&self, privilege: Privilege) -> bool {
        self.has(privilege) && self.realm.is_none()
    }

    /// Whether this one is in force on an inode: both its user and its group must be of the realm.
    pub(super) fn on(&self, privilege: Privilege, attr: &Attr) -> bool {
        let known = |realm: &Realm| realm.knows_user(attr.uid) && realm.knows_group(attr.gid);
        self.has(privilege) && self.realm.as_ref().is_none_or(known)
    }

    /// Whether the caller counts as owner: here the group does not matter (Linux
    /// `inode_owner_or_capable`).
    pub(super) fn own(&self, attr: &Attr) -> bool {
        let known = |realm: &Realm| realm.knows_user(attr.uid);
        self.has(Privilege::Owner) && self.realm.as_ref().is_none_or(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Kind;
    use crate::attr::tests::attr;

    #[test]
    fn privileges_of_users_are_all_or_none() {
        let root = Privileges::of_user(0);
        for privilege in Privilege::ALL {
            assert!(root.anywhere(privilege));
            assert!(!Privileges::of_user(1).anywhere(privilege));
            assert!(!root.clone().without(privilege).anywhere(privilege));
            assert_eq!(
                Privileges::of_capabilities(1 << privilege as u64).capabilities(),
                privilege.bit()
            );
        }
        assert_eq!(root.capabilities(), 0x8820_001f, "other capabilities are not kept");
        assert!(Privileges::of_capabilities(1 << 24).is_empty());
    }

    #[test]
    fn privileges_of_a_realm_end_at_its_border() {
        let realm = Realm { uids: vec![Range::new(100, 200)], gids: vec![Range::new(300, 301)] };
        let inside = Privileges::of_user(0).within(realm);
        let mut file = attr(Kind::File);
        for (uid, gid, on, own) in [
            (100, 300, true, true),
            (199, 300, true, true),
            (200, 300, false, false),
            (100, 301, false, true),
            (0, 0, false, false),
        ] {
            (file.uid, file.gid) = (uid, gid);
            assert_eq!(inside.on(Privilege::Override, &file), on, "{uid}:{gid}");
            assert_eq!(inside.own(&file), own, "{uid}:{gid}");
        }
        assert!(!inside.anywhere(Privilege::MakeDevice));
    }
}
