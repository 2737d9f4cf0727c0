//! Who is asking: the kernel tells user and group, `/proc` the supplementary groups and capabilities.
//!
//! They are read for each request: a process that has just joined or left a group must not be judged
//! by what it was in before.
//!
//! Of what a superuser without capabilities may not do the kernel has refused nearly all before it
//! asks us (`default_permissions`). It alone can: overlayfs, the NFS server and others ask under
//! credentials that are not those of their thread. So user 0 costs no look at `/proc`, except where
//! the kernel leaves the decision to us: [`exactly`].

use crate::task_status::{self, Identity};
use dfs_core::access::{Credentials, Privilege, Privileges, Realm};
use nix::unistd::Pid;

/// Credentials of the thread `tid` that asks as `uid` and `gid`; 0: none (read-ahead, write-back) or
/// not visible from here.
pub fn credentials(tid: u32, uid: u32, gid: u32) -> Credentials {
    let plain = Credentials::new(uid, gid, Vec::new());
    if uid == 0 || tid == 0 {
        return plain;
    }
    let Some(status) = task_status::read(tid) else { return plain };
    let identity = Identity::parse(&status);
    if (identity.uid, identity.gid) != (uid, gid) {
        // The thread acts for somebody else; what it may do itself says nothing.
        return plain;
    }
    let privileges = in_realm(tid, Privileges::of_capabilities(identity.capabilities));
    Credentials { groups: identity.groups, privileges, ..plain }
}

/// As [`credentials`], for a request where the kernel leaves it to us whether the superuser has these
/// privileges.
pub fn exactly(tid: u32, uid: u32, gid: u32, decisive: &[Privilege]) -> Credentials {
    let who = credentials(tid, uid, gid);
    let missing = |privileges: &Privileges| {
        decisive.iter().copied().filter(|privilege| !privileges.has(*privilege)).collect::<Vec<_>>()
    };
    let has_all = |bits| missing(&Privileges::of_capabilities(bits)).is_empty();
    if uid != 0 || tid == 0 || capabilities(tid).is_none_or(has_all) {
        return who;
    }
    let Some(status) = task_status::read(tid) else { return who };
    let identity = Identity::parse(&status);
    if (identity.uid, identity.gid) != (uid, gid) {
        return who;
    }
    let lacks = missing(&Privileges::of_capabilities(identity.capabilities));
    let privileges = lacks.into_iter().fold(who.privileges, Privileges::without);
    Credentials { privileges, ..who }
}

/// Effective capabilities of a thread in one system call; `None` if it is gone.
fn capabilities(tid: u32) -> Option<u64> {
    let pid = rustix::thread::Pid::from_raw(tid.try_into().ok()?)?;
    let sets = rustix::thread::capabilities(Some(pid)).ok()?;
    Some(sets.effective.bits())
}

/// Privileges of a thread of another user namespace reach as far as the users and groups that this
/// one knows; where that is not known: nowhere.
fn in_realm(tid: u32, privileges: Privileges) -> Privileges {
    if privileges.is_empty() {
        return privileges;
    }
    match (
        task_status::user_namespace(tid),
        task_status::user_namespace(Pid::this().as_raw() as u32),
    ) {
        (Some(theirs), Some(ours)) if theirs == ours => privileges,
        (Some(_), Some(_)) => {
            match (task_status::known_ids(tid, "uid"), task_status::known_ids(tid, "gid")) {
                (Some(uids), Some(gids)) => privileges.within(Realm { uids, gids }),
                _ => Privileges::default(),
            }
        }
        _ => Privileges::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_thread_if_it_asks_for_itself() {
        let me = std::process::id();
        let identity = Identity::parse(&task_status::read(me).unwrap());
        let (uid, gid) = (identity.uid, identity.gid);
        if uid != 0 {
            assert_eq!(credentials(me, uid, gid).groups, identity.groups);
        }
        assert_eq!(credentials(me, uid + 1000, gid), Credentials::new(uid + 1000, gid, vec![]));
        assert_eq!(credentials(me, 0, 0), Credentials::root());
        assert!(credentials(u32::MAX, 1000, 7).groups.is_empty(), "thread is gone");
    }

    #[test]
    fn capabilities_are_told_alike_by_both_sources() {
        let me = std::process::id();
        let identity = Identity::parse(&task_status::read(me).unwrap());
        assert_eq!(capabilities(me), Some(identity.capabilities));
        assert_eq!(capabilities(u32::MAX), None);
        assert_eq!(capabilities(0), None);
    }

    #[test]
    fn privileges_of_our_own_namespace_reach_everywhere() {
        let all = Privileges::of_user(0);
        assert_eq!(in_realm(std::process::id(), all.clone()), all);
        assert!(in_realm(u32::MAX, all).is_empty(), "thread is gone");
    }
}
