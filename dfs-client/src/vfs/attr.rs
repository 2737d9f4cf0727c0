//! Reading and changing attributes.

use super::{Entry, Vfs};
use crate::client::Client;
use crate::metadata::{Key, Xattrs};
use dfs_core::access::{self, Acl, Credentials};
use dfs_core::attr::{Attr, S_ISGID, S_ISUID, SetAttr};
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};

/// Bits that change who a program runs as.
const SET_ID: u32 = S_ISUID | S_ISGID;

impl Vfs {
    /// Attributes (stat(2)). A handle makes no difference: all handles of an inode share one view.
    pub async fn getattr(&self, ino: Ino, _fh: Option<u64>) -> Result<Entry> {
        let attr = self.client.attr(ino).await?;
        Ok(self.client.entry(attr))
    }

    /// As [`getattr`](Vfs::getattr), if nobody has to be asked.
    pub fn getattr_now(&self, ino: Ino) -> Option<Result<Entry>> {
        self.client.session.lease_left()?;
        let attr = self.client.metadata.attr(ino)?;
        self.client.metrics.hits.inc();
        Some(Ok(self.client.entry(attr)))
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
        if set.size.is_some() && fh.is_none() {
            self.check_for_squashed(who, ino, access::WRITE).await?;
        }
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

    /// Leaves new times to the next commit if the file is open for writing here and the caller may
    /// plainly set them; in every other case the server decides. Mode and owner do not wait, for others
    /// must see at once who may do what: unless nobody can see the file before the server is told of it.
    async fn stage(&self, who: &Credentials, ino: Ino, set: &SetAttr) -> Result<Option<Attr>> {
        let Some(hooks) = self.client.hooks() else { return Ok(None) };
        if set.size.is_some() || !self.client.is_open(ino) {
            return Ok(None);
        }
        let mut attr = self.client.attr(ino).await?;
        if self.change_deferred(who, &attr, set) {
            attr = self.client.attr(ino).await?;
        }
        if who.owns(&attr)
            && let Some(times) = only_times(&attr, set)
            && hooks.stage_attrs(ino, &times)
        {
            return Ok(Some(attr));
        }
        if set.mode.is_some_and(|mode| mode & SET_ID != 0) {
            // Writes left to the next commit came before this change: they would take the new bits
            // away.
            hooks.flush(ino).await?;
        }
        Ok(None)
    }

    /// Gives a file that the server has not heard of another mode and owner, if there are new ones in
    /// `set` and the caller may plainly do so (`docs/design/0030`).
    fn change_deferred(&self, who: &Credentials, attr: &Attr, set: &SetAttr) -> bool {
        let new = SetAttr { mode: set.mode, uid: set.uid, gid: set.gid, ..SetAttr::default() };
        if new.is_empty() || !may_plainly(who, attr, &new) {
            return false;
        }
        let changed = self.client.deferrals.change(attr.ino, &new);
        if changed {
            let now = self.content.server_time();
            self.client.metadata.change_deferred(attr.ino, |attr| {
                attr.mode = new.mode.unwrap_or(attr.mode);
                attr.uid = new.uid.unwrap_or(attr.uid);
                attr.gid = new.gid.unwrap_or(attr.gid);
                attr.ctime = now;
            });
        }
        changed
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
        let permitted = match self.permits(who, &attr, mask) {
            Some(permitted) => permitted,
            None => {
                let all = self.xattrs(ino).await?;
                access::permits(who, &attr, acl_among(&all)?.as_ref(), mask)
            }
        };
        match permitted {
            true => Ok(()),
            false => Err(FsError::new(Code::AccessDenied, format!("no permission on inode {ino}"))),
        }
    }

    /// Whether what is known here permits it; none: there may be an access control list that is not
    /// known.
    pub(super) fn permits(&self, who: &Credentials, attr: &Attr, mask: u32) -> Option<bool> {
        let overrides = access::overrides(who, attr, mask);
        let listed = attr.has_xattrs && !overrides && who.uid != attr.uid;
        if !listed {
            return Some(access::permits(who, attr, None, mask));
        }
        let all = self.client.metadata.xattrs(attr.ino)?;
        let acl = acl_among(&all).ok()?;
        Some(access::permits(who, attr, acl.as_ref(), mask))
    }
}

/// The access control list among extended attributes, if there is one.
fn acl_among(all: &Xattrs) -> Result<Option<Acl>> {
    let found = all.iter().find(|(name, _)| name == access::ACL_ACCESS);
    found.map(|(_, value)| Acl::decode(value)).transpose()
}

/// Whether the caller may change mode and owner, and nothing else follows from it: there are no set-id
/// bits and no access control list.
fn may_plainly(who: &Credentials, attr: &Attr, new: &SetAttr) -> bool {
    let plain = [Some(attr.mode), new.mode].into_iter().flatten().all(|mode| mode & SET_ID == 0);
    let owner = new.uid.is_none_or(|uid| access::may_set_owner(who, attr, uid));
    let group = new.gid.is_none_or(|gid| access::may_set_group(who, attr, gid));
    let mode = new.mode.is_none() || who.owns(attr);
    plain && !attr.has_xattrs && owner && group && mode
}

/// The change without mode and owner, if those are the present ones; none if they would change.
fn only_times(attr: &Attr, set: &SetAttr) -> Option<SetAttr> {
    let same_mode = set.mode.is_none_or(|mode| mode == attr.mode && mode & SET_ID == 0);
    let same_owner = set.uid.is_none_or(|uid| uid == attr.uid);
    let same_group = set.gid.is_none_or(|gid| gid == attr.gid);
    let keeps_bits = !set.drop_suid || attr.mode & SET_ID == 0;
    let times = SetAttr { atime: set.atime, mtime: set.mtime, ..SetAttr::default() };
    (same_mode && same_owner && same_group && keeps_bits).then_some(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::attr::{Kind, SetTime};
    use dfs_core::time::Timestamp;

    #[test]
    fn plain_changes_are_those_from_which_nothing_else_follows() {
        let mut file = crate::metadata::plain_attr(Ino(9), Kind::File);
        (file.uid, file.gid, file.mode) = (5, 6, 0o640);
        let (owner, other) = (Credentials::new(5, 6, vec![7]), Credentials::new(8, 6, vec![7]));
        let mode = |mode| SetAttr { mode: Some(mode), ..SetAttr::default() };
        let to = |uid, gid| SetAttr { uid, gid, ..SetAttr::default() };
        for (new, by_owner) in [
            (mode(0o777), true),
            (mode(0o4755), false),
            (to(Some(5), Some(6)), true),
            (to(None, Some(7)), true),
            (to(None, Some(8)), false),
            (to(Some(8), None), false),
        ] {
            assert_eq!(may_plainly(&owner, &file, &new), by_owner, "{new:?}");
            assert!(!may_plainly(&other, &file, &new), "{new:?} by another");
            let set_id = new.mode == Some(0o4755);
            assert_eq!(may_plainly(&Credentials::root(), &file, &new), !set_id, "{new:?} by root");
        }
        let with_bits = Attr { mode: 0o2755, ..file.clone() };
        assert!(!may_plainly(&Credentials::root(), &with_bits, &to(Some(8), None)));
        let with_list = Attr { has_xattrs: true, ..file };
        assert!(!may_plainly(&Credentials::root(), &with_list, &mode(0o600)));
    }

    #[test]
    fn only_times_wait_for_the_next_commit() {
        let mut file = crate::metadata::plain_attr(Ino(9), Kind::File);
        (file.uid, file.gid, file.mode) = (5, 6, 0o640);
        let set = SetAttr::default;
        let mtime = Some(SetTime::To(Timestamp::default()));
        let touch = SetAttr { mtime, ..set() };
        assert_eq!(only_times(&file, &touch), Some(touch));
        let same = SetAttr { mode: Some(0o640), uid: Some(5), drop_suid: true, ..touch };
        assert_eq!(only_times(&file, &same), Some(touch), "what stays the same needs no call");
        for change in [
            SetAttr { mode: Some(0o600), ..touch },
            SetAttr { uid: Some(7), ..touch },
            SetAttr { gid: Some(7), ..touch },
        ] {
            assert_eq!(only_times(&file, &change), None, "{change:?}");
        }
        file.mode = 0o4755;
        let mode = SetAttr { mode: Some(0o4755), ..set() };
        assert_eq!(only_times(&file, &mode), None, "writes not saved yet would drop the bit");
        assert_eq!(only_times(&file, &SetAttr { uid: Some(5), drop_suid: true, ..set() }), None);
    }
}
