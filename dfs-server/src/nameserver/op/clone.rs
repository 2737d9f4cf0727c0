//! Copies a range between files, or within one, by sharing what is stored (FICLONERANGE,
//! copy_file_range(2)). Holes are copied as holes; no data moves.

use super::install::{NewContent, demand_size};
use super::intents::Intents;
use super::{Context, Op, Outcome, Txn, Verdict, attributes};
use crate::metastore::{Inode, Read};
use crate::nameserver::resolve;
use dfs_core::access::{Privilege, READ, WRITE};
use dfs_core::attr::SetAttr;
use dfs_core::extent::{self, Extent, Source};
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};

/// See the module.
#[derive(Clone, Debug)]
pub struct CloneRange {
    /// File to copy from.
    pub src: Ino,
    /// First byte there.
    pub src_off: u64,
    /// Number of bytes; cut at the end of `src`. None left: nothing happens.
    pub len: u64,
    /// File to copy to; the caller has checked the write grant on it.
    pub dst: Ino,
    /// First byte there, with any alignment. A range of one file that overlaps itself fails with
    /// `Invalid`, a file that would grow beyond its bound with `FileTooBig`.
    pub dst_off: u64,
    /// Permission to read `src` and to write `dst` was checked when the handles were opened.
    pub opened: bool,
}

impl CloneRange {
    /// The bytes to read, cut at the end of the source.
    fn source_range(&self, src: &Inode) -> Range {
        Range::of_len(self.src_off, self.len).intersect(Range::new(0, src.attr.size))
    }

    /// Where they go.
    fn target_range(&self, src: &Inode) -> Result<Range> {
        let target = Range::of_len(self.dst_off, self.source_range(src).len());
        demand_size(target.end)?;
        Ok(target)
    }

    /// The change of `dst`: its pieces are those of `src`, moved and cut again at its own stripes.
    fn content(&self, view: &dyn Read, src: &Inode, dst: &Inode) -> Result<NewContent> {
        let (range, target) = (self.source_range(src), self.target_range(src)?);
        let (first, last) = (range.start / src.unit, (range.end - 1) / src.unit);
        let stripes = view.stripes(self.src, first, last)?;
        let stored: Vec<Extent> = stripes.into_iter().flat_map(|(_, stripe)| stripe).collect();
        let mut changes = Vec::new();
        for piece in extent::plan(&stored, range) {
            let piece = piece.moved_to(target.start + (piece.range.start - range.start));
            match piece.source {
                Source::Hole => changes.push(piece),
                _ => changes.extend(extent::split_at_stripes(&piece, dst.unit).map(|cut| cut.1)),
            }
        }
        let size = dst.attr.size.max(target.end);
        Ok(NewContent { min_size: dst.attr.size, size, changes })
    }

    fn permit(&self, cx: &Context<'_>, view: &dyn Read, src: &Inode, dst: &Inode) -> Result<()> {
        resolve::demand_file(&src.attr)?;
        resolve::demand_file(&dst.attr)?;
        if self.opened {
            return Ok(());
        }
        resolve::demand(cx, view, &src.attr, READ)?;
        resolve::demand(cx, view, &dst.attr, WRITE)
    }
}

impl Op for CloneRange {
    fn verb(&self) -> &'static str {
        "clone"
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.dst).attr_shared(self.src).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let (src, dst) = (resolve::inode(view, self.src)?, resolve::inode(view, self.dst)?);
        self.permit(cx, view, &src, &dst)?;
        let (from, to) = (self.source_range(&src), self.target_range(&src)?);
        if from.is_empty() {
            return Ok(Verdict::Done(Outcome { object: Some(dst.attr), ..Outcome::default() }));
        }
        if self.src == self.dst && from.overlaps(to) {
            let text = format!("{from:?} and {to:?} of inode {} overlap", self.src);
            return Err(FsError::new(Code::Invalid, text));
        }
        Ok(Verdict::Change(vec![self.content(view, &src, &dst)?.item(&dst)]))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let (src, mut dst) = (txn.inode(self.src)?, txn.inode(self.dst)?);
        let content = self.content(&txn.view(), &src, &dst)?;
        content.install(txn, &mut dst)?;
        dst.attr.mtime = txn.now;
        let set = SetAttr { drop_suid: !cx.who.may(Privilege::SetId), ..SetAttr::default() };
        attributes::change(cx, txn, &mut dst, &set, true)?;
        let object = txn.put_changed(dst);
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
