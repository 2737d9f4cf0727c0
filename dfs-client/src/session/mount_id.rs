//! Who this mount is: a number that survives restarts, one that does not, and the lock that keeps a
//! second daemon out (PROTOCOL 2.1, rule 1).

use dfs_core::{Code, FsError, Result, errno};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rand::TryRng;
use rand::rngs::SysRng;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Identity of a mount, held exclusively while this lives.
#[derive(Debug)]
pub(super) struct MountId {
    /// The same as long as the cache folder lives.
    pub(super) uuid: [u8; 16],
    /// New with each start of the program.
    pub(super) verifier: [u8; 16],
    _lock: Flock<File>,
}

impl MountId {
    /// Reads or makes the identity in `dir`, which is made if it is missing. Fails with `Busy` if
    /// another process uses the folder.
    pub(super) fn open(dir: &Path) -> Result<MountId> {
        fs::create_dir_all(dir).map_err(|e| failed(dir, "make", &e))?;
        let path = dir.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|e| failed(&path, "open", &e))?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
                Errno::EWOULDBLOCK => FsError::new(
                    Code::Busy,
                    format!("cache folder {} is used by another process", dir.display()),
                ),
                e => failed(&path, "lock", &e.into()),
            })?;
        let verifier = random()?;
        Ok(MountId { uuid: uuid(dir)?, verifier, _lock: lock })
    }
}

fn uuid(dir: &Path) -> Result<[u8; 16]> {
    let path = dir.join("uuid");
    match fs::read(&path) {
        // A file of another length was cut by a crash before this program existed: made again.
        Ok(bytes) if bytes.len() == 16 => Ok(bytes.try_into().expect("16 bytes")),
        Ok(_) => new_uuid(dir),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => new_uuid(dir),
        Err(e) => Err(failed(&path, "read", &e)),
    }
}

fn new_uuid(dir: &Path) -> Result<[u8; 16]> {
    let uuid = random()?;
    let (path, temporary) = (dir.join("uuid"), dir.join("uuid.new"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&uuid)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| failed(&path, "write", &e))?;
    Ok(uuid)
}

fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let filled = SysRng.try_fill_bytes(&mut bytes);
    filled.map_err(|e| FsError::new(Code::Io, format!("no random bytes: {e}")))?;
    Ok(bytes)
}

fn failed(path: &Path, what: &str, e: &std::io::Error) -> FsError {
    let code = e.raw_os_error().map_or(Code::Io, errno::code_of);
    FsError::new(code, format!("cannot {what} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_id_survives_restart_and_keeps_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let first = MountId::open(dir.path()).unwrap();
        assert_eq!(MountId::open(dir.path()).unwrap_err().code, Code::Busy);
        let (uuid, verifier) = (first.uuid, first.verifier);
        drop(first);
        let second = MountId::open(dir.path()).unwrap();
        assert_eq!(second.uuid, uuid);
        assert_ne!(second.verifier, verifier);
    }
}
