//! Record locks. flock(2) arrives here too, as a lock of the whole file (PROTOCOL 5.4).

use super::call::Call;
use dfs_client::vfs::RecordLock;
use dfs_core::{Code, FsError};
use fuser::{ReplyEmpty, ReplyLock};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK};

/// Last byte of a lock that goes to the end of the file, as the kernel writes it.
const TO_THE_END: u64 = i64::MAX as u64;

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
    fn record(self) -> Result<RecordLock, FsError> {
        let exclusive = match self.typ {
            F_WRLCK => true,
            F_RDLCK | F_UNLCK => false,
            _ => return Err(Code::Invalid.into()),
        };
        let Asked { owner, pid, start, end, .. } = self;
        Ok(RecordLock { owner, pid, exclusive, start, end })
    }
}

pub fn get(call: Call<'_>, asked: Asked, reply: ReplyLock) {
    let (vfs, ino) = (call.vfs(), call.ino);
    let work = async move { vfs.getlk(ino, &asked.record()?).await };
    call.serve(reply, work, |reply, holder| match holder {
        // The kernel takes an end behind the largest offset for an error.
        Some(lock) => {
            let typ = if lock.exclusive { F_WRLCK } else { F_RDLCK };
            reply.locked(lock.start, lock.end.min(TO_THE_END), typ, lock.pid);
        }
        None => reply.locked(0, 0, F_UNLCK, 0),
    });
}

pub fn set(call: Call<'_>, asked: Asked, wait: bool, reply: ReplyEmpty) {
    let (vfs, who, ino) = (call.vfs(), call.who(), call.ino);
    let unlock = asked.typ == F_UNLCK;
    let work = async move { vfs.setlk(&who, ino, &asked.record()?, unlock, wait).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_kinds_are_those_of_fcntl() {
        let asked = |typ| Asked { owner: 1, start: 2, end: TO_THE_END, typ, pid: 3 }.record();
        assert!(asked(F_WRLCK).unwrap().exclusive);
        assert!(!asked(F_RDLCK).unwrap().exclusive);
        assert!(!asked(F_UNLCK).unwrap().exclusive);
        assert_eq!(asked(99).unwrap_err().code, Code::Invalid);
    }
}
