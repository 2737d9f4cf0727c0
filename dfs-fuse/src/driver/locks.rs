//! Record locks. flock(2) arrives here too, as a lock of the whole file; the system call that the
//! caller waits in tells them apart (PROTOCOL 5.4).
//!
//! A lock belongs to a process or, with flock(2) and `F_OFD_SETLK`, to an open file. Of the first the
//! kernel tells when the process closes any descriptor (FLUSH), of the second when the open file is
//! gone (RELEASE): but only of flock, and without naming the owner for `F_OFD_SETLK`. So it is noted
//! here who locked through which handle.
//!
//! A reader of a small file that nobody here has locked closes it without FLUSH; if it then locks
//! through this handle, its locks go with the last descriptor of the handle (`docs/design/0031`).

use super::call::Call;
use super::lock_call;
use dfs_client::vfs::RecordLock;
use dfs_core::lock::Kind;
use dfs_core::{Code, FsError, Ino};
use fuser::{ReplyEmpty, ReplyLock};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Last byte of a lock that goes to the end of the file, as the kernel writes it.
const TO_THE_END: u64 = i64::MAX as u64;

/// Inodes that are remembered as locked, at least; at most twice as many.
const REMEMBERED: usize = 1 << 16;

/// Who locks what.
#[derive(Debug, Default)]
pub struct Owners(Mutex<Locking>);

#[derive(Debug, Default)]
struct Locking {
    /// Owners that locked an inode through a handle and have not closed it. Whoever is left when the
    /// handle is released is the open file itself, or closed it unheard.
    through: BTreeMap<(Ino, u64), BTreeSet<u64>>,
    inodes: Remembered,
}

/// Inodes that were locked in the life of this mount: the last [`REMEMBERED`], and some before them.
#[derive(Debug, Default)]
struct Remembered {
    recent: HashSet<Ino>,
    older: HashSet<Ino>,
}

impl Remembered {
    fn insert(&mut self, ino: Ino) {
        if self.recent.len() == REMEMBERED && !self.recent.contains(&ino) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(ino);
    }

    fn contains(&self, ino: Ino) -> bool {
        self.recent.contains(&ino) || self.older.contains(&ino)
    }
}

impl Owners {
    /// `owner` asks for a lock on `ino` through `fh`.
    fn note(&self, ino: Ino, fh: u64, owner: u64) {
        let mut all = self.all();
        all.through.entry((ino, fh)).or_default().insert(owner);
        all.inodes.insert(ino);
    }

    /// Whether locks may depend on hearing of each closed descriptor of the inode.
    pub fn need_flush(&self, ino: Ino) -> bool {
        self.all().inodes.contains(ino)
    }

    /// The process `owner` closed a descriptor of `fh`, and so loses its locks.
    pub fn closed(&self, ino: Ino, fh: u64, owner: u64) {
        if let Some(owners) = self.all().through.get_mut(&(ino, fh)) {
            owners.remove(&owner);
        }
    }

    /// `fh` is gone: whose locks go with it. Not those of a process that locked the inode through
    /// another handle as well: it may have closed this one long ago, and a child had it still.
    pub fn released(&self, ino: Ino, fh: u64) -> BTreeSet<u64> {
        let through = &mut self.all().through;
        let mut owners = through.remove(&(ino, fh)).unwrap_or_default();
        for (_, elsewhere) in through.range((ino, 0)..=(ino, u64::MAX)) {
            owners.retain(|owner| !elsewhere.contains(owner));
        }
        owners
    }

    fn all(&self) -> MutexGuard<'_, Locking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock as the kernel states it.
#[derive(Clone, Copy)]
pub struct Asked {
    pub owner: u64,
    pub start: u64,
    pub end: u64,
    pub typ: i32,
    pub pid: u32,
}

impl Asked {
    fn record(self, kind: Kind) -> Result<RecordLock, FsError> {
        let exclusive = match self.typ {
            F_WRLCK => true,
            F_RDLCK | F_UNLCK => false,
            _ => return Err(Code::Invalid.into()),
        };
        let Asked { owner, pid, start, end, .. } = self;
        Ok(RecordLock { owner, kind, pid, exclusive, start, end })
    }
}

pub fn get(call: Call<'_>, asked: Asked, reply: ReplyLock) {
    let (vfs, ino) = (call.vfs(), call.ino);
    let work = async move { vfs.getlk(ino, &asked.record(Kind::Process)?).await };
    call.serve(reply, work, |reply, holder| match holder {
        // The kernel takes an end behind the largest offset for an error.
        Some(lock) => {
            let typ = if lock.exclusive { F_WRLCK } else { F_RDLCK };
            reply.locked(lock.start, lock.end.min(TO_THE_END), typ, lock.pid);
        }
        None => reply.locked(0, 0, F_UNLCK, 0),
    });
}

pub fn set(call: Call<'_>, fh: u64, asked: Asked, wait: bool, reply: ReplyEmpty) {
    let (vfs, who, ino, tid) = (call.vfs(), call.who(), call.ino, call.tid);
    let unlock = asked.typ == F_UNLCK;
    if !unlock {
        call.driver.lock_owners.note(ino, fh, asked.owner);
    }
    let work = async move {
        if !unlock {
            vfs.may_lock(fh)?;
        }
        let kind = lock_call::kind(tid).await;
        vfs.setlk(&who, ino, &asked.record(kind)?, unlock, wait).await
    };
    call.serve(reply, work, |reply, ()| reply.ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_that_did_not_close_go_with_the_handle() {
        let (owners, process, open_file) = (Owners::default(), 1, 2);
        owners.note(Ino(2), 7, process);
        owners.note(Ino(2), 7, open_file);
        owners.note(Ino(2), 8, process);
        owners.closed(Ino(2), 7, process);
        assert_eq!(owners.released(Ino(2), 7), BTreeSet::from([open_file]));
        assert_eq!(owners.released(Ino(2), 7), BTreeSet::new());
        assert_eq!(owners.released(Ino(2), 8), BTreeSet::from([process]));
    }

    #[test]
    fn owners_that_locked_through_another_handle_keep_their_locks() {
        let (owners, process) = (Owners::default(), 1);
        owners.note(Ino(2), 7, process);
        owners.note(Ino(2), 8, process);
        owners.note(Ino(3), 9, process);
        assert_eq!(owners.released(Ino(2), 7), BTreeSet::new(), "a child had it last");
        assert_eq!(owners.released(Ino(2), 8), BTreeSet::from([process]));
        assert_eq!(owners.released(Ino(3), 9), BTreeSet::from([process]));
    }

    #[test]
    fn owners_need_flush_of_inodes_that_were_locked_not_long_ago() {
        let owners = Owners::default();
        assert!(!owners.need_flush(Ino(2)));
        owners.note(Ino(2), 7, 1);
        owners.released(Ino(2), 7);
        assert!(owners.need_flush(Ino(2)) && !owners.need_flush(Ino(3)));
        let others = 3..REMEMBERED as u64 + 2;
        others.clone().for_each(|ino| owners.note(Ino(ino), 8, 1));
        owners.note(Ino(3), 8, 1);
        assert!(owners.need_flush(Ino(2)), "{REMEMBERED} inodes");
        owners.note(Ino(others.end), 8, 1);
        others.for_each(|ino| assert!(owners.need_flush(Ino(ino)), "{ino}"));
        let all = owners.all();
        assert!(all.inodes.recent.len() + all.inodes.older.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn asked_kinds_are_those_of_fcntl() {
        let asked = |typ| {
            let asked = Asked { owner: 1, start: 2, end: TO_THE_END, typ, pid: 3 };
            asked.record(Kind::Flock)
        };
        assert!(asked(F_WRLCK).unwrap().exclusive);
        assert!(!asked(F_RDLCK).unwrap().exclusive);
        assert!(!asked(F_UNLCK).unwrap().exclusive);
        assert_eq!(asked(99).unwrap_err().code, Code::Invalid);
    }
}
