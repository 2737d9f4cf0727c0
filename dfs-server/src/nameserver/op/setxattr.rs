//! Sets one extended attribute (setxattr(2)).

use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, xattr};
use crate::metastore::Read;
use crate::nameserver::resolve;
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::limits::{XATTR_LIST_MAX, XATTR_TOTAL_MAX, XATTR_VALUE_MAX};
use dfs_core::{Code, FsError, Ino, Result};

/// When to set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Any,
    /// Fail with `Exists` if it exists (`XATTR_CREATE`).
    Create,
    /// Fail with `NoData` if it does not (`XATTR_REPLACE`).
    Replace,
    /// Fail in any case, with one or the other (both flags).
    Never,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct SetXattr {
    /// Inode.
    pub ino: Ino,
    /// Name with its namespace, 1 to 255 bytes, else `OutOfRange`.
    pub name: Vec<u8>,
    /// Value, up to 65,536 bytes, else `ArgumentsTooLong`; an access control list must be one.
    pub value: Vec<u8>,
    /// When to set it.
    pub mode: XattrMode,
}

impl SetXattr {
    /// `Exists` or `NoData` by the mode; `NoSpace` if the inode would have too many or too large
    /// attributes.
    fn check_others(&self, view: &dyn Read) -> Result<()> {
        let all = view.xattrs(self.ino)?;
        let exists = all.iter().any(|(name, _)| *name == self.name);
        let wrong = match self.mode {
            XattrMode::Create | XattrMode::Never if exists => Some(Code::Exists),
            XattrMode::Replace | XattrMode::Never if !exists => Some(Code::NoData),
            _ => None,
        };
        if let Some(code) = wrong {
            let text = format!("{} of inode {}", self.name.escape_ascii(), self.ino);
            return Err(FsError::new(code, text));
        }
        let (mut list, mut total) = (self.name.len() + 1, self.value.len());
        for (name, value) in all.iter().filter(|(name, _)| *name != self.name) {
            list += name.len() + 1; // Names are listed with a NUL each.
            total += value.len();
        }
        if list > XATTR_LIST_MAX || total > XATTR_TOTAL_MAX {
            let text = format!("inode {} would have {total} bytes of attributes", self.ino);
            return Err(FsError::new(Code::NoSpace, text));
        }
        Ok(())
    }
}

impl Op for SetXattr {
    fn verb(&self) -> &'static str {
        "setxattr"
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let attr = resolve::attr(view, self.ino)?;
        if self.value.len() > XATTR_VALUE_MAX {
            let text =
                format!("value of {} bytes is longer than {XATTR_VALUE_MAX}", self.value.len());
            return Err(FsError::new(Code::ArgumentsTooLong, text));
        }
        xattr::permit_write(cx, view, &attr, &self.name)?;
        xattr::check_value(&self.name, &self.value)?;
        self.check_others(view)?;
        Ok(Verdict::Change(vec![Item::Attr { ino: self.ino }]))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let mut row = txn.inode(self.ino)?;
        xattr::set(cx, txn, &mut row.attr, &self.name, &self.value)?;
        let object = txn.put_changed(row);
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
