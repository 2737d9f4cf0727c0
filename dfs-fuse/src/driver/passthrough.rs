//! Files that the kernel reads by itself (passthrough; FUSE.md 2, `docs/design/0016`).
//!
//! Which handles are backed by a file the client decides; this file registers it with the kernel, once
//! for each inode while such handles are open: the kernel refuses a second registration beside the first.

use super::call::{Fail, fail};
use super::handles;
use dfs_client::vfs::{Opened, Vfs};
use dfs_core::Ino;
use fuser::{BackingId, FileHandle, FopenFlags, InitFlags, KernelConfig};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is registered with the kernel.
#[derive(Debug)]
pub struct Backings {
    /// The folder of the files, unless the options say that there shall be none.
    cache: Option<PathBuf>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    inodes: HashMap<Ino, Backing>,
    /// The inode of each handle.
    handles: HashMap<u64, Ino>,
    /// The kernel refused a registration, and gets no other one.
    refused: bool,
}

/// A registration and the number of handles that have it.
#[derive(Debug)]
struct Backing {
    id: Arc<BackingId>,
    handles: usize,
}

impl Backings {
    /// For files of the folder `cache`, if there are to be any.
    pub fn of(cache: Option<&Path>) -> Backings {
        Backings { cache: cache.map(Path::to_owned), open: Mutex::default() }
    }

    /// Offers the kernel to read files by itself, where that can work; false: it will not.
    pub fn offer(&self, config: &mut KernelConfig) -> bool {
        let Some(cache) = &self.cache else { return false };
        let without = match offer(cache, config) {
            Ok(()) => return true,
            Err(why) => why,
        };
        tracing::info!("every read passes through the daemon: {without}");
        false
    }

    /// Counts a handle as backed; registers the file with `register`, unless one is for this inode.
    /// Fails if the kernel does not take it: then nothing is counted.
    fn enter(
        &self,
        ino: Ino,
        fh: u64,
        file: &File,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        let mut open = self.lock();
        if !open.inodes.contains_key(&ino) {
            if open.refused {
                return None;
            }
            match register(file) {
                Ok(id) => {
                    open.inodes.insert(ino, Backing { id: Arc::new(id), handles: 0 });
                }
                Err(error) => {
                    open.refused = true;
                    tracing::info!(%error, "every read passes through the daemon: the kernel takes no \
                        file of the cache");
                    return None;
                }
            }
        }
        let backing = open.inodes.get_mut(&ino)?;
        backing.handles += 1;
        let id = Arc::clone(&backing.id);
        open.handles.insert(fh, ino);
        Some(id)
    }

    /// A handle is gone; with the last one of an inode its registration. The kernel has forgotten both
    /// before it told us.
    pub fn released(&self, fh: u64) {
        let mut open = self.lock();
        let Some(ino) = open.handles.remove(&fh) else { return };
        if let Some(backing) = open.inodes.get_mut(&ino) {
            backing.handles -= 1;
            if backing.handles == 0 {
                open.inodes.remove(&ino);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offer(cache: &Path, config: &mut KernelConfig) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("the mount belongs to a user".to_owned());
    }
    let kind = statfs(cache).map_err(|e| e.to_string())?.filesystem_type();
    if kind == TMPFS_MAGIC {
        // It does not say when a mapping of a file was stored into.
        return Err("the folder of the cache is in memory (tmpfs)".to_owned());
    }
    // How many file systems may lie below this one: an overlay is one on another.
    let depth = if kind == OVERLAYFS_SUPER_MAGIC { 2 } else { 1 };
    config
        .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
        .map_err(|_| "this kernel cannot read files by itself".to_owned())?;
    config.set_max_stack_depth(depth).map_err(|_| "this kernel refuses the depth".to_owned())?;
    Ok(())
}

/// A reply to an open, or to a create.
pub trait OpenReply: Fail + Sized {
    /// Registers a file with the kernel.
    fn register(&self, file: &File) -> io::Result<BackingId>;
    /// Answers with a handle that no file backs.
    fn plain(self, fh: FileHandle, flags: FopenFlags);
    /// Answers with a handle that a registered file backs.
    fn backed(self, fh: FileHandle, flags: FopenFlags, id: &BackingId);
}

/// Answers an open or a create.
pub fn answer<R: OpenReply>(
    (vfs, backings): (&Vfs, &Backings),
    (op, ino): (&'static str, Ino),
    reply: R,
    opened: &Opened,
) {
    let (fh, flags) = (FileHandle(opened.fh), handles::flags_of(opened));
    let Some(file) = &opened.backing else {
        return reply.plain(fh, flags);
    };
    if let Some(id) = backings.enter(ino, opened.fh, file, |file| reply.register(file)) {
        return reply.backed(fh, flags, &id);
    }
    match vfs.open_without_passthrough(opened.fh) {
        Ok(plain) => {
            let plain = Opened { flush: opened.flush, ..plain };
            reply.plain(fh, handles::flags_of(&plain));
        }
        Err(error) => fail(op, ino, reply, &error),
    }
}
