//! The folder that holds everything durable of a server.
//!
//! ```text
//! DIR/lock      held with flock(2) by the one process that uses the folder; its process id as text
//! DIR/format    "dfs 1\n": layout of this folder
//! DIR/meta.db   metadata (metastore/sqlite), with meta.db-wal and the log (metastore/logged) beside it
//! DIR/delegations  who has which directory to itself (nameserver/delegations.rs)
//! DIR/objects/  content (filestore)
//! ```
//!
//! `format` is written last when the folder is made, so a folder without it was never in use. A
//! newer format than ours is refused, as is a folder with files that are not ours.

use crate::disk::{self, Space};
use dfs_core::{Code, FsError, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Layout of the folder as written by this program.
pub const FORMAT: u32 = 1;
/// A start with fewer bytes available than this is refused: not even removing files would work.
pub const FREE_MIN: u64 = 4 * 1024 * 1024;

const LOCK: &str = "lock";
const FORMAT_FILE: &str = "format";
const FORMAT_TEMP: &str = "format.new";
const META: &str = "meta.db";
const DELEGATIONS: &str = "delegations";
const OBJECTS: &str = "objects";
/// What `mkfs` leaves in a new file system.
const LOST_FOUND: &str = "lost+found";

/// A data folder in use by this process, locked as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Locks the folder at `path`; makes it and its layout if it is missing (its parent must
    /// exist). The message of a failure names the folder and what to do about it.
    ///
    /// Fails with `Busy` (in use by another process), `NotFound` (no parent), `NotDirectory`,
    /// `AccessDenied`, `ReadOnly`, `NoSpace` (less than [`FREE_MIN`]), `NotSupported` (a newer
    /// format), `Invalid` (files of somebody else) or `Io`.
    pub fn open(path: &Path) -> Result<DataDir> {
        make_folder(path)?;
        let lock = lock(path)?;
        let space = Space::of(path)?;
        if space.available < FREE_MIN {
            let text = format!(
                "data folder {} has {} bytes left, a start needs {FREE_MIN}",
                path.display(),
                space.available
            );
            return Err(FsError::new(Code::NoSpace, text));
        }
        match read_format(path)? {
            Some(FORMAT) => {}
            Some(newer) => {
                let text = format!(
                    "data folder {} has format {newer}, this program knows {FORMAT}: use a newer \
                     dfs-server",
                    path.display()
                );
                return Err(FsError::new(Code::NotSupported, text));
            }
            None => make_layout(path)?,
        }
        Ok(DataDir { path: path.to_path_buf(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of the metadata store.
    pub fn meta_db(&self) -> PathBuf {
        self.path.join(META)
    }

    /// The file of delegations.
    pub fn delegations(&self) -> PathBuf {
        self.path.join(DELEGATIONS)
    }

    /// The folder of the file store.
    pub fn objects(&self) -> PathBuf {
        self.path.join(OBJECTS)
    }

    /// Bytes of the file system below.
    pub fn space(&self) -> Result<Space> {
        Space::of(&self.path)
    }
}

/// A failure at start: nobody but the person who starts the server sees the code, so it may be the
/// errno's own.
fn refused(path: &Path, attempt: &str, err: &io::Error) -> FsError {
    let code = err.raw_os_error().map_or(Code::Io, dfs_core::errno::code_of);
    FsError::new(code, format!("data folder {}: cannot {attempt}: {err}", path.display()))
}

fn make_folder(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            disk::sync_folder(parent.unwrap_or(Path::new(".")))
        }
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::metadata(path).map_err(|e| refused(path, "look at it", &e))?;
            if meta.is_dir() {
                return Ok(());
            }
            let text = format!("data folder {} is not a folder", path.display());
            Err(FsError::new(Code::NotDirectory, text))
        }
        Err(err) => Err(refused(path, "create it", &err)),
    }
}

fn lock(path: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join(LOCK))
        .map_err(|e| refused(path, "open its file 'lock'", &e))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((mut file, nix::Error::EWOULDBLOCK)) => {
            let mut holder = String::new();
            // Only decorates the message.
            let _ = file.read_to_string(&mut holder);
            let text = format!(
                "data folder {} is in use by another process ({})",
                path.display(),
                holder.trim()
            );
            return Err(FsError::new(Code::Busy, text));
        }
        Err((_, errno)) => return Err(refused(path, "lock it", &errno.into())),
    };
    let text = format!("process {}\n", std::process::id());
    lock.set_len(0)
        .and_then(|()| lock.write_all(text.as_bytes()))
        .map_err(|e| refused(path, "write its file 'lock'", &e))?;
    Ok(lock)
}

/// The format number, `None` if the folder is new. Numbers below [`FORMAT`] do not exist yet.
fn read_format(path: &Path) -> Result<Option<u32>> {
    match fs::read(path.join(FORMAT_FILE)) {
        Ok(bytes) => {
            let number = std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.strip_prefix("dfs ")?.strip_suffix('\n')?.parse().ok());
            match number {
                Some(number) if number >= FORMAT => Ok(Some(number)),
                _ => {
                    let text = format!(
                        "data folder {}: its file 'format' does not read 'dfs {FORMAT}'",
                        path.display()
                    );
                    Err(FsError::new(Code::Invalid, text))
                }
            }
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => check_new(path).map(|()| None),
        Err(err) => Err(refused(path, "read its file 'format'", &err)),
    }
}

/// Refuses a folder that holds anything a half-made data folder would not.
fn check_new(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(|e| refused(path, "list it", &e))? {
        let name = entry.map_err(|e| refused(path, "list it", &e))?.file_name();
        let ours = [LOCK, FORMAT_TEMP, OBJECTS, LOST_FOUND].iter().any(|n| name == *n);
        if !ours {
            let text = format!(
                "{} is not a data folder: it has no file 'format' but holds '{}'",
                path.display(),
                name.display()
            );
            return Err(FsError::new(Code::Invalid, text));
        }
    }
    Ok(())
}

fn make_layout(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path.join(OBJECTS)) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refused(path, "create 'objects' in it", &err));
        }
        _ => {}
    }
    let temp = path.join(FORMAT_TEMP);
    File::create(&temp)
        .and_then(|mut file| {
            file.write_all(format!("dfs {FORMAT}\n").as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temp, path.join(FORMAT_FILE)))
        .map_err(|e| refused(path, "write its file 'format'", &e))?;
    disk::sync_folder(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_and_text(path: &Path) -> (Code, String) {
        let err = DataDir::open(path).unwrap_err();
        assert!(!err.message.contains('\n'), "{err}");
        assert!(err.message.contains(path.to_str().unwrap()), "{err}");
        (err.code, err.message)
    }

    #[test]
    fn datadir_is_made_and_opened_again() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        for _ in 0..2 {
            let dir = DataDir::open(&path).unwrap();
            assert!(dir.objects().is_dir());
            assert!(dir.space().unwrap().total > 0);
            fs::write(dir.meta_db(), "").unwrap();
        }
        assert_eq!(fs::read_to_string(path.join("format")).unwrap(), "dfs 1\n");
    }

    #[test]
    fn datadir_in_use_is_refused_with_the_holder() {
        let temp = tempfile::tempdir().unwrap();
        let held = DataDir::open(temp.path()).unwrap();
        let (code, text) = code_and_text(temp.path());
        assert_eq!(code, Code::Busy);
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        drop(held);
        DataDir::open(temp.path()).unwrap();
    }

    #[test]
    fn datadir_of_a_newer_format_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("format"), "dfs 2\n").unwrap();
        assert_eq!(code_and_text(temp.path()).0, Code::NotSupported);
        fs::write(temp.path().join("format"), "junk").unwrap();
        assert_eq!(code_and_text(temp.path()).0, Code::Invalid);
    }

    #[test]
    fn datadir_refuses_folders_that_are_not_its_own() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(code_and_text(&temp.path().join("no/parent")).0, Code::NotFound);
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(code_and_text(&file).0, Code::NotDirectory);
        assert_eq!(code_and_text(&file.join("below")).0, Code::NotDirectory);
        let (code, text) = code_and_text(temp.path());
        assert_eq!(code, Code::Invalid);
        assert!(text.contains("'file'"), "{text}");
    }

    #[test]
    fn datadir_half_made_is_completed() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("format.new"), "df").unwrap();
        fs::create_dir(temp.path().join("objects")).unwrap();
        fs::create_dir(temp.path().join("lost+found")).unwrap();
        DataDir::open(temp.path()).unwrap();
        DataDir::open(temp.path()).unwrap();
    }
}
