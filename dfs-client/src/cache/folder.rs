//! The layout of the cache folder, and who may use it.
//!
//! ```text
//! lock                  held while a daemon uses the folder
//! uuid                  of this mount, 32 hexadecimal digits
//! index.db              what is known about clean content
//! small                 clean content of small files (pack.rs)
//! data/XX/<ino>         working files; XX are the last two digits
//! unsaved/<ino>         journals of unsaved work; an empty one means none
//! mapped/<ino>          the boot in which somebody may store into the working file past the daemon
//! slots                 writes that were answered and not carried out (slots.rs)
//! deferred              files that the server has not heard of (deferred/journal.rs)
//! fresh/                files about to replace working files; emptied at start
//! recovered/            the recovery area
//! ```

use super::disk::{self, io_error};
use dfs_core::{Code, FsError, Ino, Result};
use rand::TryRng;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Number of folders in `data`.
pub const DATA_FOLDERS: u64 = 256;
/// The kernel's number of this boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Longest wait for a daemon that ends, and how often is looked.
const ENDING: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// A cache folder in the hands of this process.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    uuid: [u8; 16],
    verifier: [u8; 16],
    boot: [u8; 16],
    /// Unlocks when dropped.
    _lock: File,
}

/// Takes the lock of a folder. A daemon that ends lets go of what announces it before it lets go of
/// this, also when it is killed.
fn wait_for(lock: &File, root: &Path, path: &Path) -> Result<()> {
    let until = Instant::now() + ENDING;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                let text = format!("another daemon uses the cache folder {}", root.display());
                return Err(FsError::new(Code::Busy, text));
            }
            Err(TryLockError::Error(e)) => return Err(io_error("lock", path, &e)),
        }
    }
}

impl Folder {
    /// Takes the folder, making it with mode 0700 if it is not there.
    ///
    /// Errors: `Busy` if another daemon has it and keeps it.
    pub fn open(root: &Path) -> Result<Folder> {
        make_dir(root)?;
        let path = root.join("lock");
        let options =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let lock = options.open(&path).map_err(|e| io_error("open", &path, &e))?;
        wait_for(&lock, root, &path)?;
        let fresh = root.join("fresh");
        match std::fs::remove_dir_all(&fresh) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error("empty", &fresh, &e));
            }
            _ => {}
        }
        for name in ["fresh", "unsaved", "mapped", "recovered"] {
            make_dir(&root.join(name))?;
        }
        let uuid = read_or_make_uuid(&root.join("uuid"))?;
        Ok(Folder {
            root: root.to_owned(),
            uuid,
            verifier: random_id()?,
            boot: boot_id()?,
            _lock: lock,
        })
    }

    /// The mount's number, the same after a restart.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// This daemon's number, new after a restart.
    pub fn verifier(&self) -> [u8; 16] {
        self.verifier
    }

    /// The number of the machine's boot.
    pub fn boot(&self) -> [u8; 16] {
        self.boot
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The index file.
    pub fn index(&self) -> PathBuf {
        self.root.join("index.db")
    }

    /// The file with the content of small files.
    pub fn small(&self) -> PathBuf {
        self.root.join("small")
    }

    /// One of the folders with working files, `n` below [`DATA_FOLDERS`]; made when it is needed.
    pub fn data_dir(&self, n: u64) -> PathBuf {
        self.root.join("data").join(format!("{n:02x}"))
    }

    /// The working file of an inode.
    pub fn data(&self, ino: Ino) -> PathBuf {
        self.data_dir(ino.0 % DATA_FOLDERS).join(format!("{:016x}", ino.0))
    }

    /// The folder of journals.
    pub fn unsaved_dir(&self) -> PathBuf {
        self.root.join("unsaved")
    }

    /// The journal of an inode.
    pub fn unsaved(&self, ino: Ino) -> PathBuf {
        self.unsaved_dir().join(format!("{:016x}", ino.0))
    }

    /// The folder of marks of files that somebody may store into past the daemon.
    pub fn mapped_dir(&self) -> PathBuf {
        self.root.join("mapped")
    }

    /// The mark of an inode.
    pub fn mapped(&self, ino: Ino) -> PathBuf {
        self.mapped_dir().join(format!("{:016x}", ino.0))
    }

    /// A file that will replace the working file of an inode.
    pub fn fresh(&self, ino: Ino) -> PathBuf {
        self.root.join("fresh").join(format!("{:016x}", ino.0))
    }

    /// A file that loses its name as soon as it is made, the `number`th of this daemon.
    pub fn nameless(&self, number: usize) -> PathBuf {
        self.root.join("fresh").join(format!("nameless-{number}"))
    }

    /// Writes that were answered and not carried out.
    pub fn slots(&self) -> PathBuf {
        self.root.join("slots")
    }

    /// Files that the server has not heard of.
    pub fn deferred(&self) -> PathBuf {
        self.root.join("deferred")
    }

    /// The recovery area.
    pub fn recovered(&self) -> PathBuf {
        self.root.join("recovered")
    }
}

/// The inode a file of `data` or `unsaved` belongs to.
pub fn ino_of(name: &std::ffi::OsStr) -> Option<Ino> {
    let name = name.to_str().filter(|name| name.len() == 16)?;
    u64::from_str_radix(name, 16).ok().map(Ino)
}

/// Makes a folder that only this user may look into; an existing one is fine.
pub fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| io_error("make folder", path, &e))
}

fn read_or_make_uuid(path: &Path) -> Result<[u8; 16]> {
    if let Ok(text) = std::fs::read_to_string(path)
        && let Some(uuid) = parse_id(text.trim())
    {
        return Ok(uuid);
    }
    let uuid = random_id()?;
    disk::replace(path, format!("{:032x}\n", u128::from_be_bytes(uuid)).as_bytes())?;
    Ok(uuid)
}

fn boot_id() -> Result<[u8; 16]> {
    let path = Path::new(BOOT_ID);
    let text = std::fs::read_to_string(path).map_err(|e| io_error("read", path, &e))?;
    parse_id(&text.trim().replace('-', ""))
        .ok_or_else(|| FsError::new(Code::Io, format!("{BOOT_ID} is not a number")))
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok())?.map(u128::to_be_bytes)
}

fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    rand::rngs::SysRng
        .try_fill_bytes(&mut id)
        .map_err(|e| FsError::new(Code::Io, format!("no random numbers: {e}")))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_refused_to_a_second_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        let refused = Folder::open(dir.path()).unwrap_err();
        assert_eq!(refused.code, Code::Busy);
        assert!(refused.message.contains("another daemon"), "{refused}");
        let (uuid, verifier) = (first.uuid(), first.verifier());
        drop(first);
        let second = Folder::open(dir.path()).unwrap();
        assert_eq!(second.uuid(), uuid);
        assert_ne!(second.verifier(), verifier);
    }

    #[test]
    fn regression_folder_of_a_daemon_that_ends_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        let second = std::thread::spawn({
            let root = dir.path().to_owned();
            move || Folder::open(&root).map(drop)
        });
        // There is nothing to wait on: the other one tries meanwhile, and is not refused.
        std::thread::sleep(POLL * 10);
        drop(first);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn folder_names_of_inodes_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = folder.data(Ino(0x1234));
        assert!(path.ends_with("data/34/0000000000001234"));
        assert_eq!(ino_of(path.file_name().unwrap()), Some(Ino(0x1234)));
        assert_eq!(ino_of("0000000000001234.tmp".as_ref()), None);
    }
}
