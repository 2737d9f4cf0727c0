//! Creates a file, fifo, socket or device (mknod(2)).

use super::intents::Intents;
use super::node::NewNode;
use super::{Context, Op, Outcome, Txn, Verdict, rules};
use crate::metastore::Read;
use dfs_core::access::Privilege;
use dfs_core::attr::{Kind, NewMode};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct Mknod {
    /// Directory.
    pub dir: Ino,
    /// Name.
    pub name: Name,
    /// Permissions.
    pub mode: NewMode,
    /// What to make. A directory fails with `NotPermitted`, a symbolic link with `Invalid`, a
    /// device other than a whiteout (character device 0:0) with `NotPermitted` unless who asks
    /// is privileged (Linux `vfs_mknod`).
    pub kind: Kind,
    /// Device number of a device, else ignored.
    pub rdev: u32,
}

impl Mknod {
    fn is_device(&self) -> bool {
        matches!(self.kind, Kind::CharDevice | Kind::BlockDevice)
    }

    fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.rdev == 0
    }
}

impl Op for Mknod {
    fn verb(&self) -> &'static str {
        "mknod"
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_name(self.dir, &self.name).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        match self.kind {
            Kind::Directory => {
                return Err(FsError::new(Code::NotPermitted, "mknod makes no directories"));
            }
            Kind::Symlink => return Err(FsError::new(Code::Invalid, "mknod makes no links")),
            _ => {}
        }
        rules::new_name(cx, view, self.dir, &self.name)?;
        if self.is_device() && !self.is_whiteout() && !cx.who.may(Privilege::MakeDevice) {
            let text = format!("user {} makes no device {}", cx.who.uid, self.name);
            return Err(FsError::new(Code::NotPermitted, text));
        }
        Ok(Verdict::Change(rules::names_items(self.dir, &[&self.name])))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let rdev = if self.is_device() { self.rdev } else { 0 };
        let node = NewNode { rdev, ..NewNode::new(self.kind, self.mode) };
        node.make(cx, txn, self.dir, &self.name)
    }
}
