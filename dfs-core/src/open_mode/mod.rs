//! How the handles of one inode are opened (PROTOCOL 5.6): the kernel ties an inode to one way of
//! reading and writing while handles are open, and answers `EIO` to an open that mixes them.
//!
//! The machine is asked under the inode's lock before an open is answered, and told of each close.
//! It must never give two handles a combination the kernel refuses (FUSE.md section 2, "Mode
//! rules"): the way an inode is used is fixed until its last handle is gone.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

/// What the program wants, as far as it decides the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenKind {
    /// Reading only.
    Read,
    /// Writing, at places that the kernel names.
    Write,
    /// `O_APPEND`, `O_DIRECT`, writing anew without reading, or a version of its own: past the kernel's
    /// pages.
    Direct,
}

/// What the shell found out before it asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// Kernel, privileges, options and cache file system allow passthrough, for this file too.
    pub available: bool,
    /// The working file holds all content, and all of it is known to be right.
    pub whole: bool,
}

/// How the open is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenAs {
    /// The kernel reads the working file itself.
    Passthrough,
    /// Backed by the working file, but reads and writes come to the daemon (`DIRECT_IO`).
    PassthroughDirect,
    /// Through the kernel's page cache.
    Cached,
    /// Every read and write comes to the daemon (`DIRECT_IO`).
    Direct,
}

/// The way an inode is used at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No handle is open.
    #[default]
    Idle,
    /// Handles are backed by the working file, all by the same registration.
    Passthrough,
    /// Handles use the page cache; some may be direct.
    Cached,
    /// All handles are direct. The kernel leaves this open; we go on to `Cached` only: who appends
    /// while others read is served well enough by that.
    Direct,
}

/// The mode of one inode and its open handles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    mode: Mode,
    handles: u64,
    /// Handles that are expected to be closed soon.
    closing: BTreeSet<u64>,
}

impl OpenMode {
    /// The way the inode is used now.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Handles open now.
    pub fn handles(&self) -> u64 {
        self.handles
    }

    /// A descriptor of the handle `fh` was closed (FLUSH). Nearly always it was the only one, and the
    /// kernel has sent the end of the handle (RELEASE) before any later open.
    pub fn closing(&mut self, fh: u64) {
        self.closing.insert(fh);
    }

    /// Whether an open would do well to wait: the handles that keep the inode from passthrough are all
    /// about to go.
    pub fn ends_soon(&self) -> bool {
        let passed = matches!(self.mode, Mode::Idle | Mode::Passthrough);
        !passed && self.closing.len() as u64 == self.handles
    }

    /// An open has waited long enough: the handles have other descriptors. Nobody waits for them
    /// again before the next of those is closed.
    pub fn lasts(&mut self) {
        self.closing.clear();
    }

    /// Decides how one more handle is opened and counts it. If the open then fails for another
    /// reason, call [`close`](OpenMode::close) to take it back.
    pub fn open(&mut self, kind: OpenKind, env: Env) -> OpenAs {
        let answer = match (self.mode, kind) {
            (Mode::Idle, OpenKind::Read) if env.available && env.whole => OpenAs::Passthrough,
            (Mode::Passthrough, OpenKind::Read) if env.whole => OpenAs::Passthrough,
            (Mode::Passthrough, _) => OpenAs::PassthroughDirect,
            (_, kind) => without_passthrough(kind),
        };
        self.mode = match (self.mode, answer) {
            (_, OpenAs::Passthrough | OpenAs::PassthroughDirect) => Mode::Passthrough,
            (_, OpenAs::Cached) | (Mode::Cached, OpenAs::Direct) => Mode::Cached,
            (_, OpenAs::Direct) => Mode::Direct,
        };
        self.handles += 1;
        answer
    }

    /// The kernel took no registration, so it knows of no passthrough handle of this inode, and is
    /// not going to: all that are counted are opened otherwise. Answers how this one is.
    pub fn fall_back(&mut self, kind: OpenKind) -> OpenAs {
        assert!(self.handles > 0, "a handle that falls back was counted");
        self.mode = Mode::Cached;
        without_passthrough(kind)
    }

    /// The handle `fh` is gone; with the last one the inode may be used in another way.
    ///
    /// # Panics
    /// If no handle is open.
    pub fn close(&mut self, fh: u64) {
        assert!(self.handles > 0, "closed a handle that was not open");
        self.handles -= 1;
        self.closing.remove(&fh);
        if self.handles == 0 {
            self.mode = Mode::Idle;
        }
    }
}

fn without_passthrough(kind: OpenKind) -> OpenAs {
    match kind {
        OpenKind::Direct => OpenAs::Direct,
        OpenKind::Read | OpenKind::Write => OpenAs::Cached,
    }
}
