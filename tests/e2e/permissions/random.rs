//! Random calls of several users, carried out on a local disk and on one of two mounts: both must give
//! the same answer, and leave the same modes, owners and access control lists, as the other mount
//! shows them.

use super::acl_of;
use dfs_core::access::Entry;
use dfs_tests::person::Person;
use dfs_tests::sys::errno;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Modes worth trying.
const MODES: &[u32] = &[
    0, 0o111, 0o400, 0o444, 0o600, 0o644, 0o640, 0o664, 0o666, 0o700, 0o750, 0o755, 0o770, 0o775,
    0o777, 0o1777, 0o1770, 0o2755, 0o2775, 0o2745, 0o4755, 0o6775, 0o6745, 0o3777, 0o007, 0o070,
    0o2767, 0o6767, 0o3775,
];
/// Places of the trees.
const DIRS: &[&str] = &["", "d", "e", "d/s"];
const NAMES: &[&str] = &["f", "g", "d", "e", "s"];

/// Users and groups of the game; every group is somebody's.
const UIDS: std::ops::Range<u32> = 4001..4005;
const GIDS: std::ops::Range<u32> = 5001..5005;

/// One call with its arguments.
#[derive(Clone, Debug)]
pub enum Call {
    Chmod(u32),
    Chown(Option<u32>, Option<u32>),
    SetAcl(&'static str, Vec<Entry>),
    DropAcl(&'static str),
    Mkdir(u32),
    Create(u32, bool),
    Read,
    Write,
    Cut,
    Truncate(u64),
    Unlink,
    Rmdir,
    Rename(PathBuf),
    Link(PathBuf),
    Symlink,
    Fifo(u32),
    List,
    Access(u8),
    Touch(Option<i64>),
    SetXattr(&'static str),
    GetXattr(&'static str),
    DropXattr(&'static str),
}

/// Who calls what on which path.
#[derive(Clone, Debug)]
pub struct Step {
    pub who: Person,
    pub path: PathBuf,
    pub call: Call,
}

const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
const XATTRS: [&str; 3] = ["user.x", "trusted.x", "security.x"];

/// Draws the next step.
pub fn draw(random: &mut StdRng) -> Step {
    if random.random_range(0..6) == 0 {
        // Else everything would soon be closed to everybody.
        let path = PathBuf::from(pick(random, DIRS));
        return Step { who: Person::default(), path, call: Call::Chmod(0o777) };
    }
    let who = person(random);
    let path = path(random);
    let mode = pick(random, MODES);
    let call = match random.random_range(0..40) {
        0..4 => Call::Chmod(mode),
        4..6 => Call::Chown(Some(random.random_range(UIDS)), some(random, GIDS)),
        6 => Call::Chown(None, Some(random.random_range(GIDS))),
        7..11 => Call::SetAcl(pick(random, &ACLS), acl_of(random, UIDS, GIDS)),
        11 => Call::DropAcl(pick(random, &ACLS)),
        12..15 => Call::Mkdir(mode),
        15..18 => Call::Create(mode, random.random()),
        18..20 => Call::Read,
        20..22 => Call::Write,
        22 => Call::Cut,
        23 => Call::Truncate(random.random_range(0..3)),
        24 => Call::Unlink,
        25 => Call::Rmdir,
        26..28 => Call::Rename(self::path(random)),
        28 => Call::Link(self::path(random)),
        29 => Call::Symlink,
        30 => Call::Fifo(mode),
        31..33 => Call::List,
        33 => Call::Access(random.random_range(0..8)),
        34 => Call::Touch(random.random::<bool>().then_some(1_000_000)),
        35..37 => Call::SetXattr(pick(random, &XATTRS)),
        37..39 => Call::GetXattr(pick(random, &XATTRS)),
        _ => Call::DropXattr(pick(random, &XATTRS)),
    };
    Step { who, path, call }
}

fn person(random: &mut StdRng) -> Person {
    let capabilities = match random.random_range(0..5) {
        0 => Some(random.random::<u64>() & random.random::<u64>()),
        _ => None,
    };
    if random.random_range(0..6) == 0 {
        return Person { capabilities, ..Person::new(0, 0, &[]) };
    }
    let mut groups: Vec<u32> = GIDS.filter(|_| random.random_range(0..3) == 0).collect();
    // The group that counts may stand behind more than the 16 that NFS knows.
    if random.random() {
        groups.splice(0..0, 6000..6040);
    }
    let umask = pick(random, &[0, 0o022, 0o077, 0o027]);
    let (uid, gid) = (random.random_range(UIDS), random.random_range(GIDS));
    Person { uid, gid, groups, umask, capabilities }
}

fn path(random: &mut StdRng) -> PathBuf {
    let dir = pick(random, DIRS);
    Path::new(dir).join(pick(random, NAMES))
}

fn pick<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

fn some(random: &mut StdRng, of: std::ops::Range<u32>) -> Option<u32> {
    random.random::<bool>().then(|| random.random_range(of))
}

impl Step {
    /// Carries the call out below `root`: what it gave, or its errno.
    pub fn on(&self, root: &Path) -> Result<String, i32> {
        let path = root.join(&self.path);
        self.who.does(|| self.call(root, &path)).map_err(errno)
    }

    fn call(&self, root: &Path, path: &Path) -> std::io::Result<String> {
        let permissions = Mode::from_raw_mode;
        match &self.call {
            Call::Chmod(mode) => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))?;
            }
            Call::Chown(uid, gid) => std::os::unix::fs::lchown(path, *uid, *gid)?,
            Call::SetAcl(name, entries) => {
                let acl = dfs_core::access::Acl::new(entries.clone()).expect("a list");
                dfs_tests::sys::set_xattr(path, name, &acl.encode())?;
            }
            Call::DropAcl(name) | Call::DropXattr(name) => {
                dfs_tests::sys::remove_xattr(path, name)?;
            }
            Call::Mkdir(mode) => std::fs::DirBuilder::new().mode(*mode).create(path)?,
            Call::Create(mode, exclusive) => {
                let mut options = if path.exists() { plain(path)? } else { File::options() };
                options.write(true).create(true).create_new(*exclusive).mode(*mode).open(path)?;
            }
            Call::Read => {
                let mut text = Vec::new();
                plain(path)?.read(true).open(path)?.read_to_end(&mut text)?;
                return Ok(format!("{} bytes", text.len()));
            }
            Call::Write => plain(path)?.write(true).open(path)?.write_all(b"x")?,
            Call::Cut => drop(plain(path)?.write(true).truncate(true).open(path)?),
            Call::Truncate(size) => {
                let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
                nix::unistd::truncate(path.as_c_str(), *size as i64)?;
            }
            Call::Unlink => std::fs::remove_file(path)?,
            Call::Rmdir => std::fs::remove_dir(path)?,
            Call::Rename(to) => std::fs::rename(path, root.join(to))?,
            Call::Link(to) => std::fs::hard_link(path, root.join(to))?,
            Call::Symlink => std::os::unix::fs::symlink("f", path)?,
            Call::Fifo(mode) => {
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(CWD, path, kind, permissions(*mode), 0)?;
            }
            Call::List => return Ok(dfs_tests::sys::names(path)?.join(" ")),
            Call::Access(mask) => {
                let mask = rustix::fs::Access::from_bits_truncate(u32::from(*mask));
                rustix::fs::accessat(CWD, path, mask, AtFlags::EACCESS)?;
            }
            Call::Touch(seconds) => {
                let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
                let time = seconds.map_or(now, |tv_sec| Timespec { tv_sec, tv_nsec: 0 });
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Call::SetXattr(name) => dfs_tests::sys::set_xattr(path, name, b"value")?,
            Call::GetXattr(name) => {
                return Ok(format!("{:?}", dfs_tests::sys::get_xattr(path, name)?));
            }
        }
        Ok("done".to_owned())
    }
}

impl Step {
    /// Whether an extended attribute that is no list is set or removed.
    pub fn changes_xattr(&self) -> bool {
        matches!(self.call, Call::SetXattr(_) | Call::DropXattr(_))
    }
}

/// Options to open what may block: a FIFO is not opened at all.
fn plain(path: &Path) -> std::io::Result<OpenOptions> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(path)?.file_type().is_fifo() {
        true => Err(Errno::NXIO.into()),
        false => Ok(File::options()),
    }
}

/// What the superuser sees of a path: kind, mode, owner, links and size, and all extended attributes.
pub fn look(root: &Path, path: &Path) -> String {
    let full = root.join(path);
    let meta = match std::fs::symlink_metadata(&full) {
        Ok(meta) => meta,
        Err(error) => return format!("errno {}", errno(error)),
    };
    let size = if meta.is_dir() { 0 } else { meta.len() };
    let (mode, uid, gid, links) = (meta.mode(), meta.uid(), meta.gid(), meta.nlink());
    let mut text = format!("{mode:o} {uid}:{gid} {links} links {size} bytes");
    for name in dfs_tests::sys::list_xattrs(&full).unwrap_or_default() {
        let value = dfs_tests::sys::get_xattr(&full, &name);
        write!(text, " {name}={value:?}").expect("a string takes it");
    }
    text
}
