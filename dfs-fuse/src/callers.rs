//! Who is asking: the kernel tells user and group, `/proc` the supplementary groups.

use crate::task_status;
use dfs_core::access::Credentials;

/// Credentials of the thread `tid` that asks as `uid` and `gid`. The superuser needs no groups, and a
/// request without thread (read-ahead, write-back) has none. The groups are read for each request: a
/// process that has just joined or left one must not be judged by what it was in before.
pub fn credentials(tid: u32, uid: u32, gid: u32) -> Credentials {
    if uid == 0 || tid == 0 {
        return Credentials { uid, gid, groups: Vec::new() };
    }
    let groups = task_status::read(tid).as_deref().map(task_status::groups).unwrap_or_default();
    Credentials { uid, gid, groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_groups_are_read_for_users_only() {
        let me = std::process::id();
        let status = task_status::read(me).unwrap();
        assert_eq!(credentials(me, 1000, 7).groups, task_status::groups(&status));
        assert_eq!(credentials(me, 0, 0), Credentials::root());
        assert!(credentials(u32::MAX, 1000, 7).groups.is_empty(), "thread is gone");
    }
}
