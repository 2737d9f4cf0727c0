//! Extended attributes (xattr(7)).

use super::{Vfs, XattrMode};
use crate::client::Client;
use crate::metadata::{Key, Xattrs};
use dfs_core::access::{Credentials, Privilege};
use dfs_core::xattr::{CAPABILITY, Namespace, namespace};
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::sync::Arc;

/// Made up here, read-only: the entry of the recovery area that holds unsaved bytes of the file
/// (PROTOCOL 2.4).
const CONFLICT: &[u8] = b"user.dfs.conflict";

impl Vfs {
    /// The value of one attribute. Errors: `NoData` if there is none, `NotSupported` and `Invalid` for
    /// names that cannot be.
    pub async fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        if name == CONFLICT
            && let Some(entry) = self.content.conflict_of(ino)
        {
            return Ok(entry.into_bytes());
        }
        if namespace(name)? == Namespace::Acl {
            self.lend_acls(ino).await?;
        }
        let all = self.xattrs(ino).await?;
        match all.binary_search_by(|(n, _)| n.as_slice().cmp(name)) {
            Ok(at) if !self.is_spent(ino, name) => Ok(all[at].1.clone()),
            Ok(_) | Err(_) => {
                let text = format!("inode {ino} has no attribute '{}'", name.escape_ascii());
                Err(FsError::new(Code::NoData, text))
            }
        }
    }

    /// As [`getxattr`](Vfs::getxattr), for the question that Linux asks before the first write to each
    /// file, and the answer that it nearly always gets.
    pub fn getxattr_now(&self, ino: Ino, name: &[u8]) -> Option<Result<Vec<u8>>> {
        if name != CAPABILITY {
            return None;
        }
        self.client.session.lease_left()?;
        let attr = self.client.metadata.attr(ino)?;
        (!attr.has_xattrs).then(|| Err(FsError::from(Code::NoData)))
    }

    /// Names of all attributes the caller may know of, in order: `trusted.` is hidden from the
    /// unprivileged.
    pub async fn listxattr(&self, who: &Credentials, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let all = self.xattrs(ino).await?;
        let shown = |name: &[u8]| {
            let hidden =
                matches!(namespace(name), Ok(Namespace::Trusted)) && !who.may(Privilege::Admin);
            !hidden && !self.is_spent(ino, name)
        };
        let names = all.iter().map(|(name, _)| name).filter(|name| shown(name));
        let mut names: Vec<Vec<u8>> = names.cloned().collect();
        if self.content.conflict_of(ino).is_some() {
            names.push(CONFLICT.to_vec());
        }
        Ok(names)
    }

    /// Sets one attribute. Errors: `Exists`, `NoData` (by mode), `NotSupported` (namespace),
    /// `AccessDenied`, `NotPermitted`, `ReadOnly`, `NoSpace`.
    pub async fn setxattr(
        &self,
        who: &Credentials,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.writable()?;
        if name == CONFLICT {
            return Err(FsError::new(Code::NotPermitted, "this attribute tells of a conflict"));
        }
        let mode = match mode {
            XattrMode::Any => v1::XattrMode::Unspecified,
            XattrMode::Create => v1::XattrMode::Create,
            XattrMode::Replace => v1::XattrMode::Replace,
            XattrMode::Never => v1::XattrMode::Never,
        };
        self.save_before(ino, name).await?;
        let xattr = v1::Xattr { name: name.to_vec().into(), value: value.to_vec().into() };
        let request = v1::SetXattrReq {
            ino: ino.0,
            xattr: Some(xattr),
            mode: mode.into(),
            ..Default::default()
        };
        self.change_xattr(who, ino, request).await
    }

    /// Removes one attribute. Errors: `NoData` if there is none; else as `setxattr`.
    pub async fn removexattr(&self, who: &Credentials, ino: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        self.save_before(ino, name).await?;
        let request =
            v1::RemoveXattrReq { ino: ino.0, name: name.to_vec().into(), ..Default::default() };
        self.change_xattr(who, ino, request).await
    }

    async fn change_xattr<Q>(&self, who: &Credentials, ino: Ino, request: Q) -> Result<()>
    where
        Q: crate::rpc::Call<Reply = v1::AttrRep>,
    {
        let asked = self.client.metadata.asked();
        let apply = move |client: &Client, reply: &v1::AttrRep| {
            let attr = convert::need_attr(reply.attr.clone())?;
            client.metadata.own_attr(asked, &reply.mark.unwrap_or_default(), attr);
            Ok(())
        };
        self.client.change(who, vec![Key::Attr(ino)], request, apply).await.map(drop)
    }

    /// The kernel keeps access control lists, present or not, until it is told to forget the inode:
    /// from now on it must be told of every change, or else at once.
    async fn lend_acls(&self, ino: Ino) -> Result<()> {
        self.client.attr(ino).await?;
        if !self.client.metadata.lend_acls(ino) {
            self.client.kernel.forget_attr(ino);
        }
        Ok(())
    }

    /// Writes left to the next commit came before a change of this attribute: they would take it away.
    async fn save_before(&self, ino: Ino, name: &[u8]) -> Result<()> {
        match self.client.hooks() {
            Some(hooks) if self.is_spent(ino, name) => hooks.flush(ino).await,
            _ => Ok(()),
        }
    }

    /// Whether unsaved writes take the attribute away when they are committed.
    fn is_spent(&self, ino: Ino, name: &[u8]) -> bool {
        name == CAPABILITY && self.content.is_written(ino)
    }

    /// All attributes: known to be none, known, or asked for.
    pub(super) async fn xattrs(&self, ino: Ino) -> Result<Arc<Xattrs>> {
        let attr = self.client.attr(ino).await?;
        if !attr.has_xattrs {
            return Ok(Arc::default());
        }
        if let Some(known) = self.client.metadata.xattrs(ino) {
            self.client.metrics.hits.inc();
            return Ok(known);
        }
        self.client.metrics.misses.inc();
        let asked = self.client.metadata.asked();
        let request = v1::GetXattrsReq { ino: ino.0, ..Default::default() };
        let reply = self.client.call(&Credentials::root(), request).await?;
        let pair = |x: v1::Xattr| (x.name.to_vec(), x.value.to_vec());
        let mut all: Xattrs = reply.xattrs.into_iter().map(pair).collect();
        all.sort_unstable();
        let (all, mark) = (Arc::new(all), reply.mark.unwrap_or_default());
        let attr = convert::need_attr(reply.attr)?;
        self.client.metadata.store_xattrs(asked, &mark, attr, Arc::clone(&all));
        Ok(all)
    }
}
