//! Pages of a directory listing (PROTOCOL 3.5).

use super::{demand, permits};
use crate::metastore::{Dentry, Read};
use crate::nameserver::op::Context;
use dfs_core::access::{EXEC, READ};
use dfs_core::attr::{Attr, Kind};
use dfs_core::{Code, FsError, Ino, Result};

/// A stretch of a listing as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The directory.
    pub dir: Attr,
    /// Entries in cookie order, with attributes if they were asked for and the caller may search
    /// the directory.
    pub entries: Vec<(Dentry, Option<Attr>)>,
    /// Whether the listing ends here.
    pub end: bool,
}

/// At most `limit` entries behind `cookie` (0: from the start), without `.` and `..`. Needs read
/// permission on the directory. Fails with `Stale`, `NotDirectory`, `AccessDenied`.
pub fn list(
    cx: &Context<'_>,
    view: &dyn Read,
    dir: Ino,
    cookie: u64,
    limit: usize,
    want_attrs: bool,
) -> Result<Page> {
    let dir_attr = super::attr(view, dir)?;
    if dir_attr.kind != Kind::Directory {
        return Err(FsError::new(Code::NotDirectory, format!("inode {dir} is no directory")));
    }
    demand(cx, view, &dir_attr, READ)?;
    // Cookies stay below 2^63 (`cookie_base`), which is also what a signed column can hold.
    let first = cookie.saturating_add(1).min(i64::MAX as u64);
    let mut found = view.dentries(dir, first, i64::MAX as u64, limit.saturating_add(1))?;
    let end = found.len() <= limit;
    found.truncate(limit);

    let want_attrs = want_attrs && permits(cx, view, &dir_attr, EXEC)?;
    let with_attr = |dentry: Dentry| -> Result<(Dentry, Option<Attr>)> {
        let attr = if want_attrs { Some(super::attr(view, dentry.ino)?) } else { None };
        Ok((dentry, attr))
    };
    let entries = found.into_iter().map(with_attr).collect::<Result<_>>()?;
    Ok(Page { dir: dir_attr, entries, end })
}
