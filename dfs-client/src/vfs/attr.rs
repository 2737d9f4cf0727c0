//! Reading and changing attributes.

use super::{Entry, Vfs};
use crate::client::Client;
use crate::metadata::Key;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::{Attr, SetAttr};
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};

impl Vfs {
    /// Attributes (stat(2)). A handle makes no difference: all handles of an inode share one view.
    pub async fn getattr(&self, ino: Ino, _fh: Option<u64>) -> Result<Entry> {
        let attr = self.client.attr(ino).await?;
        Ok(self.client.entry(attr))
    }

    /// Changes attributes (chmod(2), chown(2), utimensat(2), truncate(2)). `fh`: through this
    /// handle, which was opened for writing if a size is set. Errors: `NotPermitted`,
    /// `AccessDenied`, `ReadOnly`, `FileTooBig`; with a size those of taking the write lease.
    pub async fn setattr(
        &self,
        who: &Credentials,
        ino: Ino,
        fh: Option<u64>,
        mut set: SetAttr,
    ) -> Result<Entry> {
        if set.is_empty() {
            return self.getattr(ino, fh).await;
        }
        self.writable()?;
        if let (Some(size), Some(hooks)) = (set.size, self.client.hooks()) {
            let attr = hooks.truncate(who, ino, fh, size).await?;
            set.size = None;
            if set.is_empty() {
                return Ok(self.client.entry(attr));
            }
        }
        let attr = match self.stage(who, ino, &set).await? {
            Some(attr) => attr,
            None => self.set_at_server(who, ino, fh, &set).await?,
        };
        Ok(self.client.entry(attr))
    }

    /// Leaves a change to the next commit if the file is open for writing here and the caller may
    /// plainly make it; in every other case the server decides.
    async fn stage(&self, who: &Credentials, ino: Ino, set: &SetAttr) -> Result<Option<Attr>> {
        let Some(hooks) = self.client.hooks() else { return Ok(None) };
        if set.size.is_some() || !self.client.is_open(ino) {
            return Ok(None);
        }
        let attr = self.client.attr(ino).await?;
        if owner_may(who, &attr, set) && hooks.stage_attrs(ino, set) {
            return Ok(Some(attr));
        }
        // What was left to the next commit came before this change: a chown that overtook a chmod
        // would take its set-user-id bit away.
        hooks.flush(ino).await?;
        Ok(None)
    }

    async fn set_at_server(
        &self,
        who: &Credentials,
        ino: Ino,
        fh: Option<u64>,
        set: &SetAttr,
    ) -> Result<Attr> {
        let request = v1::SetAttrReq {
            ino: ino.0,
            set: Some(convert::set_attr_to(set)),
            opened: fh.is_some() && set.size.is_some(),
            ..Default::default()
        };
        let asked = self.client.metadata.asked();
        let apply = move |client: &Client, reply: &v1::AttrRep| {
            let attr = convert::need_attr(reply.attr.clone())?;
            client.metadata.own_attr(asked, &reply.mark.unwrap_or_default(), attr);
            Ok(())
        };
        let reply = self.client.change(who, vec![Key::Attr(ino)], request, apply).await?;
        convert::need_attr(reply.attr)
    }

    /// Checks a permission (access(2)). `mask`: R_OK 4, W_OK 2, X_OK 1. Errors: `AccessDenied`;
    /// `ReadOnly` for writing on a read-only mount.
    pub async fn access(&self, who: &Credentials, ino: Ino, mask: u32) -> Result<()> {
        if mask & access::WRITE != 0 {
            self.writable()?;
        }
        let attr = self.client.attr(ino).await?;
        match access::permits(who, &attr, mask) {
            true => Ok(()),
            false => Err(FsError::new(Code::AccessDenied, format!("no permission on inode {ino}"))),
        }
    }
}

/// Whether the owner, or the superuser, asks for what the owner may always have: other permission
/// bits without set-id, and times. The finer rules are the server's.
fn owner_may(who: &Credentials, attr: &Attr, set: &SetAttr) -> bool {
    const SET_ID: u32 = 0o6000;
    let plain_mode = set.mode.is_none_or(|mode| mode & SET_ID == 0);
    let owner = who.is_root() || who.uid == attr.uid;
    let same_owner = set.uid.is_none_or(|uid| uid == attr.uid) || who.is_root();
    let same_group = set.gid.is_none_or(|gid| gid == attr.gid) || who.is_root();
    owner && plain_mode && same_owner && same_group
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::attr::{Kind, SetTime};
    use dfs_core::time::Timestamp;

    fn file(uid: u32) -> Attr {
        let mut attr = crate::metadata::plain_attr(Ino(9), Kind::File);
        attr.uid = uid;
        attr
    }

    #[test]
    fn only_plain_changes_of_the_owner_are_staged() {
        let user = |uid| Credentials { uid, gid: 1, groups: Vec::new() };
        let chmod = SetAttr { mode: Some(0o600), ..SetAttr::default() };
        assert!(owner_may(&user(5), &file(5), &chmod));
        assert!(!owner_may(&user(6), &file(5), &chmod));
        let suid = SetAttr { mode: Some(0o4755), ..SetAttr::default() };
        assert!(!owner_may(&user(5), &file(5), &suid));
        let chown = SetAttr { uid: Some(7), ..SetAttr::default() };
        assert!(!owner_may(&user(5), &file(5), &chown));
        assert!(owner_may(&user(0), &file(5), &chown));
        let touch =
            SetAttr { mtime: Some(SetTime::To(Timestamp::default())), ..SetAttr::default() };
        assert!(owner_may(&user(5), &file(5), &touch));
    }
}
