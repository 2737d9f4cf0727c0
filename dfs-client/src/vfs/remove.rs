//! Removing and moving names.

use super::create::touched_by;
use super::remove_ahead::Victim;
use super::{RenameFlags, Vfs};
use crate::client::Client;
use crate::metadata::{Asked, Edit, Key, Naming, Renamed, Target};
use dfs_core::access::Credentials;
use dfs_core::attr::Attr;
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};

impl Vfs {
    /// Removes a name of something that is no directory. A file open here stays readable until its
    /// last handle closes. Errors: `NotFound`, `IsDirectory`, `AccessDenied`, `NotPermitted`,
    /// `ReadOnly`.
    pub async fn unlink(&self, who: &Credentials, dir: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let name = Name::new(name)?;
        let victim = self.victim(who, dir, &name).await?;
        let open = self.open_of(victim);
        let request = v1::UnlinkReq {
            dir: dir.0,
            name: name.as_bytes().to_vec().into(),
            open: open.clone(),
            ..Default::default()
        };
        let request_at = |at| v1::UnlinkReq { at: Some(convert::time_to(at)), ..request.clone() };
        if let Some(ino) = victim {
            let file = Victim::File(ino, !open.is_empty());
            // One of several names can follow the last change of its file.
            let follows = self.client.steps.last(ino).is_some();
            if follows && self.remove_ahead(who, (dir, &name), file, request_at).await? {
                return Ok(());
            }
            if self.content.remove_untold(ino).await?
                || self.remove_ahead(who, (dir, &name), file, request_at).await?
            {
                return Ok(());
            }
        }
        let mut touched = touched_by(dir, &name);
        touched.extend(victim.map(Key::Attr));
        let asked = self.client.metadata.asked();
        let apply = move |client: &Client, reply: &v1::RemoveRep| {
            let gone = client.removed(asked, &name, reply)?;
            client.keep_orphan(&gone, &open);
            Ok(())
        };
        self.client.change(who, touched, request, apply).await.map(drop)
    }

    /// Removes an empty directory. Errors: `NotFound`, `NotDirectory`, `NotEmpty`, `AccessDenied`,
    /// `NotPermitted`, `ReadOnly`.
    pub async fn rmdir(&self, who: &Credentials, dir: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let name = Name::new(name)?;
        let request = v1::RmdirReq {
            dir: dir.0,
            name: name.as_bytes().to_vec().into(),
            ..Default::default()
        };
        let mut touched = Vec::new();
        if let Some(Target::Present(ino)) = self.client.metadata.name(dir, &name) {
            let request = |at| v1::RmdirReq { at: Some(convert::time_to(at)), ..request.clone() };
            if self.remove_ahead(who, (dir, &name), Victim::Directory(ino), request).await? {
                return Ok(());
            }
            touched.extend([Key::Attr(ino), Key::Listing(ino)]);
        }
        touched.extend(touched_by(dir, &name));
        let asked = self.client.metadata.asked();
        let apply = move |client: &Client, reply: &v1::RemoveRep| {
            let gone = client.removed(asked, &name, reply)?;
            client.metadata.forget(&[Key::Dir(gone.ino)]);
            Ok(())
        };
        self.client.change(who, touched, request, apply).await.map(drop)
    }

    /// Moves a name (renameat2(2)). Errors: `NotFound`, `Exists` (no-replace), `NotEmpty`,
    /// `IsDirectory`, `NotDirectory`, `Invalid` (into itself, or an exchange with another flag),
    /// `AccessDenied`, `NotPermitted`, `ReadOnly`.
    pub async fn rename(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        dir2: Ino,
        name2: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.writable()?;
        if flags.exchange && (flags.noreplace || flags.whiteout) {
            return Err(FsError::new(Code::Invalid, "exchanging names excludes the other flags"));
        }
        let (name, name2) = (Name::new(name)?, Name::new(name2)?);
        let victim = match flags.noreplace {
            true => None,
            false => self.victim(who, dir2, &name2).await?,
        };
        let open = if flags.exchange { Vec::new() } else { self.open_of(victim) };
        let request = v1::RenameReq {
            from_dir: dir.0,
            from_name: name.as_bytes().to_vec().into(),
            to_dir: dir2.0,
            to_name: name2.as_bytes().to_vec().into(),
            noreplace: flags.noreplace,
            exchange: flags.exchange,
            whiteout: flags.whiteout,
            open: open.clone(),
            ..Default::default()
        };
        let moved = match self.client.metadata.name(dir, &name) {
            Some(Target::Present(ino)) => Some(ino),
            Some(Target::Absent) | None => None,
        };
        let plain = !flags.exchange && !flags.whiteout && victim.is_none() && dir == dir2;
        if let Some(ino) = moved.filter(|_| plain) {
            let naming = Naming { dir, ino, old: Some(name.clone()), new: name2.clone() };
            let at = |at| v1::RenameReq { at: Some(convert::time_to(at)), ..request.clone() };
            if self.name_ahead(who, naming, at).await? {
                return Ok(());
            }
        }
        let mut touched = touched_by(dir, &name);
        touched.extend(touched_by(dir2, &name2));
        touched.extend(victim.map(Key::Attr));
        if let Some(ino) = moved {
            self.content.tell(ino).await?;
            touched.push(Key::Attr(ino));
        }
        if dir != dir2 {
            moved.iter().chain(&victim).for_each(|ino| self.client.metadata.leaves_home(*ino));
        }
        let asked = self.client.metadata.asked();
        let apply = move |client: &Client, reply: &v1::RenameRep| {
            let moved = Moved { name: &name, name2: &name2, flags, open: &open };
            client.moved(asked, reply, &moved)
        };
        self.client.change(who, touched, request, apply).await.map(drop)
    }

    /// What a name leads to, if anything: needed to say whether it is open here.
    async fn victim(&self, who: &Credentials, dir: Ino, name: &Name) -> Result<Option<Ino>> {
        if self.client.metadata.name(dir, name).is_none() {
            self.lookup(who, dir, name.as_bytes()).await?;
        }
        Ok(match self.client.metadata.name(dir, name) {
            Some(Target::Present(ino)) => Some(ino),
            // Not promised: should it be open here, it is held when the reply names it.
            Some(Target::Absent) | None => None,
        })
    }

    fn open_of(&self, victim: Option<Ino>) -> Vec<u64> {
        victim.filter(|ino| self.client.is_open(*ino)).map(|ino| ino.0).into_iter().collect()
    }
}

/// What a rename asked for.
struct Moved<'a> {
    name: &'a Name,
    name2: &'a Name,
    flags: RenameFlags,
    open: &'a [u64],
}

impl Client {
    /// Takes a removed name from the reply. Returns the inode that lost it.
    fn removed(&self, asked: Asked, name: &Name, reply: &v1::RemoveRep) -> Result<Attr> {
        self.late.add();
        let mark = reply.mark.unwrap_or_default();
        let (gone, dir) =
            (convert::need_attr(reply.attr.clone())?, convert::need_attr(reply.dir.clone())?);
        self.metadata.own_attr(asked, &mark, gone.clone());
        let edit = Some(Edit::Removed(name.clone()));
        self.metadata.own_name(
            asked,
            &mark,
            Renamed { dir, name, target: Some(Target::Absent), edit },
        );
        Ok(gone)
    }

    /// An inode lost its last name. If it is open here and the server was not told with the request
    /// (the name led elsewhere a moment before), it is told now: an inode without names lives for
    /// another minute (PROTOCOL 3.6).
    pub(super) fn keep_orphan(&self, gone: &Attr, told: &[u64]) {
        if gone.nlink == 0 && !told.contains(&gone.ino.0) && self.is_open(gone.ino) {
            self.open_hold(gone.ino);
        }
    }

    fn moved(&self, asked: Asked, reply: &v1::RenameRep, what: &Moved<'_>) -> Result<()> {
        let mark = reply.mark.unwrap_or_default();
        let moved = convert::need_attr(reply.moved.clone())?;
        let replaced = reply.replaced.clone().map(convert::attr_from).transpose()?;
        let from = convert::need_attr(reply.from_dir.clone())?;
        let to = reply.to_dir.clone().map(convert::attr_from).transpose()?;
        let to = to.unwrap_or_else(|| from.clone());
        let replaced_ino = replaced.as_ref().map(|attr| attr.ino);
        let target = match replaced_ino {
            // Two names of one inode: POSIX has rename() do nothing.
            Some(ino) if ino == moved.ino || what.flags.exchange => Some(Target::Present(ino)),
            _ if what.flags.whiteout => None,
            _ => Some(Target::Absent),
        };
        let [edit, edit2] = edits(&from, &to, &moved, replaced_ino, what);
        let target2 = Some(Target::Present(moved.ino));
        if from.ino != to.ino {
            // Also of those whose names were not known.
            [Some(moved.ino), replaced_ino]
                .iter()
                .flatten()
                .for_each(|i| self.metadata.leaves_home(*i));
        }
        self.metadata.own_attr(asked, &mark, moved);
        if let Some(replaced) = replaced {
            self.keep_orphan(&replaced, what.open);
            self.metadata.own_attr(asked, &mark, replaced);
        }
        let left = Renamed { dir: from, name: what.name, target, edit };
        self.metadata.own_name(asked, &mark, left);
        let entered = Renamed { dir: to, name: what.name2, target: target2, edit: edit2 };
        self.metadata.own_name(asked, &mark, entered);
        Ok(())
    }
}

/// How a rename shows in the listings of the directory left and of the one entered. In one directory
/// it is one change.
fn edits(
    from: &Attr,
    to: &Attr,
    moved: &Attr,
    replaced: Option<Ino>,
    what: &Moved<'_>,
) -> [Option<Edit>; 2] {
    if what.flags.exchange || what.flags.whiteout || replaced == Some(moved.ino) {
        return [Some(Edit::Unknown), Some(Edit::Unknown)];
    }
    let (left, entered) = (what.name.clone(), what.name2.clone());
    let add = |gone| Some(Edit::Moved(gone, entered.clone(), moved.ino, moved.kind));
    match from.ino == to.ino {
        true => [None, add(vec![left, entered.clone()])],
        false => [Some(Edit::Removed(left)), add(vec![entered.clone()])],
    }
}
