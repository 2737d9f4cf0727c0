//! The namespace and lock services of the fake: one directory, whose files have their number as inode.

use super::{Fake, Fate, ROOT, State, refusal};
use dfs_core::Code;
use dfs_proto::v1::coherence_server::Coherence;
use dfs_proto::v1::meta_server::Meta;
use dfs_proto::v1::*;
use std::future::pending;
use std::pin::Pin;
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

fn attr(s: &State, ino: u64) -> Attr {
    let kind = if ino == ROOT { Kind::Directory } else { Kind::File };
    let times = Some(Timestamp::default());
    Attr {
        ino,
        kind: kind.into(),
        mode: 0o777,
        nlink: 1,
        attr_ver: s.seq,
        dir_ver: s.dir_ver,
        parent: ROOT,
        atime: times,
        mtime: times,
        ctime: times,
        btime: times,
        ..Attr::default()
    }
}

fn mark(s: &State) -> Option<Mark> {
    Some(Mark {
        as_of: s.seq,
        promised_attr: true,
        promised_dir: true,
        promised_dir_attr: s.delegates,
        delegated_dir: s.delegates,
        delegated_made: s.delegates,
    })
}

/// Tells the test that a call was given up by the client.
struct Waiting(Fake);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.with(|s| s.cancelled += 1);
    }
}

impl Fake {
    /// Does what the test said should happen to a call of this kind; answers only with a refusal.
    async fn befall(&self, fate: &Option<Fate>) -> Result<Option<Fail>, Status> {
        match fate {
            None | Some(Fate::LoseAnswer | Fate::Move) => Ok(None),
            Some(Fate::Lose) => Err(Status::unavailable("lost")),
            Some(Fate::Refuse(code)) => Ok(Some(refusal(*code))),
            Some(Fate::Held) => {
                self.until("the call is let go", |s| !s.held).await;
                Ok(None)
            }
            Some(Fate::Hang) => {
                let _waiting = Waiting(self.clone());
                pending().await
            }
        }
    }

    fn lost(fate: &Option<Fate>) -> Result<(), Status> {
        match fate {
            Some(Fate::LoseAnswer) => Err(Status::unavailable("the answer is lost")),
            _ => Ok(()),
        }
    }
}

/// Calls no test makes. Written out, for `async_trait` does not look into macros.
macro_rules! unused {
    ($($name:ident: $req:ty => $rep:ty;)*) => {$(
        fn $name<'s, 'f>(
            &'s self,
            _: Request<$req>,
        ) -> Pin<Box<dyn Future<Output = Reply<$rep>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        }
    )*};
}

#[tonic::async_trait]
impl Meta for Fake {
    async fn lookup(&self, request: Request<LookupReq>) -> Reply<EntryRep> {
        let request = request.into_inner();
        let fate = self.arrived("lookup", request.caller);
        if let Some(fail) = self.befall(&fate).await? {
            return Ok(Response::new(EntryRep { fail: Some(fail), ..EntryRep::default() }));
        }
        let reply = self.with(|s| {
            let ino = s.names.get(&request.name.to_vec()).copied();
            EntryRep { mark: mark(s), attr: ino.map(|ino| attr(s, ino)), ..EntryRep::default() }
        });
        Self::lost(&fate)?;
        Ok(Response::new(reply))
    }

    async fn get_attr(&self, request: Request<GetAttrReq>) -> Reply<AttrRep> {
        let request = request.into_inner();
        let fate = self.arrived("get_attr", request.caller);
        if let Some(fail) = self.befall(&fate).await? {
            return Ok(Response::new(AttrRep { fail: Some(fail), ..AttrRep::default() }));
        }
        let reply = self.with(|s| AttrRep {
            mark: mark(s),
            attr: Some(attr(s, request.ino)),
            ..AttrRep::default()
        });
        Ok(Response::new(reply))
    }

    async fn mkdir(&self, request: Request<MkdirReq>) -> Reply<EntryRep> {
        let request = request.into_inner();
        let caller = request.caller.clone().unwrap_or_default();
        let fate = self.arrived("mkdir", request.caller);
        if let Some(fail) = self.befall(&fate).await? {
            return Ok(Response::new(EntryRep { fail: Some(fail), ..EntryRep::default() }));
        }
        let reply = self.with(|s| {
            let key = (caller.sid, caller.op_id);
            if let Some(answer) = s.answers.get(&key) {
                return answer.clone();
            }
            if s.names.contains_key(&request.name.to_vec()) {
                return EntryRep { fail: Some(refusal(Code::Exists)), ..EntryRep::default() };
            }
            s.done += 1;
            s.seq += 1;
            s.dir_ver += 1;
            let ino = if request.ino > 0 { request.ino } else { 1000 + s.done as u64 };
            s.names.insert(request.name.to_vec(), ino);
            let (one, dir) = (Some(attr(s, ino)), Some(attr(s, ROOT)));
            let answer = EntryRep { mark: mark(s), attr: one, dir, roomy: s.makes, fail: None };
            s.answers.insert(key, answer.clone());
            answer
        });
        Self::lost(&fate)?;
        Ok(Response::new(reply))
    }

    async fn unlink(&self, request: Request<UnlinkReq>) -> Reply<RemoveRep> {
        let request = request.into_inner();
        let fate = self.arrived("unlink", request.caller);
        if let Some(fail) = self.befall(&fate).await? {
            return Ok(Response::new(RemoveRep { fail: Some(fail), ..RemoveRep::default() }));
        }
        let reply = self.with(|s| {
            let Some(ino) = s.names.remove(&request.name.to_vec()) else {
                return RemoveRep { fail: Some(refusal(Code::NotFound)), ..RemoveRep::default() };
            };
            s.seq += 1;
            s.dir_ver += 1;
            let gone = Attr { nlink: 0, ..attr(s, ino) };
            RemoveRep { fail: None, mark: mark(s), attr: Some(gone), dir: Some(attr(s, ROOT)) }
        });
        Ok(Response::new(reply))
    }

    type ReadDirStream = Iter<std::vec::IntoIter<Result<ReadDirRep, Status>>>;

    async fn read_dir(&self, request: Request<ReadDirReq>) -> Reply<Self::ReadDirStream> {
        let request = request.into_inner();
        let fate = self.arrived("read_dir", request.caller);
        let mut pages = self.with(|s| {
            let names: Vec<_> = s.names.iter().zip(256..).collect();
            let behind = names.into_iter().filter(|(_, cookie)| *cookie > request.cookie);
            let entry = |((name, ino), cookie): ((&Vec<u8>, &u64), u64)| DirEntry {
                name: name.clone().into(),
                ino: *ino,
                kind: Kind::File.into(),
                cookie,
                attr: request.want_attrs.then(|| attr(s, *ino)),
            };
            let entries: Vec<DirEntry> = behind.map(entry).collect();
            let dir = attr(s, ROOT);
            // Other directories change all the time.
            let mut page = |entries: &[DirEntry]| {
                s.seq += 1;
                ReadDirRep {
                    mark: mark(s),
                    entries: entries.to_vec(),
                    dir: Some(dir.clone()),
                    ..ReadDirRep::default()
                }
            };
            let mut pages: Vec<_> = entries.chunks(2).map(&mut page).collect();
            pages.push(ReadDirRep { end: true, ..page(&[]) });
            if matches!(fate, Some(Fate::Move)) {
                // A name came and went between the pages.
                pages.last_mut().and_then(|page| page.dir.as_mut()).expect("a page").dir_ver += 2;
            }
            pages.into_iter().map(Ok).collect::<Vec<_>>()
        });
        if matches!(fate, Some(Fate::LoseAnswer)) {
            pages.truncate(1);
            pages.push(Err(Status::unavailable("cut in the middle")));
        }
        Ok(Response::new(tokio_stream::iter(pages)))
    }

    async fn stat_fs(&self, request: Request<StatFsReq>) -> Reply<StatFsRep> {
        self.arrived("stat_fs", request.into_inner().caller);
        Ok(Response::new(StatFsRep { inodes: 7, ..StatFsRep::default() }))
    }

    async fn flush(&self, request: Request<FlushReq>) -> Reply<FlushRep> {
        self.arrived("flush", request.into_inner().caller);
        Ok(Response::new(FlushRep::default()))
    }

    unused! {
        lookup_path: LookupPathReq => EntryRep;
        set_attr: SetAttrReq => AttrRep;
        create: CreateReq => CreateRep;
        mknod: MknodReq => EntryRep;
        symlink: SymlinkReq => EntryRep;
        link: LinkReq => EntryRep;
        rmdir: RmdirReq => RemoveRep;
        rename: RenameReq => RenameRep;
        get_xattrs: GetXattrsReq => XattrsRep;
        set_xattr: SetXattrReq => AttrRep;
        remove_xattr: RemoveXattrReq => AttrRep;
        access: AccessReq => AccessRep;
    }
}

/// The lock service. A type of its own, for the service has a method named `clone`.
pub struct Locks(pub Fake);

#[tonic::async_trait]
impl Coherence for Locks {
    async fn lock(&self, request: Request<LockReq>) -> Reply<LockRep> {
        let request = request.into_inner();
        let fate = self.0.arrived("lock", request.caller.clone());
        self.0.with(|s| s.lock_calls.push(request.clone()));
        if let Some(fail) = self.0.befall(&fate).await? {
            return Ok(Response::new(LockRep { fail: Some(fail), ..LockRep::default() }));
        }
        let reply = self.0.with(|s| LockRep {
            mark: mark(s),
            attr: Some(attr(s, request.ino)),
            ..LockRep::default()
        });
        Ok(Response::new(reply))
    }

    async fn reserve(&self, request: Request<ReserveReq>) -> Reply<ReserveRep> {
        let request = request.into_inner();
        self.0.arrived("reserve", request.caller);
        let numbers =
            ReserveRep { count: 4, first_ino: 5000, first_grant: 9000, ..Default::default() };
        Ok(Response::new(numbers))
    }

    async fn unlock(&self, request: Request<UnlockReq>) -> Reply<UnlockRep> {
        self.0.arrived("unlock", request.into_inner().caller);
        Ok(Response::new(UnlockRep::default()))
    }

    unused! {
        get_content: GetContentReq => ContentRep;
        get_contents: GetContentsReq => ContentsRep;
        acquire: AcquireReq => AcquireRep;
        release: ReleaseReq => ReleaseRep;
        rescue: RescueReq => AcquireRep;
        new_upload: NewUploadReq => NewUploadRep;
        commit: CommitReq => CommitRep;
        clone: CloneReq => CommitRep;
        test_lock: TestLockReq => TestLockRep;
    }
}
