//! Making, opening and closing files.

use super::create::touched_by;
use super::{Entry, OpenFlags, Opened, Vfs};
use crate::client::Client;
use crate::content::held;
use crate::interrupt;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::{Kind, MODE_MASK, NewMode};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};

impl Vfs {
    /// Makes a file and opens it (O_CREAT); without `exclusive` one that exists is opened. A new file
    /// comes with its write lease in the same call.
    ///
    /// Errors: `Exists`, `AccessDenied`, `NotFound`, `NoSpace`, `ReadOnly`, `IsDirectory`; for an
    /// existing file those of [`open`](Vfs::open).
    pub async fn create(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        mode: NewMode,
        flags: OpenFlags,
    ) -> Result<(Entry, Opened)> {
        self.writable()?;
        let name = Name::new(name)?;
        if self.client.metadata.is_leaving(dir, &name) {
            interrupt::wait(self.client.removals_over(&[dir])).await?;
            if let Some(made) = self.create_now(|| who.clone(), dir, name.as_bytes(), mode, flags) {
                return made;
            }
        }
        let request = v1::CreateReq {
            caller: None,
            dir: dir.0,
            name: name.as_bytes().to_vec().into(),
            mode: mode.mode & MODE_MASK,
            umask: mode.umask,
            exclusive: flags.exclusive,
            lease: flags.write,
        };
        let asked = self.client.metadata.asked();
        let of = name.clone();
        let apply = move |client: &Client, reply: &v1::CreateRep| {
            if reply.grant.is_some() {
                client.late.add();
            }
            let mark = reply.mark.unwrap_or_default();
            client.named(asked, &mark, &of, reply.attr.clone(), reply.dir.clone()).map(drop)
        };
        let reply = self.client.change(who, touched_by(dir, &name), request, apply).await?;
        let attr = convert::need_attr(reply.attr)?;
        let opened = match reply.created {
            true => {
                let grant = reply.grant.as_ref().map(held);
                self.content.open_created(who, &attr, grant, flags).await?
            }
            false => {
                check_kind(attr.ino, attr.kind)?;
                self.content.open(who, attr.ino, flags).await?
            }
        };
        Ok((self.entry(dir, &name, attr), opened))
    }

    /// As [`create`](Vfs::create), if that can be done without asking anybody: the file is opened for
    /// writing, and its directory delegated to this client. None: it was not done. `who` is asked only
    /// if it may be.
    pub fn create_now(
        &self,
        who: impl FnOnce() -> Credentials,
        dir: Ino,
        name: &[u8],
        mode: NewMode,
        flags: OpenFlags,
    ) -> Option<Result<(Entry, Opened)>> {
        let squash = self.client.session.root_squash();
        if !flags.write || self.client.config.read_only || squash {
            return None;
        }
        let name = Name::new(name).ok()?;
        self.client.session.lease_left()?;
        let mode = NewMode { mode: mode.mode & MODE_MASK, ..mode };
        let made = self.content.make_here(who, dir, &name, mode, flags)?;
        Some(made.map(|(attr, opened)| (self.entry(dir, &name, attr), opened)))
    }

    /// Opens a file at its current version (open(2)); see [`OpenFlags`].
    ///
    /// Errors: `AccessDenied`, `ReadOnly`, `IsDirectory`, `Stale`; for writing those of taking the
    /// lease: `WouldBlock`, `Busy` after the configured wait, `Interrupted`.
    pub async fn open(&self, who: &Credentials, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        self.check_for_squashed(who, ino, wanted(flags)).await?;
        self.content.open(who, ino, flags).await
    }

    /// As [`open`](Vfs::open), for a reader of what is known here; none: it is not opened. No server hears
    /// of `who`.
    pub fn open_now(&self, who: &Credentials, ino: Ino, flags: OpenFlags) -> Option<Opened> {
        match self.client.session.root_squash() {
            true => None,
            false => self.content.open_now(who, ino, flags),
        }
    }

    /// The kernel did not take the file that backs a handle: says how it is opened instead, and backs no
    /// handle from now on. To be called before the handle is known to the kernel. Errors: `BadHandle`.
    pub fn open_without_passthrough(&self, fh: u64) -> Result<Opened> {
        self.content.open_without_passthrough(fh)
    }

    /// From now on no handle is backed by a file. To be called before the first one is opened.
    pub fn stop_passthrough(&self) {
        self.content.stop_passthrough();
    }

    /// The last reference to an open file is gone. Errors: `BadHandle`.
    pub fn release(&self, fh: u64) -> Result<()> {
        self.content.release(fh)
    }

    /// Where the superuser is nobody: whether the caller may do to content what may be done here,
    /// without the server. The kernel checked, but it knows the superuser for one.
    pub(super) async fn check_for_squashed(
        &self,
        who: &Credentials,
        ino: Ino,
        mask: u32,
    ) -> Result<()> {
        match self.client.session.root_squash() {
            true => self.access(who, ino, mask).await,
            false => Ok(()),
        }
    }
}

/// The permissions that an open needs.
fn wanted(flags: OpenFlags) -> u32 {
    let read = if flags.execute { access::EXEC } else { access::READ };
    let read = if flags.read { read } else { 0 };
    let write = if flags.write || flags.truncate { access::WRITE } else { 0 };
    read | write
}

fn check_kind(ino: Ino, kind: Kind) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Directory => Err(FsError::new(Code::IsDirectory, format!("inode {ino}"))),
        _ => Err(FsError::new(Code::NoDevice, format!("inode {ino} is no file"))),
    }
}
