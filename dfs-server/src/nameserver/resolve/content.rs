//! The extents of a file as one version has them.

use super::demand;
use crate::metastore::{Read, Stripe};
use crate::nameserver::op::Context;
use dfs_core::access::READ;
use dfs_core::attr::{Attr, Kind};
use dfs_core::extent::Extent;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};

/// Most extents in one answer.
const EXTENTS_MAX: usize = 16_384;
/// Most inline bytes in one answer, so that it fits a message.
const INLINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Stripes read first; every further step doubles, so that a sparse file costs few steps and a
/// dense one is not read much further than one answer reaches.
const STRIPES_FIRST: u64 = 64;

/// A stretch of the extents of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Attributes; `content_ver` and `size` belong to the extents.
    pub attr: Attr,
    /// Stripe unit in bytes.
    pub unit: u64,
    /// Extents in order, cut to the range asked for and the size.
    pub extents: Vec<Extent>,
    /// Whether the answer was full: ask on from the end of the last extent.
    pub more: bool,
}

/// The extents in `range`. Needs read permission, unless it was checked when the handle was
/// `opened`. Fails with `Stale`, `IsDirectory`, `Invalid` (no regular file), `AccessDenied`.
pub fn content(
    cx: &Context<'_>,
    view: &dyn Read,
    ino: Ino,
    range: Range,
    opened: bool,
) -> Result<Content> {
    let row = super::inode(view, ino)?;
    demand_file(&row.attr)?;
    if !opened {
        demand(cx, view, &row.attr, READ)?;
    }
    let range = range.intersect(Range::new(0, row.attr.size));
    let mut out = Content { attr: row.attr, unit: row.unit, extents: Vec::new(), more: false };
    if range.is_empty() {
        return Ok(out);
    }
    let (mut index, last) = (range.start / out.unit, (range.end - 1) / out.unit);
    let (mut step, mut inline) = (STRIPES_FIRST, 0);
    while index <= last && !out.more {
        let until = last.min(index.saturating_add(step - 1));
        out.more = add(&mut out.extents, &mut inline, view.stripes(ino, index, until)?, range);
        (index, step) = (until + 1, step.saturating_mul(2));
    }
    Ok(out)
}

/// `IsDirectory` or `Invalid` for what has no content.
pub(in crate::nameserver) fn demand_file(attr: &Attr) -> Result<()> {
    let code = match attr.kind {
        Kind::File => return Ok(()),
        Kind::Directory => Code::IsDirectory,
        _ => Code::Invalid,
    };
    Err(FsError::new(code, format!("inode {} is no regular file", attr.ino)))
}

/// Appends the parts of `stripes` inside `range`; true: the answer is full before the last of them.
fn add(
    extents: &mut Vec<Extent>,
    inline: &mut u64,
    stripes: Vec<(u64, Stripe)>,
    range: Range,
) -> bool {
    let parts = stripes.into_iter().flat_map(|(_, stripe)| stripe);
    for part in parts.filter_map(|extent| extent.part(range)) {
        if extents.len() == EXTENTS_MAX || *inline + part.inline_len() > INLINE_BYTES_MAX {
            return true;
        }
        *inline += part.inline_len();
        extents.push(part);
    }
    false
}
