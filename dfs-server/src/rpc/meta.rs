//! The `Meta` service: names and attributes.

use super::{Services, attr_of, mark, mark_of, name_of};
use crate::nameserver::mutate::{Applied, Mutation};
use crate::nameserver::op;
use dfs_core::attr::{Kind, NewMode};
use dfs_core::limits::{PATH_COMPONENTS, READDIR_PAGE};
use dfs_core::{Code, Fence, FsError, Result};
use dfs_proto::call::{Reply, Request as _};
use dfs_proto::convert::{attr_to, ino_from, kind_from, kind_to, set_attr_from, time_from};
use dfs_proto::v1::meta_server::Meta;
use dfs_proto::v1::*;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

fn entry_rep(applied: &Applied) -> EntryRep {
    EntryRep {
        fail: None,
        mark: Some(mark_of(applied)),
        attr: attr_of(&applied.outcome.object),
        dir: attr_of(&applied.outcome.dir),
        roomy: false,
    }
}

fn remove_rep(applied: &Applied) -> RemoveRep {
    RemoveRep {
        fail: None,
        mark: Some(mark_of(applied)),
        attr: attr_of(&applied.outcome.object),
        dir: attr_of(&applied.outcome.dir),
    }
}

fn attr_rep(applied: &Applied) -> AttrRep {
    let (mark, attr) = (Some(mark_of(applied)), attr_of(&applied.outcome.object));
    AttrRep { fail: None, mark, attr }
}

/// When a removal happened, if the caller has shown it before.
fn shown_at(at: Option<Timestamp>) -> Result<Option<dfs_core::time::Timestamp>> {
    at.map(|at| time_from(Some(at))).transpose()
}

fn opening(op: impl op::Op + 'static, open: Vec<u64>) -> Mutation {
    Mutation { open: open.into_iter().map(ino_from).collect(), ..Mutation::new(op) }
}

impl Services {
    async fn set_attr(&self, req: SetAttrReq) -> Result<AttrRep> {
        let caller = self.caller(&req);
        let (ino, opened) = (ino_from(req.ino), req.opened);
        let mut set = set_attr_from(req.set)?;
        let applied = match set.size.take() {
            Some(size) => {
                let mutation = Mutation::new(op::Truncate { ino, size, set, opened });
                self.server.mutate_under_lease(caller, ino, mutation).await?
            }
            None => {
                let mutation = Mutation::new(op::SetAttributes { ino, set, opened });
                self.server.mutate(caller, mutation).await?
            }
        };
        Ok(attr_rep(&applied))
    }

    async fn create_file(&self, req: CreateReq) -> Result<CreateRep> {
        let caller = self.caller(&req);
        let create = op::Create {
            dir: ino_from(req.dir),
            name: name_of(&req.name)?,
            mode: NewMode { mode: req.mode, umask: req.umask },
            exclusive: req.exclusive,
            leased: req.lease,
        };
        let applied = self.server.mutate(caller.clone(), Mutation::new(create)).await?;
        let outcome = &applied.outcome;
        let grant = match &outcome.object {
            Some(new) if req.lease && outcome.created && new.kind == Kind::File => {
                Some(self.server.lease_of_new(&caller, new.ino).await?)
            }
            _ => None,
        };
        Ok(CreateRep {
            fail: None,
            mark: Some(mark_of(&applied)),
            attr: attr_of(&outcome.object),
            dir: attr_of(&outcome.dir),
            grant,
            created: outcome.created,
        })
    }

    async fn make_directory(&self, req: MkdirReq) -> Result<EntryRep> {
        let caller = self.caller(&req);
        let drawn = (req.ino != 0).then(|| (ino_from(req.ino), Fence(req.fence)));
        let made = drawn.map(|(ino, _)| time_from(req.at).map(|at| (ino, at))).transpose()?;
        let mode = NewMode { mode: req.mode, umask: req.umask };
        let mkdir = op::Mkdir { dir: ino_from(req.dir), name: name_of(&req.name)?, mode, made };
        let mutation = Mutation { drawn, ..Mutation::new(mkdir) };
        let applied = self.server.mutate(caller, mutation).await?;
        Ok(EntryRep { roomy: self.server.is_roomy(), ..entry_rep(&applied) })
    }

    async fn page(&self, req: &ReadDirReq, cookie: u64) -> Result<ReadDirRep> {
        let (caller, dir) = (self.caller(req), ino_from(req.dir));
        let (page, promised) =
            self.server.list(&caller, dir, cookie, READDIR_PAGE, req.want_attrs).await?;
        let entry =
            |(dentry, attr): (crate::metastore::Dentry, Option<dfs_core::attr::Attr>)| DirEntry {
                name: dentry.name.as_bytes().to_vec().into(),
                ino: dentry.ino.0,
                kind: kind_to(dentry.kind).into(),
                cookie: dentry.cookie,
                attr: attr_of(&attr),
            };
        Ok(ReadDirRep {
            fail: None,
            mark: Some(mark(promised)),
            end: page.end,
            dir: Some(attr_to(&page.dir)),
            entries: page.entries.into_iter().map(entry).collect(),
        })
    }
}

#[tonic::async_trait]
impl Meta for Services {
    async fn lookup(&self, req: Request<LookupReq>) -> Answer<EntryRep> {
        let req = req.into_inner();
        self.answer("lookup", req.identity(), async {
            let name = name_of(&req.name)?;
            let (attr, promised) =
                self.server.lookup(&self.caller(&req), ino_from(req.dir), &name).await?;
            let (mark, attr) = (Some(mark(promised)), attr_of(&attr));
            Ok(EntryRep { mark, attr, ..EntryRep::default() })
        })
        .await
    }

    async fn lookup_path(&self, req: Request<LookupPathReq>) -> Answer<EntryRep> {
        let req = req.into_inner();
        self.answer("lookup_path", req.identity(), async {
            if req.components.len() > PATH_COMPONENTS {
                let text = format!("a path of {} components", req.components.len());
                return Err(FsError::new(Code::NameTooLong, text));
            }
            let path = req.components.iter().map(|c| name_of(c)).collect::<Result<Vec<_>>>()?;
            let (caller, dir) = (self.caller(&req), ino_from(req.dir));
            let attr = self.server.lookup_path(&caller, dir, &path).await?;
            Ok(EntryRep { attr: attr_of(&attr), ..EntryRep::default() })
        })
        .await
    }

    async fn get_attr(&self, req: Request<GetAttrReq>) -> Answer<AttrRep> {
        let req = req.into_inner();
        self.answer("getattr", req.identity(), async {
            let (caller, ino) = (self.caller(&req), ino_from(req.ino));
            let (attr, promised) = self.server.attributes(&caller, ino).await?;
            Ok(AttrRep { fail: None, mark: Some(mark(promised)), attr: Some(attr_to(&attr)) })
        })
        .await
    }

    async fn set_attr(&self, req: Request<SetAttrReq>) -> Answer<AttrRep> {
        let req = req.into_inner();
        self.answer("setattr", req.identity(), Services::set_attr(self, req)).await
    }

    type ReadDirStream = ReceiverStream<Result<ReadDirRep, Status>>;

    async fn read_dir(&self, req: Request<ReadDirReq>) -> Answer<Self::ReadDirStream> {
        let req = req.into_inner();
        self.metrics.rpc("readdir");
        let (tx, rx) = tokio::sync::mpsc::channel(2);
        let services = self.clone();
        // Ends when the listing does or when the client leaves.
        tokio::spawn(async move {
            let mut cookie = req.cookie;
            loop {
                let page = services.page(&req, cookie).await.unwrap_or_else(|error| {
                    super::log_refusal("readdir", req.identity().0, &error);
                    ReadDirRep::refuse(&error)
                });
                let last = page.end || page.fail.is_some();
                cookie = page.entries.last().map_or(cookie, |entry| entry.cookie);
                if tx.send(Ok(page)).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(rx)))
    }

    async fn create(&self, req: Request<CreateReq>) -> Answer<CreateRep> {
        let req = req.into_inner();
        self.answer("create", req.identity(), self.create_file(req)).await
    }

    async fn mkdir(&self, req: Request<MkdirReq>) -> Answer<EntryRep> {
        let req = req.into_inner();
        self.answer("mkdir", req.identity(), Services::make_directory(self, req)).await
    }

    async fn mknod(&self, req: Request<MknodReq>) -> Answer<EntryRep> {
        let req = req.into_inner();
        self.answer("mknod", req.identity(), async {
            let mknod = op::Mknod {
                dir: ino_from(req.dir),
                name: name_of(&req.name)?,
                mode: NewMode { mode: req.mode, umask: req.umask },
                kind: kind_from(req.kind)?,
                rdev: req.rdev,
            };
            Ok(entry_rep(&self.server.mutate(self.caller(&req), Mutation::new(mknod)).await?))
        })
        .await
    }

    async fn symlink(&self, req: Request<SymlinkReq>) -> Answer<EntryRep> {
        let req = req.into_inner();
        self.answer("symlink", req.identity(), async {
            let (name, target) = (name_of(&req.name)?, req.target.to_vec());
            let symlink = op::Symlink { dir: ino_from(req.dir), name, target };
            Ok(entry_rep(&self.server.mutate(self.caller(&req), Mutation::new(symlink)).await?))
        })
        .await
    }

    async fn link(&self, req: Request<LinkReq>) -> Answer<EntryRep> {
        let req = req.into_inner();
        self.answer("link", req.identity(), async {
            let name = name_of(&req.name)?;
            let at = shown_at(req.at)?;
            let link = op::Link { ino: ino_from(req.ino), dir: ino_from(req.dir), name, at };
            Ok(entry_rep(&self.server.mutate(self.caller(&req), Mutation::new(link)).await?))
        })
        .await
    }

    async fn unlink(&self, req: Request<UnlinkReq>) -> Answer<RemoveRep> {
        let req = req.into_inner();
        self.answer("unlink", req.identity(), async {
            let at = shown_at(req.at)?;
            let unlink = op::Unlink { dir: ino_from(req.dir), name: name_of(&req.name)?, at };
            let mutation = opening(unlink, req.open.clone());
            Ok(remove_rep(&self.server.mutate(self.caller(&req), mutation).await?))
        })
        .await
    }

    async fn rmdir(&self, req: Request<RmdirReq>) -> Answer<RemoveRep> {
        let req = req.into_inner();
        self.answer("rmdir", req.identity(), async {
            let at = shown_at(req.at)?;
            let rmdir = op::Rmdir { dir: ino_from(req.dir), name: name_of(&req.name)?, at };
            Ok(remove_rep(&self.server.mutate(self.caller(&req), Mutation::new(rmdir)).await?))
        })
        .await
    }

    async fn rename(&self, req: Request<RenameReq>) -> Answer<RenameRep> {
        let req = req.into_inner();
        self.answer("rename", req.identity(), async {
            let rename = op::Rename {
                from_dir: ino_from(req.from_dir),
                from_name: name_of(&req.from_name)?,
                to_dir: ino_from(req.to_dir),
                to_name: name_of(&req.to_name)?,
                noreplace: req.noreplace,
                exchange: req.exchange,
                whiteout: req.whiteout,
                at: shown_at(req.at)?,
            };
            let mutation = opening(rename, req.open.clone());
            let applied = self.server.mutate(self.caller(&req), mutation).await?;
            Ok(RenameRep {
                fail: None,
                mark: Some(mark_of(&applied)),
                moved: attr_of(&applied.outcome.object),
                replaced: attr_of(&applied.outcome.replaced),
                from_dir: attr_of(&applied.outcome.dir),
                to_dir: attr_of(&applied.outcome.to_dir),
            })
        })
        .await
    }

    async fn get_xattrs(&self, req: Request<GetXattrsReq>) -> Answer<XattrsRep> {
        let req = req.into_inner();
        self.answer("getxattrs", req.identity(), async {
            let caller = self.caller(&req);
            let ((attr, xattrs), promised) =
                self.server.extended_attributes(&caller, ino_from(req.ino)).await?;
            let xattr = |(name, value): (Vec<u8>, Vec<u8>)| Xattr {
                name: name.into(),
                value: value.into(),
            };
            Ok(XattrsRep {
                fail: None,
                mark: Some(mark(promised)),
                xattrs: xattrs.into_iter().map(xattr).collect(),
                attr: Some(attr_to(&attr)),
            })
        })
        .await
    }

    async fn set_xattr(&self, req: Request<SetXattrReq>) -> Answer<AttrRep> {
        let req = req.into_inner();
        self.answer("setxattr", req.identity(), async {
            let xattr = req.xattr.clone().unwrap_or_default();
            let mode = match XattrMode::try_from(req.mode) {
                Ok(XattrMode::Unspecified) => op::XattrMode::Any,
                Ok(XattrMode::Create) => op::XattrMode::Create,
                Ok(XattrMode::Replace) => op::XattrMode::Replace,
                Ok(XattrMode::Never) => op::XattrMode::Never,
                Err(_) => return Err(FsError::new(Code::Invalid, "unknown xattr mode")),
            };
            let set = op::SetXattr {
                ino: ino_from(req.ino),
                name: xattr.name.to_vec(),
                value: xattr.value.to_vec(),
                mode,
            };
            Ok(attr_rep(&self.server.mutate(self.caller(&req), Mutation::new(set)).await?))
        })
        .await
    }

    async fn remove_xattr(&self, req: Request<RemoveXattrReq>) -> Answer<AttrRep> {
        let req = req.into_inner();
        self.answer("removexattr", req.identity(), async {
            let remove = op::RemoveXattr { ino: ino_from(req.ino), name: req.name.to_vec() };
            Ok(attr_rep(&self.server.mutate(self.caller(&req), Mutation::new(remove)).await?))
        })
        .await
    }

    async fn stat_fs(&self, req: Request<StatFsReq>) -> Answer<StatFsRep> {
        let req = req.into_inner();
        self.answer("statfs", req.identity(), async { self.server.statfs(&self.caller(&req)) })
            .await
    }

    async fn access(&self, req: Request<AccessReq>) -> Answer<AccessRep> {
        let req = req.into_inner();
        self.answer("access", req.identity(), async {
            self.server.access(&self.caller(&req), ino_from(req.ino), req.mask & 7)?;
            Ok(AccessRep::default())
        })
        .await
    }

    async fn flush(&self, req: Request<FlushReq>) -> Answer<FlushRep> {
        let req = req.into_inner();
        self.answer("flush", req.identity(), async {
            self.server.flush_for(&self.caller(&req)).await?;
            Ok(FlushRep::default())
        })
        .await
    }
}
