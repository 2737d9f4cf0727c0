//! What a file consists of: reads of its extents and of small contents, and the objects they name.

use super::op::Context;
use super::reads::{Promised, REREADS, busy};
use super::resolve::{self, Content};
use super::{Caller, NameServer};
use crate::metastore::Read;
use bytes::Bytes;
use dfs_core::attr::Attr;
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::limits::{CONTENTS_MAX, REPLY_DATA_MAX};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use std::sync::Arc;

/// What a client wants to know of a file's content.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Version the client has whole already; 0: none.
    pub have_ver: u64,
    /// Send the bytes of a file up to this size.
    pub data_max: u64,
    /// Extents in this range.
    pub range: Range,
    /// Permission was checked when the handle was opened.
    pub opened: bool,
}

/// The content of one version.
#[derive(Clone, Debug)]
pub struct Found {
    /// Attributes of that version.
    pub attr: Attr,
    /// Extents; `None`: the client has them.
    pub content: Option<Content>,
    /// All bytes, if asked and small enough, and if the extents do not have them.
    pub data: Option<Vec<u8>>,
    /// What was promised.
    pub promised: Promised,
}

impl NameServer {
    /// Reads extents and, if they are small, bytes of exactly one version (PROTOCOL 0.1 G4).
    pub async fn content(
        self: &Arc<Self>,
        caller: &Caller,
        ino: Ino,
        wanted: Wanted,
    ) -> Result<Found> {
        self.may_read(caller)?;
        self.found(caller, ino, wanted).await
    }

    async fn found(self: &Arc<Self>, caller: &Caller, ino: Ino, wanted: Wanted) -> Result<Found> {
        for _ in 0..REREADS {
            let promised = self.promise_attr(caller, ino);
            let found = consistent(&self.context(caller), &*self.store, ino, wanted)?;
            let Some(content) = found else { continue };
            let attr = content.attr.clone();
            if wanted.have_ver != 0 && wanted.have_ver == attr.content_ver {
                return Ok(Found { attr, content: None, data: None, promised });
            }
            let is_asked = attr.size <= wanted.data_max && wanted.range == Range::ALL;
            if !is_asked || content.more || !names_objects(&content) {
                return Ok(Found { attr, content: Some(content), data: None, promised });
            }
            match self.bytes(&content).await {
                // The version was replaced and its objects collected while they were read.
                Err(error) if error.code == Code::NotFound => continue,
                bytes => {
                    let data = Some(bytes?);
                    return Ok(Found { attr, content: Some(content), data, promised });
                }
            }
        }
        Err(busy("file"))
    }

    /// As [`content`](NameServer::content), of several files as a whole: of as many as fit into an
    /// answer, but at least one.
    pub async fn contents(
        self: &Arc<Self>,
        caller: &Caller,
        inos: Vec<Ino>,
    ) -> Result<Vec<Result<Found>>> {
        self.may_read(caller)?;
        let data_max = REPLY_DATA_MAX.into();
        let wanted = Wanted { have_ver: 0, data_max, range: Range::ALL, opened: true };
        let (mut contents, mut bytes) = (Vec::new(), 0);
        for ino in inos.into_iter().take(CONTENTS_MAX) {
            let found = self.found(caller, ino, wanted).await;
            bytes += found.as_ref().map_or(0, |found| found.attr.size);
            contents.push(found);
            if bytes >= data_max {
                break;
            }
        }
        Ok(contents)
    }

    /// All bytes of a small file.
    async fn bytes(self: &Arc<Self>, content: &Content) -> Result<Vec<u8>> {
        let mut bytes = vec![0; content.attr.size as usize];
        let (extents, objects) = (content.extents.clone(), self.objects.clone());
        let read = tokio::task::spawn_blocking(move || {
            fill(&mut bytes, &extents, |name, off, len| objects.read(name, off, len))?;
            Ok(bytes)
        });
        read.await.map_err(|_| FsError::new(Code::Io, "reading objects was cut off"))?
    }
}

/// Whether there are bytes that do not come along with the extents.
fn names_objects(content: &Content) -> bool {
    content.extents.iter().any(|extent| matches!(extent.source, Source::Object(..)))
}

/// Copies extents into the bytes of a file of that length.
fn fill(
    bytes: &mut [u8],
    extents: &[Extent],
    read: impl Fn(ObjectName, u64, u64) -> Result<Bytes>,
) -> Result<()> {
    for extent in extents {
        let range = extent.range.start as usize..extent.range.end as usize;
        match &extent.source {
            Source::Inline(inline) => bytes[range].copy_from_slice(inline),
            Source::Object(name, off) => {
                bytes[range].copy_from_slice(&read(*name, *off, extent.range.len())?);
            }
            Source::Hole => {}
        }
    }
    Ok(())
}

/// Extents and attributes of one version; `None`: a commit came between the reads.
fn consistent(
    cx: &Context<'_>,
    view: &dyn Read,
    ino: Ino,
    wanted: Wanted,
) -> Result<Option<Content>> {
    let content = resolve::content(cx, view, ino, wanted.range, wanted.opened)?;
    let after = resolve::attr(view, ino)?;
    Ok((after.content_ver == content.attr.content_ver).then_some(content))
}

/// The objects that make up a file now.
pub(super) fn objects_of(view: &dyn Read, ino: Ino) -> Result<Vec<ObjectName>> {
    let stripes = view.stripes(ino, 0, u64::MAX)?;
    let extents = stripes.into_iter().flat_map(|(_, stripe)| stripe);
    let objects = extents.filter_map(|extent| match extent.source {
        Source::Object(name, _) => Some(name),
        Source::Inline(_) | Source::Hole => None,
    });
    Ok(objects.collect())
}
