//! System calls as somebody else: on a thread that has credentials of its own, which Linux allows.

use nix::sched::{CloneFlags, unshare};
use rustix::process::umask;
use rustix::thread::{
    CapabilitySet, Gid, Uid, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// A user with groups and a umask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Bits taken from what is made.
    pub umask: u32,
    /// Effective capabilities, one bit for each number, as far as the test itself has them; none:
    /// those that the user has anyway.
    pub capabilities: Option<u64>,
}

impl Person {
    /// A user with these groups and no umask.
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Person {
        Person { uid, gid, groups: groups.to_vec(), umask: 0, capabilities: None }
    }

    /// Runs `work` as this user; the test itself must run as root.
    pub fn does<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let run = || {
            self.become_it();
            work()
        };
        let joined = std::thread::scope(|scope| scope.spawn(run).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Changes this thread for good, except for a way back: see [`Person::regroup`].
    fn become_it(&self) {
        unshare(CloneFlags::CLONE_FS).expect("a umask of its own");
        umask(rustix::fs::Mode::from_raw_mode(self.umask));
        set_groups(&self.groups);
        let gid = Gid::from_raw(self.gid);
        set_thread_res_gid(gid, gid, gid).expect("only root changes its group");
        let uid = Uid::from_raw(self.uid);
        set_thread_res_uid(uid, uid, Uid::ROOT).expect("only root changes its user");
        if let Some(wanted) = self.capabilities {
            let mut sets = capabilities(None).expect("a thread may look at itself");
            sets.effective = CapabilitySet::from_bits_retain(wanted) & sets.permitted;
            set_capabilities(None, sets).expect("what is permitted may be effective");
        }
    }

    /// Changes the supplementary groups of a thread that [`Person::does`] runs, as a login shell
    /// does.
    pub fn regroup(&self, groups: &[u32]) {
        let (uid, root) = (Uid::from_raw(self.uid), Uid::ROOT);
        set_thread_res_uid(uid, root, root).expect("the way back is open");
        set_groups(groups);
        set_thread_res_uid(uid, uid, root).expect("root may change its user");
    }
}

fn set_groups(groups: &[u32]) {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).expect("only root changes its groups");
}
