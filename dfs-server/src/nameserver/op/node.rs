//! New inodes.

use super::{Context, Outcome, Txn, xattr};
use crate::metastore::Inode;
use crate::nameserver::resolve;
use dfs_core::access::{ACL_ACCESS, ACL_DEFAULT, Acl, Credentials};
use dfs_core::attr::{Attr, Kind, MODE_MASK, NewMode, S_ISGID, S_IXGRP};
use dfs_core::limits::STRIPE_UNIT;
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result};

/// Read, write and execute of everybody.
const PERMISSIONS: u32 = 0o777;

/// The root directory of a new file system, owned by the superuser, mode 0755.
pub fn root(now: Timestamp) -> Inode {
    let mut attr = blank(Ino::ROOT, Kind::Directory, now);
    attr.mode = 0o755;
    attr.parent = Ino::ROOT;
    Inode { attr, unit: STRIPE_UNIT }
}

/// Attributes of an inode that nobody owns yet, with the links of its kind.
fn blank(ino: Ino, kind: Kind, now: Timestamp) -> Attr {
    Attr {
        ino,
        kind,
        mode: 0,
        uid: 0,
        gid: 0,
        nlink: if kind == Kind::Directory { 2 } else { 1 },
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        attr_ver: 1,
        content_ver: 0,
        has_xattrs: false,
        link_target: Vec::new(),
        dir_ver: 0,
        parent: Ino(0),
    }
}

/// What a verb says about the inode it makes.
pub(super) struct NewNode<'a> {
    pub kind: Kind,
    pub mode: NewMode,
    pub rdev: u32,
    pub link_target: &'a [u8],
}

impl NewNode<'_> {
    /// Plain, of this kind and mode.
    pub fn new(kind: Kind, mode: NewMode) -> NewNode<'static> {
        NewNode { kind, mode, rdev: 0, link_target: b"" }
    }

    /// What hides a name of a lower layer: a character device 0:0 without permissions (Linux
    /// `vfs_whiteout`).
    pub fn whiteout() -> NewNode<'static> {
        NewNode::new(Kind::CharDevice, 0.into())
    }

    /// Makes the inode and its name and stamps the directory; `check` has seen that the name is
    /// absent.
    pub fn make(
        &self,
        cx: &Context<'_>,
        txn: &mut Txn<'_>,
        dir: Ino,
        name: &Name,
    ) -> Result<Outcome> {
        let object = Some(self.place(cx, txn, dir, name)?);
        let dir = Some(txn.names_changed(dir)?);
        Ok(Outcome { object, dir, created: true, ..Outcome::default() })
    }

    /// Makes the inode and has the name stand for it, whatever it named before.
    pub fn place(
        &self,
        cx: &Context<'_>,
        txn: &mut Txn<'_>,
        dir: Ino,
        name: &Name,
    ) -> Result<Attr> {
        let parent = txn.attr(dir)?;
        let ino = txn.numbers.new_ino(txn.batch);
        let mut attr = blank(ino, self.kind, txn.now);
        attr.uid = cx.who.uid;
        attr.rdev = self.rdev;
        attr.size = self.link_target.len() as u64;
        attr.link_target = self.link_target.to_vec();
        inherit(&mut attr, &parent, cx.who, self.mode.mode);
        // What links lead to has permissions of its own.
        let default = match self.kind {
            Kind::Symlink => None,
            _ => resolve::default_acl(&txn.view(), &parent)?,
        };
        match default {
            Some(acl) => inherit_acl(txn, &mut attr, &acl)?,
            None => attr.mode = NewMode { mode: attr.mode, ..self.mode }.masked(),
        }
        txn.put(Inode { attr: attr.clone(), unit: STRIPE_UNIT });
        txn.set_name(cx, dir, name, &attr)?;
        Ok(attr)
    }
}

/// Lists and mode of something new in a directory with this default list (acl(5), "object creation
/// and default ACLs"). A list that says no more than the mode is not kept.
fn inherit_acl(txn: &mut Txn<'_>, attr: &mut Attr, default: &Acl) -> Result<()> {
    let acl = default.inherited(attr.mode);
    attr.mode = attr.mode & !PERMISSIONS | acl.mode();
    if !acl.is_mode() {
        xattr::put(txn, attr, ACL_ACCESS, Some(acl.encode()))?;
    }
    if attr.kind == Kind::Directory {
        xattr::put(txn, attr, ACL_DEFAULT, Some(default.encode()))?;
    }
    Ok(())
}

/// Mode, group and parent as Linux `inode_init_owner` and `mode_strip_sgid` give them: a
/// set-group-id directory hands down its group, and to directories also the bit.
fn inherit(attr: &mut Attr, parent: &Attr, who: &Credentials, mode: u32) {
    attr.mode = mode & MODE_MASK;
    attr.gid = who.gid;
    if attr.kind == Kind::Directory {
        attr.parent = parent.ino;
    }
    if parent.mode & S_ISGID == 0 {
        return;
    }
    attr.gid = parent.gid;
    if attr.kind == Kind::Directory {
        attr.mode |= S_ISGID;
    } else if mode & S_IXGRP != 0 && !who.keeps_set_gid(parent) {
        // Else anyone could make programs that run as the directory's group.
        attr.mode &= !S_ISGID;
    }
}
