//! Folders of a mount on this machine: its cache, and the record by which helpers find its daemon.

use crate::cli::MountArgs;
use crate::exit::{Failure, Result};
use crate::options::CACHE_MIN;
use nix::sys::statvfs::statvfs;
use siphasher::sip::SipHasher13;
use std::fs::DirBuilder;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The cache of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its folder, which exists.
    pub cache: PathBuf,
    /// Its bound in bytes.
    pub cache_bytes: u64,
    /// The log of a daemon.
    pub log_file: PathBuf,
}

/// Chooses and makes the cache folder (mode 0700) as the options say, or by default.
pub fn choose(args: &MountArgs, mountpoint: &Path) -> Result<Place> {
    let options = &args.options;
    let cache = match &options.cache {
        Some(cache) => cache.clone(),
        None => caches().join(hash(&[args.source_text.as_bytes(), path_bytes(mountpoint)])),
    };
    let fail = |e: &dyn std::fmt::Display| {
        Failure::system(format!("cannot use cache folder {}: {e}", cache.display()))
    };
    let hint = if options.cache.is_none() { ": choose one with cache=DIR" } else { "" };
    make_private(&cache).map_err(|e| fail(&format!("{e}{hint}")))?;
    if cache.canonicalize().map_err(|e| fail(&e))?.starts_with(mountpoint) {
        return Err(fail(&"it lies below the mount point"));
    }
    let cache_bytes = match options.cache_bytes {
        Some(bytes) => bytes,
        None => {
            let disk = statvfs(&cache).map_err(|e| fail(&e))?;
            default_bytes(disk.blocks(), disk.blocks_available(), disk.fragment_size())
        }
    };
    let log_file = options.log_file.clone().unwrap_or_else(|| cache.join("log/dfs-fuse.log"));
    Ok(Place { cache, cache_bytes, log_file })
}

/// A tenth of the disk, at most half of what is free, at least [`CACHE_MIN`].
fn default_bytes(blocks: u64, available: u64, block_bytes: u64) -> u64 {
    (blocks / 10).min(available / 2).saturating_mul(block_bytes).max(CACHE_MIN)
}

/// File that leads from a mount point to its daemon's cache.
pub fn record(mountpoint: &Path) -> PathBuf {
    let folder = if nix::unistd::geteuid().is_root() {
        PathBuf::from("/run/dfs")
    } else {
        match absolute_env("XDG_RUNTIME_DIR") {
            Some(dir) => dir.join("dfs"),
            None => caches().join("run"),
        }
    };
    folder.join(hash(&[path_bytes(mountpoint)]))
}

/// Makes a folder and those above it, open to its owner only.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The folder that holds the caches of this user.
fn caches() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/cache/dfs");
    }
    let home = || absolute_env("HOME").map(|home| home.join(".cache"));
    let base = absolute_env("XDG_CACHE_HOME").or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("dfs")
}

fn absolute_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// 16 hexadecimal digits that stay the same across versions of this program.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(part);
        hasher.write_u8(0);
    }
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn args(options: &str) -> MountArgs {
        let line = ["dfs-fuse", "h:1", "/mnt", "-o", options].map(std::ffi::OsString::from);
        match crate::cli::parse(line).unwrap() {
            crate::cli::Invocation::Mount(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cache_folder_is_private_and_outside_the_mount() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("a/b");
        let args = args(&format!("cache={},cache_size=1g", cache.display()));
        let place = choose(&args, Path::new("/mnt")).unwrap();
        assert_eq!((place.cache_bytes, &place.cache), (1 << 30, &cache));
        assert_eq!(place.log_file, cache.join("log/dfs-fuse.log"));
        assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
        let failure = choose(&args, &folder.path().canonicalize().unwrap()).unwrap_err();
        assert!(failure.message.contains("below the mount point"), "{failure}");
    }

    #[test]
    fn default_size_is_sensible_for_the_disk() {
        let gib = 1 << 30;
        assert_eq!(default_bytes(100 * gib, 90 * gib, 1), 10 * gib);
        assert_eq!(default_bytes(100 * gib, 4 * gib, 1), 2 * gib);
        assert_eq!(default_bytes(100, 100, 4096), CACHE_MIN);
    }

    #[test]
    fn hash_is_stable_and_keeps_parts_apart() {
        assert_eq!(hash(&[b"host:2000", b"/mnt"]), hash(&[b"host:2000", b"/mnt"]));
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"x"]).len(), 16);
        // A changed value would leave the caches of all users behind.
        assert_eq!(hash(&[b"host:2000", b"/mnt"]), "083a27c19e248b09");
    }
}
