//! How the handles of one inode are opened (PROTOCOL 5.6): the kernel ties an inode to one way of
//! reading and writing while handles are open, and answers `EIO` to an open that mixes them.
//!
//! The machine is asked under the inode's lock before an open is answered, and told of each close.
//! It must never give two handles a combination the kernel refuses (FUSE.md section 2, "Mode
//! rules"): the way an inode is used is fixed until its last handle is gone.

#[cfg(test)]
mod tests;

/// What the program wants, as far as it decides the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenKind {
    /// Reading only.
    Read,
    /// Writing a file created or truncated under its write lease: all of it is unsaved.
    NewOrTruncated,
    /// Writing into existing content under a write lease.
    UpdateInPlace,
    /// `O_APPEND`, strict mode or `O_DIRECT`: the daemon places every byte.
    AppendStrictDirect,
}

/// What the shell found out before it asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// Kernel, privileges and cache file system allow passthrough.
    pub passthrough_available: bool,
    /// All content is local, or little enough to fetch before the open is answered.
    pub content_local_or_small: bool,
    /// The cache file system has the room a writer needs that cannot spill (`write_reserve`).
    pub write_reserve_ok: bool,
}

/// How the open is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenAs {
    /// The kernel reads and writes the working file itself.
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
    /// All handles are direct. The kernel leaves this open; we go on to `Cached` only, because
    /// bytes that a strict handle buffers are not in the working file.
    Direct,
}

/// The mode of one inode and its open handles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    mode: Mode,
    handles: u64,
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

    /// Decides how one more handle is opened and counts it. If the open then fails for another
    /// reason, call [`close`](OpenMode::close) to take it back.
    pub fn open(&mut self, kind: OpenKind, env: Env) -> OpenAs {
        let answer = match self.mode {
            Mode::Idle if env.passthrough_available && env.content_local_or_small => {
                idle_with_passthrough(kind, env)
            }
            Mode::Passthrough => beside_passthrough(kind, env),
            Mode::Idle | Mode::Cached | Mode::Direct => without_passthrough(kind),
        };
        self.mode = match (self.mode, answer) {
            (_, OpenAs::Passthrough | OpenAs::PassthroughDirect) => Mode::Passthrough,
            (_, OpenAs::Cached) | (Mode::Cached, OpenAs::Direct) => Mode::Cached,
            (_, OpenAs::Direct) => Mode::Direct,
        };
        self.handles += 1;
        answer
    }

    /// One handle is gone; with the last one the inode may be used in another way.
    ///
    /// # Panics
    /// If no handle is open.
    pub fn close(&mut self) {
        assert!(self.handles > 0, "closed a handle that was not open");
        self.handles -= 1;
        if self.handles == 0 {
            self.mode = Mode::Idle;
        }
    }
}

fn idle_with_passthrough(kind: OpenKind, env: Env) -> OpenAs {
    match kind {
        OpenKind::Read => OpenAs::Passthrough,
        OpenKind::NewOrTruncated if env.write_reserve_ok => OpenAs::Passthrough,
        // Such a writer could fill the disk with bytes the cache cannot spill.
        OpenKind::NewOrTruncated | OpenKind::UpdateInPlace => OpenAs::Cached,
        OpenKind::AppendStrictDirect => OpenAs::Direct,
    }
}

fn beside_passthrough(kind: OpenKind, env: Env) -> OpenAs {
    match kind {
        OpenKind::Read => OpenAs::Passthrough,
        OpenKind::NewOrTruncated if env.write_reserve_ok => OpenAs::Passthrough,
        OpenKind::NewOrTruncated | OpenKind::UpdateInPlace | OpenKind::AppendStrictDirect => {
            OpenAs::PassthroughDirect
        }
    }
}

fn without_passthrough(kind: OpenKind) -> OpenAs {
    match kind {
        OpenKind::AppendStrictDirect => OpenAs::Direct,
        OpenKind::Read | OpenKind::NewOrTruncated | OpenKind::UpdateInPlace => OpenAs::Cached,
    }
}
