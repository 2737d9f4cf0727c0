//! Who is asking: the kernel tells user and group, `/proc` the supplementary groups.

use crate::task_status;
use dfs_core::access::Credentials;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long the groups of a thread are believed.
const GROUPS_TTL: Duration = Duration::from_secs(1);
/// Threads remembered at once.
const THREADS: usize = 1024;

/// A thread with an identity: one that changes its user is looked up anew.
type Thread = (u32, u32, u32);

/// Looks up callers and remembers their groups for a short time.
#[derive(Default)]
pub struct Callers {
    known: Mutex<HashMap<Thread, (Instant, Vec<u32>)>>,
}

impl Callers {
    /// Credentials of the thread `tid` that asks as `uid` and `gid`. The superuser needs no groups,
    /// and a request without thread (read-ahead, write-back) has none.
    pub fn credentials(&self, tid: u32, uid: u32, gid: u32) -> Credentials {
        if uid == 0 || tid == 0 {
            return Credentials { uid, gid, groups: Vec::new() };
        }
        let thread = (tid, uid, gid);
        let now = Instant::now();
        if let Some((since, groups)) = self.known().get(&thread)
            && now.duration_since(*since) < GROUPS_TTL
        {
            return Credentials { uid, gid, groups: groups.clone() };
        }
        let groups = task_status::read(tid).as_deref().map(task_status::groups).unwrap_or_default();
        let mut known = self.known();
        if known.len() >= THREADS {
            known.clear();
        }
        known.insert(thread, (now, groups.clone()));
        Credentials { uid, gid, groups }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Thread, (Instant, Vec<u32>)>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_groups_are_read_for_users_only() {
        let callers = Callers::default();
        let me = std::process::id();
        let status = task_status::read(me).unwrap();
        assert_eq!(callers.credentials(me, 1000, 7).groups, task_status::groups(&status));
        assert_eq!(callers.credentials(me, 0, 0), Credentials::root());
        assert_eq!(callers.known().len(), 1, "root is not looked up");
        assert!(callers.credentials(u32::MAX, 1000, 7).groups.is_empty(), "thread is gone");
    }

    #[test]
    fn credentials_memory_is_bounded() {
        let callers = Callers::default();
        for uid in 1..=(2 * THREADS as u32) {
            callers.credentials(u32::MAX, uid, 0);
        }
        assert!(callers.known().len() <= THREADS);
    }
}
