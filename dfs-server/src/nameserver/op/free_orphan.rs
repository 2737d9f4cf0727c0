//! Removes an inode without names that nobody holds open any more (PROTOCOL 3.6).

use super::intents::Intents;
use super::{Context, Flush, Op, Outcome, Txn, Verdict};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::limits::FILE_SIZE_MAX;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module. Freeing what is gone already succeeds; an inode with names fails with `Busy`.
#[derive(Clone, Debug)]
pub struct FreeOrphan {
    /// The orphan.
    pub ino: Ino,
}

impl Op for FreeOrphan {
    fn verb(&self) -> &'static str {
        "free_orphan"
    }

    fn flush(&self) -> Flush {
        Flush::Later
    }

    fn grows(&self) -> bool {
        false
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::default().removed_dir(self.ino).done())
    }

    fn check(&self, _: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        match view.inode(self.ino)? {
            None => Ok(Verdict::Done(Outcome::default())),
            Some(row) if row.attr.nlink > 0 => {
                let text = format!("inode {} has {} names", self.ino, row.attr.nlink);
                Err(FsError::new(Code::Busy, text))
            }
            // Its attributes were forgotten when it lost its last name.
            Some(_) => Ok(Verdict::Change(Vec::new())),
        }
    }

    fn effect(&self, _: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let unit = resolve::inode(&txn.view(), self.ino)?.unit;
        let stripes = txn.view().stripes(self.ino, 0, FILE_SIZE_MAX / unit)?;
        let xattrs = txn.view().xattrs(self.ino)?;
        txn.batch.inodes.insert(self.ino, None);
        txn.batch.stripes.extend(stripes.into_iter().map(|(index, _)| ((self.ino, index), None)));
        txn.batch.xattrs.extend(xattrs.into_iter().map(|(name, _)| ((self.ino, name), None)));
        Ok(Outcome::default())
    }
}
