//! What the content layer asks of the servers, in the words of the core.

use super::Content;
use super::manifest::Manifest;
use crate::metadata::Asked;
use bytes::Bytes;
use dfs_core::access::Credentials;
use dfs_core::attr::Attr;
use dfs_core::extent::{Extent, Source};
use dfs_core::inode_state::Held;
use dfs_core::limits::REPLY_DATA_MAX;
use dfs_core::range::Range;
use dfs_core::{Code, Fence, FsError, GrantId, Ino, Result};
use dfs_proto::call::Reply;
use dfs_proto::{convert, v1};
use std::time::Duration;

/// What the server said about a file's content at one moment.
#[derive(Debug)]
pub(crate) struct Update {
    /// Attributes; version and size are those of the content.
    pub(crate) attr: Attr,
    /// Extents of a part; none if the version asked about is current.
    pub(crate) page: Option<(Range, Vec<Extent>)>,
    /// The whole content.
    pub(crate) data: Option<Bytes>,
    /// Versions below are of earlier runs of the server than the one that said so.
    pub(crate) first_version: u64,
}

/// What a reader wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Version that is here already, so that nothing is sent if it is current. 0: none.
    pub(crate) have_ver: u64,
    /// Send the bytes of a file up to this size.
    pub(crate) data_max: u32,
    /// Extents from this offset on.
    pub(crate) from: u64,
    /// Permission was checked at open.
    pub(crate) opened: bool,
}

impl Update {
    /// The extents in the reply, as a manifest.
    pub(crate) fn manifest(&self) -> Manifest {
        let mut manifest = Manifest::new(self.attr.content_ver, self.attr.size);
        if let Some((part, extents)) = &self.page {
            manifest.learn(*part, extents.clone());
        }
        manifest
    }

    /// Whether the version `here` is to be left for this one: it is older, or was undone.
    pub(crate) fn replaces(&self, here: u64) -> bool {
        let there = self.attr.content_ver;
        there > here || there < here && here < self.first_version
    }

    fn from_wire(
        reply: v1::ContentRep,
        from: u64,
        first_version: u64,
        kept: Attr,
    ) -> Result<Update> {
        let mut attr = convert::need_attr(reply.attr)?;
        let page = match reply.manifest {
            None => None,
            Some(manifest) => {
                // The extents are of this version, whatever else changed since.
                (attr.content_ver, attr.size) = (manifest.ver, manifest.size);
                let extents = convert::extents_from(manifest.extents)?;
                let end = match (manifest.more, extents.last()) {
                    (true, Some(last)) => last.range.end,
                    _ => u64::MAX,
                };
                Some((Range::new(from, end), extents))
            }
        };
        if page.is_none() && kept.content_ver == attr.content_ver {
            attr = kept;
        }
        let data = reply.data.or_else(|| whole(attr.size, page.as_ref()?));
        Ok(Update { attr, page, data, first_version })
    }
}

/// The whole content of a small file, if its extents have it.
fn whole(size: u64, (part, extents): &(Range, Vec<Extent>)) -> Option<Bytes> {
    if *part != Range::ALL || size > u64::from(REPLY_DATA_MAX) {
        return None;
    }
    if let [Extent { range, source: Source::Inline(bytes) }] = extents.as_slice()
        && *range == Range::new(0, size)
    {
        return Some(bytes.clone());
    }
    let mut content = vec![0; size as usize];
    for Extent { range, source } in extents {
        match source {
            Source::Inline(bytes) => {
                content.get_mut(range.start as usize..range.end as usize)?.copy_from_slice(bytes);
            }
            Source::Hole => {}
            Source::Object(..) => return None,
        }
    }
    Some(content.into())
}

/// Taken before a question is sent: what its answer is measured by.
#[derive(Clone, Copy)]
struct Asking {
    ticket: Asked,
    /// [`Session::first_version`](crate::session::Session::first_version) of then: the answer comes
    /// from that run of the server or from a later one.
    first_version: u64,
}

/// Calls that need no permission check: the lease or the handle is proof.
pub(crate) fn system() -> Credentials {
    Credentials::root()
}

impl Content {
    /// Asks for the current content.
    pub(crate) async fn get_content(
        &self,
        who: &Credentials,
        ino: Ino,
        wanted: Wanted,
    ) -> Result<Update> {
        let asked = self.asking();
        let request = v1::GetContentReq {
            caller: None,
            ino: ino.0,
            have_ver: wanted.have_ver,
            data_max_bytes: wanted.data_max,
            range: (wanted.from > 0).then_some(v1::Range { off: wanted.from, len: 0 }),
            opened: wanted.opened,
        };
        let reply = self.client.call_about(&[ino], who, request).await?;
        self.learn(asked, reply, wanted.from)
    }

    /// Asks for the current contents of small files, with one call: for each, in this order, what the
    /// server said; it may answer for the first ones only.
    pub(super) async fn get_contents(&self, inos: &[Ino]) -> Result<Vec<Result<Update>>> {
        let asked = self.asking();
        let numbers = inos.iter().map(|ino| ino.0).collect();
        let request = v1::GetContentsReq { caller: None, inos: numbers };
        let reply = self.client.call_about(inos, &system(), request).await?;
        let learn = |content: v1::ContentRep| self.learn(asked, content.into_result()?, 0);
        Ok(reply.contents.into_iter().map(learn).collect())
    }

    /// Asks for a lease; the reply says what it is on.
    pub(crate) async fn acquire(
        &self,
        who: &Credentials,
        request: v1::AcquireReq,
    ) -> Result<(Held, Update)> {
        let asked = self.asking();
        let reply = self.client.call_about(&[Ino(request.ino)], who, request).await?;
        self.granted(asked, reply)
    }

    /// Asks for a lost lease on the same base.
    pub(crate) async fn ask_rescue(
        &self,
        ino: Ino,
        base_ver: u64,
        fence: Fence,
    ) -> Result<(Held, Update)> {
        let asked = self.asking();
        let request = v1::RescueReq { caller: None, ino: ino.0, base_ver, fence: fence.0 };
        let reply = self.client.call_about(&[ino], &system(), request).await?;
        self.granted(asked, reply)
    }

    fn granted(&self, asked: Asking, reply: v1::AcquireRep) -> Result<(Held, Update)> {
        let grant = reply.grant.ok_or_else(|| missing("a grant"))?;
        let content = reply.content.ok_or_else(|| missing("content"))?;
        Ok((held(&grant), self.learn(asked, content, 0)?))
    }

    fn asking(&self) -> Asking {
        let first_version = self.client.session.first_version();
        Asking { ticket: self.client.metadata.asked(), first_version }
    }

    /// Takes over what an answer says of the inode. `from`: the offset that was asked about.
    fn learn(&self, asked: Asking, reply: v1::ContentRep, from: u64) -> Result<Update> {
        let attr = convert::need_attr(reply.attr.clone())?;
        let mark = reply.mark.unwrap_or_default();
        let kept = self.client.metadata.store_attr(asked.ticket, &mark, attr);
        Update::from_wire(reply, from, asked.first_version, kept)
    }

    /// Gives a grant back that is not held any more; that it is gone already is fine.
    pub(crate) async fn disown(&self, ino: Ino, grant: GrantId, fence: Fence) {
        let request = v1::ReleaseReq { caller: None, ino: ino.0, grant: grant.0, fence: fence.0 };
        match self.client.call_about(&[ino], &system(), request).await {
            Ok(_) => {}
            Err(e) if e.code == Code::Fenced => {}
            // The server takes it by force in the end.
            Err(error) => tracing::warn!(%ino, %grant, %error, "cannot give a grant back"),
        }
    }
}

/// The core's view of a grant.
pub(crate) fn held(grant: &v1::Grant) -> Held {
    Held {
        grant: GrantId(grant.id),
        fence: Fence(grant.fence),
        hold: Duration::from_millis(grant.min_hold_ms.into()),
    }
}

fn missing(what: &str) -> FsError {
    FsError::new(Code::Invalid, format!("reply without {what}"))
}
