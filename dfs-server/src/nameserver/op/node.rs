//! New inodes.

use super::{Context, Outcome, Txn, xattr};
use crate::metastore::Inode;
use crate::nameserver::resolve;
use dfs_core::access::{ACL_ACCESS, ACL_DEFAULT, Acl};
use dfs_core::attr::{Attr, Kind, NewMode};
use dfs_core::birth;
use dfs_core::limits::STRIPE_UNIT;
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result};

/// Read, write and execute of everybody.
const PERMISSIONS: u32 = 0o777;

/// The root directory of a new file system, owned by the superuser, mode 0755.
pub fn root(now: Timestamp) -> Inode {
    let mut attr = birth::blank(Ino::ROOT, Kind::Directory, now);
    attr.mode = 0o755;
    attr.parent = Ino::ROOT;
    Inode { attr, unit: STRIPE_UNIT }
}

/// What a verb says about the inode it makes.
pub(super) struct NewNode<'a> {
    pub kind: Kind,
    pub mode: NewMode,
    pub rdev: u32,
    pub link_target: &'a [u8],
    /// Made by the client before it said so: its number and its time (`docs/design/0025`).
    pub made: Option<(Ino, Timestamp)>,
}

impl NewNode<'_> {
    /// Plain, of this kind and mode.
    pub fn new(kind: Kind, mode: NewMode) -> NewNode<'static> {
        NewNode { kind, mode, rdev: 0, link_target: b"", made: None }
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
        let at = self.made.map_or(txn.now, |(_, at)| at);
        let dir = Some(txn.names_changed_at(dir, at)?);
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
        let (ino, at) = match self.made {
            Some(made) => made,
            None => (txn.numbers.new_ino(txn.batch), txn.now),
        };
        // What links lead to has permissions of its own.
        let default = match self.kind {
            Kind::Symlink => None,
            _ => resolve::default_acl(&txn.view(), &parent)?,
        };
        let mut attr = match default {
            Some(_) => birth::child(ino, self.kind, self.mode.mode, &parent, cx.who, at),
            None => birth::plain_child(ino, self.kind, self.mode, &parent, cx.who, at),
        };
        attr.rdev = self.rdev;
        attr.size = self.link_target.len() as u64;
        attr.link_target = self.link_target.to_vec();
        if let Some(acl) = default {
            inherit_acl(txn, &mut attr, &acl)?;
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
