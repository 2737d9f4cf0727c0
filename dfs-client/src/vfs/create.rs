//! Making names.

use super::{Entry, Found, Vfs};
use crate::client::Client;
use crate::metadata::{Asked, Edit, Key, Listing, Naming, Renamed, Target};
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, Kind, MODE_MASK, NewMode};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result, Seq};
use dfs_proto::{convert, v1};
use std::sync::Arc;

/// What a new name in `dir` touches.
pub(crate) fn touched_by(dir: Ino, name: &Name) -> Vec<Key> {
    vec![Key::Name(dir, name.clone()), Key::Listing(dir), Key::Attr(dir)]
}

impl Client {
    /// Takes a new name, what it leads to and its directory from the reply to a change made here.
    pub(crate) fn named(
        &self,
        asked: Asked,
        mark: &v1::Mark,
        name: &Name,
        attr: Option<v1::Attr>,
        dir: Option<v1::Attr>,
    ) -> Result<Attr> {
        let (attr, dir) = (convert::need_attr(attr)?, convert::need_attr(dir)?);
        self.metadata.own_attr(asked, mark, attr.clone());
        if attr.kind == Kind::Directory {
            self.late.add();
        }
        if mark.promised_dir && attr.kind == Kind::Directory && attr.dir_ver == 0 {
            // Nobody has made a name in it yet.
            let empty = Listing::new(0, Arc::default());
            self.metadata.store_listing(asked, Seq(mark.as_of), attr.ino, empty);
            if mark.delegated_made {
                self.metadata.delegated(asked, Seq(mark.as_of), attr.ino);
            }
        }
        let edit = Some(Edit::Added(name.clone(), attr.ino, attr.kind));
        let target = Some(Target::Present(attr.ino));
        self.metadata.own_name(asked, mark, Renamed { dir, name, target, edit });
        Ok(attr)
    }
}

impl Vfs {
    /// Makes a directory. Errors: `Exists`, `AccessDenied`, `NotFound`, `NoSpace`, `ReadOnly`.
    pub async fn mkdir(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        mode: NewMode,
    ) -> Result<Entry> {
        let request = v1::MkdirReq {
            dir: dir.0,
            name: name.to_vec().into(),
            mode: mode.mode & MODE_MASK,
            umask: mode.umask,
            ..Default::default()
        };
        self.writable()?;
        if self.mkdir_ahead(who, dir, &Name::new(name)?, mode, &request).await?
            && let Found::Entry(entry) = self.lookup(who, dir, name).await?
        {
            return Ok(entry);
        }
        self.make(who, dir, name, Vec::new(), request).await
    }

    /// Makes a file, fifo, socket or device (mknod(2)). Errors: as `mkdir`; `Invalid` for another
    /// kind.
    pub async fn mknod(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        kind: Kind,
        mode: NewMode,
        rdev: u32,
    ) -> Result<Entry> {
        if matches!(kind, Kind::Directory | Kind::Symlink) {
            return Err(FsError::new(Code::Invalid, "mknod makes no directory and no link"));
        }
        let request = v1::MknodReq {
            dir: dir.0,
            name: name.to_vec().into(),
            mode: mode.mode & MODE_MASK,
            umask: mode.umask,
            kind: convert::kind_to(kind).into(),
            rdev,
            ..Default::default()
        };
        self.make(who, dir, name, Vec::new(), request).await
    }

    /// Makes a symbolic link to `target`, 1 to 4095 bytes. Errors: as `mkdir`.
    pub async fn symlink(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Entry> {
        let request = v1::SymlinkReq {
            dir: dir.0,
            name: name.to_vec().into(),
            target: target.to_vec().into(),
            ..Default::default()
        };
        self.make(who, dir, name, Vec::new(), request).await
    }

    /// Gives `ino` one more name. Errors: as `mkdir`; `NotPermitted` for a directory,
    /// `TooManyLinks`.
    pub async fn link(&self, who: &Credentials, ino: Ino, dir: Ino, name: &[u8]) -> Result<Entry> {
        let request = v1::LinkReq {
            ino: ino.0,
            dir: dir.0,
            name: name.to_vec().into(),
            ..Default::default()
        };
        self.writable()?;
        // Not where it may be refused.
        let roomy = self.client.deferrals.has_room(self.client.clock.now());
        let naming = Naming { dir, ino, old: None, new: Name::new(name)? };
        let request_at = |at| v1::LinkReq { at: Some(convert::time_to(at)), ..request.clone() };
        if roomy
            && self.name_ahead(who, naming, request_at).await?
            && let Found::Entry(entry) = self.lookup(who, dir, name).await?
        {
            return Ok(entry);
        }
        self.client.metadata.leaves_home(ino);
        self.make(who, dir, name, vec![Key::Attr(ino)], request).await
    }

    async fn make<Q>(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        also: Vec<Key>,
        request: Q,
    ) -> Result<Entry>
    where
        Q: crate::rpc::Call<Reply = v1::EntryRep>,
    {
        self.writable()?;
        let name = Name::new(name)?;
        let mut touched = touched_by(dir, &name);
        touched.extend(also);
        let (asked, now) = (self.client.metadata.asked(), self.client.clock.now());
        let of = name.clone();
        let apply = move |client: &Client, reply: &v1::EntryRep| {
            if reply.roomy {
                client.deferrals.found(true, now);
            }
            let mark = reply.mark.unwrap_or_default();
            client.named(asked, &mark, &of, reply.attr.clone(), reply.dir.clone()).map(drop)
        };
        let reply = self.client.change(who, touched, request, apply).await?;
        Ok(self.entry(dir, &name, convert::need_attr(reply.attr)?))
    }
}
