//! Installs a new version of a file, written elsewhere under a write grant (PROTOCOL 4.2).
//!
//! Grant and fence are the caller's to check; here it is whether the changes fit the file.

use super::install::{NewContent, demand_size};
use super::intents::Intents;
use super::{Context, Flush, Op, Outcome, Txn, Verdict, attributes};
use crate::metastore::{Inode, Read};
use crate::nameserver::resolve;
use dfs_core::attr::{Attr, SetAttr, SetTime};
use dfs_core::extent::{Extent, Source};
use dfs_core::hub::{Hold, IntentKey, Item};
use dfs_core::limits::{COMMIT_INLINE_MAX, INLINE_MAX};
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};

/// How far a writer's clock may be off (PROTOCOL 4.6 "file times").
const MTIME_SLACK_SECONDS: i64 = 2;

/// See the module.
#[derive(Clone, Debug)]
pub struct Commit {
    /// File, with or without names.
    pub ino: Ino,
    /// Version the changes were made on; if it is not current, `StaleVersion`.
    pub base_ver: u64,
    /// Smallest size the file had since then.
    pub min_size: u64,
    /// Size of the new version.
    pub size: u64,
    /// Changed ranges in order, below `size`: data inside one stripe each and named for this inode,
    /// inline bytes up to `INLINE_MAX` each and `COMMIT_INLINE_MAX` in total, holes of any length.
    pub extents: Vec<Extent>,
    /// Attribute changes that ride along; a size fails with `Invalid`. Without `mtime` the change
    /// counts as made now.
    pub set: SetAttr,
    /// The content is as it was; only `set` applies.
    pub attrs_only: bool,
    /// It is no fsync: flushed before its answer if the server is strict.
    pub later: bool,
}

impl Commit {
    fn content(&self) -> NewContent {
        NewContent { min_size: self.min_size, size: self.size, changes: self.extents.clone() }
    }

    /// The time of the last write is not a time the caller chose: it needs no ownership.
    fn chosen(&self) -> SetAttr {
        if self.attrs_only { self.set } else { SetAttr { mtime: None, ..self.set } }
    }

    /// `Invalid` unless the changed ranges are as the field demands.
    fn check_extents(&self, unit: u64) -> Result<()> {
        let (mut at, mut inline) = (0, 0);
        for extent in &self.extents {
            let range = extent.range;
            if range.is_empty() || range.start < at || range.end > self.size {
                return invalid(format!("{range:?} is empty, out of order or behind the end"));
            }
            (at, inline) = (range.end, inline + extent.inline_len());
            if extent.inline_len() > INLINE_MAX {
                return invalid(format!("{range:?} is too long to be inline"));
            }
            let crosses = range.start / unit != (range.end - 1) / unit;
            match &extent.source {
                Source::Hole => {}
                _ if crosses => return invalid(format!("{range:?} crosses a stripe of {unit}")),
                Source::Inline(bytes) if bytes.len() as u64 != range.len() => {
                    return invalid(format!("{} bytes for {range:?}", bytes.len()));
                }
                Source::Object(name, _) if name.ino != self.ino => {
                    return invalid(format!("{name:?} was written for another file"));
                }
                Source::Object(_, offset) if offset.saturating_add(range.len()) > unit => {
                    return invalid(format!("{range:?} reaches behind the end of any object"));
                }
                Source::Inline(_) | Source::Object(..) => {}
            }
        }
        if inline > COMMIT_INLINE_MAX {
            return invalid(format!("{inline} inline bytes are more than {COMMIT_INLINE_MAX}"));
        }
        Ok(())
    }

    /// What must hold of the file before it.
    pub(super) fn check_on(&self, cx: &Context<'_>, view: &dyn Read, row: &Inode) -> Result<()> {
        resolve::demand_file(&row.attr)?;
        if self.set.size.is_some() {
            return invalid("the size of a commit is no attribute change".into());
        }
        if let Some(SetTime::To(time)) = self.set.mtime {
            super::rules::valid_time(time)?;
        }
        attributes::permit(cx, view, &row.attr, &self.chosen(), true)?;
        if self.attrs_only { Ok(()) } else { self.check_content(row) }
    }

    /// What must hold of the content.
    fn check_content(&self, row: &Inode) -> Result<()> {
        if self.base_ver != row.attr.content_ver {
            let (ino, now) = (self.ino, row.attr.content_ver);
            let text = format!("commit on version {} of inode {ino}, now {now}", self.base_ver);
            return Err(FsError::new(Code::StaleVersion, text));
        }
        demand_size(self.size)?;
        if self.min_size > self.size {
            return invalid(format!("smallest size {} over size {}", self.min_size, self.size));
        }
        self.check_extents(row.unit)
    }
}

fn invalid<T>(text: String) -> Result<T> {
    Err(FsError::new(Code::Invalid, text))
}

/// The time a writer gives for its last write: taken as it is from who may set times, else held
/// near the server's own.
fn written_at(cx: &Context<'_>, attr: &Attr, given: Option<SetTime>, now: Timestamp) -> Timestamp {
    let Some(SetTime::To(time)) = given else {
        return now;
    };
    if cx.who.owns(attr) {
        return time;
    }
    near(time, now)
}

/// A client's time, held near the server's own.
pub(super) fn near(time: Timestamp, now: Timestamp) -> Timestamp {
    let shifted = |by: i64| Timestamp { seconds: now.seconds.saturating_add(by), ..now };
    time.clamp(shifted(-MTIME_SLACK_SECONDS), shifted(MTIME_SLACK_SECONDS))
}

impl Op for Commit {
    fn verb(&self) -> &'static str {
        "commit"
    }

    fn flush(&self) -> Flush {
        if self.later { Flush::AsSet } else { Flush::Always }
    }

    fn intents(&self, _: &Context<'_>, _: &dyn Read) -> Result<Vec<(IntentKey, Hold)>> {
        Ok(Intents::of_attr(self.ino).done())
    }

    fn check(&self, cx: &Context<'_>, view: &dyn Read) -> Result<Verdict> {
        let row = resolve::inode(view, self.ino)?;
        self.check_on(cx, view, &row)?;
        if !self.attrs_only {
            return Ok(Verdict::Change(vec![self.content().item(&row)]));
        }
        if self.set.is_empty() {
            return Ok(Verdict::Done(Outcome { object: Some(row.attr), ..Outcome::default() }));
        }
        Ok(Verdict::Change(vec![Item::Attr { ino: self.ino }]))
    }

    fn effect(&self, cx: &Context<'_>, txn: &mut Txn<'_>) -> Result<Outcome> {
        let mut row = txn.inode(self.ino)?;
        if !self.attrs_only {
            self.content().install(txn, &mut row)?;
            row.attr.mtime = written_at(cx, &row.attr, self.set.mtime, txn.now);
        }
        attributes::change(cx, txn, &mut row, &self.chosen(), !self.attrs_only)?;
        let object = txn.put_changed(row);
        Ok(Outcome { object: Some(object), ..Outcome::default() })
    }
}
