//! A server that keeps file content in memory, for one client.

use crate::content::manifest::Manifest;
use dfs_core::attr::{Attr, Kind};
use dfs_core::extent::Source;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::call::Reply;
use dfs_proto::v1::calls_server::Calls;
use dfs_proto::v1::coherence_server::Coherence;
use dfs_proto::v1::file_store_server::FileStore;
use dfs_proto::v1::session_server::Session;
use dfs_proto::v1::*;
use dfs_proto::{convert, status, v1};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// A file at the server.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) manifest: Manifest,
    pub(super) attr_ver: u64,
    pub(super) mtime: v1::Timestamp,
    pub(super) mode: u32,
    /// Grant and fence are one number.
    pub(super) held: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) files: BTreeMap<u64, Stored>,
    pub(super) objects: HashMap<(u64, u64, u32), Vec<u8>>,
    next: u64,
    /// Refuse commits with this.
    pub(super) refuse: Option<Code>,
    /// The lease is somebody else's.
    pub(super) taken: bool,
    /// Names that commits made.
    pub(super) names: Vec<Vec<u8>>,
    /// How many these were at each question about content.
    pub(super) told_before: Vec<usize>,
    /// What every commit said.
    pub(super) commits: Vec<CommitReq>,
    pub(super) releases: usize,
    /// Releases are not answered yet.
    pub(super) slow_releases: bool,
    /// Commits are carried out, and not answered yet.
    pub(super) slow_commits: bool,
    /// The stripe unit it tells, in bytes; 0: it tells none.
    pub(super) unit: u64,
    /// It says that it runs `--durability relaxed`.
    pub(super) relaxed: bool,
    /// It says that it has much room.
    pub(super) roomy: bool,
    /// There is no room for objects.
    pub(super) full: bool,
    /// Objects refused.
    pub(super) refused: u64,
    /// Files whose contents fit into an answer.
    pub(super) fit: usize,
    /// Files whose contents were asked for with one call.
    pub(super) asked_together: Vec<Vec<u64>>,
}

/// Shared by the services and the test.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<Store>>);

impl Store {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Puts a version there as another client would.
    pub(super) fn put(&mut self, ino: u64, bytes: &[u8]) {
        let (ver, size) = (self.number(), bytes.len() as u64);
        let name = dfs_core::extent::ObjectName { ino: Ino(ino), born: ver, n: 0 };
        let mut manifest = Manifest::all_holes(ver, size);
        if size > 0 {
            self.objects.insert((ino, ver, 0), bytes.to_vec());
            let range = Range::new(0, size);
            let extent = dfs_core::extent::Extent { range, source: Source::Object(name, 0) };
            manifest.learn(range, vec![extent]);
        }
        let held = self.files.get(&ino).and_then(|file| file.held);
        let stored =
            Stored { manifest, attr_ver: ver, mtime: Default::default(), mode: 0o644, held };
        self.files.insert(ino, stored);
    }

    /// The committed bytes.
    pub(super) fn bytes(&self, ino: u64) -> Vec<u8> {
        let manifest = &self.files[&ino].manifest;
        let mut bytes = Vec::new();
        for extent in manifest.sources(Range::new(0, manifest.size())) {
            let len = extent.range.len() as usize;
            match extent.source {
                Source::Hole => bytes.resize(bytes.len() + len, 0),
                Source::Inline(part) => bytes.extend(part),
                Source::Object(name, off) => {
                    let object = &self.objects[&(name.ino.0, name.born, name.n)];
                    bytes.extend(&object[off as usize..off as usize + len]);
                }
            }
        }
        bytes
    }

    pub(super) fn attr(&self, ino: u64) -> Attr {
        let file = &self.files[&ino];
        let mtime = convert::time_from(Some(file.mtime)).unwrap();
        Attr {
            ino: Ino(ino),
            kind: Kind::File,
            mode: file.mode,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
            size: file.manifest.size(),
            blocks: 0,
            atime: mtime,
            mtime,
            ctime: mtime,
            btime: mtime,
            attr_ver: file.attr_ver,
            content_ver: file.manifest.ver(),
            has_xattrs: false,
            link_target: Vec::new(),
            dir_ver: 0,
            parent: Ino(0),
        }
    }

    pub(super) fn mark(&mut self) -> Mark {
        Mark { as_of: self.number(), promised_attr: true, ..Mark::default() }
    }

    fn content(&mut self, ino: u64, have: u64, max: u32, from: u64) -> Result<ContentRep> {
        if !self.files.contains_key(&ino) {
            return Err(FsError::from(Code::NotFound));
        }
        let mut reply = ContentRep {
            mark: Some(self.mark()),
            attr: Some(convert::attr_to(&self.attr(ino))),
            ..Default::default()
        };
        let manifest = &self.files[&ino].manifest;
        if manifest.ver() != have {
            let sources = manifest.sources(Range::new(from.min(manifest.size()), manifest.size()));
            let stored = sources.iter().filter(|extent| extent.source != Source::Hole);
            reply.manifest = Some(v1::Manifest {
                ver: manifest.ver(),
                size: manifest.size(),
                unit: 4 << 20,
                extents: stored.map(convert::extent_to).collect(),
                more: false,
            });
            let objects = sources.iter().any(|e| matches!(e.source, Source::Object(..)));
            if objects && manifest.size() <= u64::from(max) {
                reply.data = Some(self.bytes(ino).into());
            }
        }
        Ok(reply)
    }

    pub(super) fn grant(&mut self, ino: u64) -> Grant {
        let n = self.number();
        self.files.get_mut(&ino).unwrap().held = Some(n);
        Grant { id: n, fence: n, min_hold_ms: 5000, range: None, write: true }
    }

    fn acquire(&mut self, r: &AcquireReq) -> Result<AcquireRep> {
        if self.taken {
            return Err(FsError::from(if r.nonblock { Code::WouldBlock } else { Code::Busy }));
        }
        let content = self.content(r.ino, r.have_ver, r.data_max_bytes, 0)?;
        let grant = self.grant(r.ino);
        Ok(AcquireRep { grant: Some(grant), content: Some(content), ..Default::default() })
    }

    fn rescue(&mut self, r: &RescueReq) -> Result<AcquireRep> {
        let content = self.content(r.ino, 0, 0, 0)?;
        if self.taken || self.files[&r.ino].manifest.ver() != r.base_ver {
            return Err(FsError::from(Code::Fenced));
        }
        let grant = self.grant(r.ino);
        Ok(AcquireRep { grant: Some(grant), content: Some(content), ..Default::default() })
    }

    fn check(&self, ino: u64, fence: u64) -> Result<()> {
        let held = self.files.get(&ino).and_then(|file| file.held);
        if held == Some(fence) { Ok(()) } else { Err(FsError::from(Code::Fenced)) }
    }

    fn commit(&mut self, r: &CommitReq) -> Result<CommitRep> {
        self.commits.push(r.clone());
        if let Some(code) = self.refuse {
            return Err(FsError::from(code));
        }
        if let Some(new) = &r.create {
            self.put(r.ino, b"");
            self.files.get_mut(&r.ino).unwrap().manifest = Manifest::all_holes(0, 0);
            self.files.get_mut(&r.ino).unwrap().held = Some(r.fence);
            self.names.push(new.name.to_vec());
        }
        self.check(r.ino, r.fence)?;
        let ver = self.number();
        let extents = convert::extents_from(r.extents.clone())?;
        for extent in &extents {
            if let Source::Object(name, off) = extent.source {
                let object = &self.objects[&(name.ino.0, name.born, name.n)];
                assert!(off + extent.range.len() <= object.len() as u64);
            }
        }
        let file = self.files.get_mut(&r.ino).unwrap();
        if file.manifest.ver() != r.base_ver {
            return Err(FsError::from(Code::StaleVersion));
        }
        if !r.attrs_only {
            assert!(r.min_size <= file.manifest.size());
            file.manifest.commit(ver, r.min_size, r.size, &extents);
        }
        file.attr_ver += 1;
        let set = convert::set_attr_from(r.set)?;
        file.mode = set.mode.unwrap_or(file.mode);
        if let Some(dfs_core::attr::SetTime::To(t)) = set.mtime {
            file.mtime = convert::time_to(t);
        }
        if r.release {
            file.held = None;
        }
        let mut rep = self.commit_rep(r.ino)?;
        if let Some(new) = &r.create {
            let mut dir = dfs_core::birth::blank(Ino(new.dir), Kind::Directory, Default::default());
            let names = self.names.len() as u64;
            (dir.dir_ver, dir.attr_ver, dir.size) = (names, names + 1, names);
            rep.dir = Some(convert::attr_to(&dir));
            rep.mark = rep.mark.map(|mark| Mark { promised_dir: true, ..mark });
        }
        Ok(rep)
    }

    fn clone_range(&mut self, r: &CloneReq) -> Result<CommitRep> {
        self.check(r.dst, r.fence)?;
        let part = self.bytes(r.src)[r.src_off as usize..(r.src_off + r.len) as usize].to_vec();
        let ver = self.number();
        let dst = &mut self.files.get_mut(&r.dst).unwrap().manifest;
        let range = Range::of_len(r.dst_off, r.len);
        let extent = dfs_core::extent::Extent { range, source: Source::Inline(part.into()) };
        let size = dst.size();
        dst.commit(ver, size, size.max(range.end), &[extent]);
        self.commit_rep(r.dst)
    }

    fn commit_rep(&mut self, ino: u64) -> Result<CommitRep> {
        let mark = Some(self.mark());
        let attr = Some(convert::attr_to(&self.attr(ino)));
        Ok(CommitRep { mark, attr, roomy: self.roomy, ..Default::default() })
    }
}

impl Fake {
    pub(super) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    fn answer<R: Reply>(&self, f: impl FnOnce(&mut Store) -> Result<R>) -> Answer<R> {
        let result = f(&mut self.lock());
        Ok(Response::new(result.unwrap_or_else(|e| R::refuse(&e))))
    }
}

type Answer<R> = std::result::Result<Response<R>, Status>;

#[tonic::async_trait]
impl Coherence for Fake {
    async fn get_content(&self, r: Request<GetContentReq>) -> Answer<ContentRep> {
        let r = r.into_inner();
        let from = r.range.map_or(0, |range| range.off);
        self.answer(|s| {
            s.told_before.push(s.names.len());
            s.content(r.ino, r.have_ver, r.data_max_bytes, from)
        })
    }
    async fn get_contents(&self, r: Request<GetContentsReq>) -> Answer<ContentsRep> {
        let inos = r.into_inner().inos;
        self.answer(|s| {
            let fit = &inos[..inos.len().min(s.fit)];
            let mut whole = |ino: &u64| {
                let content = s.content(*ino, 0, u32::MAX, 0);
                content.unwrap_or_else(|e| ContentRep::refuse(&e))
            };
            let contents = fit.iter().map(&mut whole).collect();
            s.asked_together.push(inos);
            Ok(ContentsRep { fail: None, contents })
        })
    }
    async fn acquire(&self, r: Request<AcquireReq>) -> Answer<AcquireRep> {
        self.answer(|s| s.acquire(r.get_ref()))
    }
    async fn release(&self, r: Request<ReleaseReq>) -> Answer<ReleaseRep> {
        while self.lock().slow_releases {
            tokio::task::yield_now().await;
        }
        self.answer(|s| {
            s.check(r.get_ref().ino, r.get_ref().fence)?;
            s.files.get_mut(&r.get_ref().ino).unwrap().held = None;
            s.releases += 1;
            Ok(ReleaseRep::default())
        })
    }
    async fn rescue(&self, r: Request<RescueReq>) -> Answer<AcquireRep> {
        self.answer(|s| s.rescue(r.get_ref()))
    }
    async fn new_upload(&self, r: Request<NewUploadReq>) -> Answer<NewUploadRep> {
        self.answer(|s| {
            s.check(r.get_ref().ino, r.get_ref().fence)?;
            Ok(NewUploadRep { ver: s.number(), fail: None })
        })
    }
    async fn reserve(&self, r: Request<ReserveReq>) -> Answer<ReserveRep> {
        let count = r.get_ref().count;
        self.answer(|s| {
            let first = s.next + 1;
            s.next += u64::from(count);
            Ok(ReserveRep { fail: None, count, first_ino: 1000 + first, first_grant: first })
        })
    }
    async fn commit(&self, r: Request<CommitReq>) -> Answer<CommitRep> {
        let answer = self.answer(|s| s.commit(r.get_ref()));
        while self.lock().slow_commits {
            tokio::task::yield_now().await;
        }
        answer
    }
    async fn clone(&self, r: Request<CloneReq>) -> Answer<CommitRep> {
        self.answer(|s| s.clone_range(r.get_ref()))
    }
    async fn lock(&self, _: Request<LockReq>) -> Answer<LockRep> {
        Err(Status::unimplemented("locks"))
    }
    async fn unlock(&self, _: Request<UnlockReq>) -> Answer<UnlockRep> {
        Err(Status::unimplemented("locks"))
    }
    async fn test_lock(&self, _: Request<TestLockReq>) -> Answer<TestLockRep> {
        Err(Status::unimplemented("locks"))
    }
}

/// The stream of calls, with those that tests send over it.
#[tonic::async_trait]
impl Calls for Fake {
    type RunStream = ReceiverStream<std::result::Result<OneAnswer, Status>>;

    async fn run(&self, calls: Request<Streaming<OneCall>>) -> Answer<Self::RunStream> {
        let (mut calls, fake) = (calls.into_inner(), Clone::clone(self));
        let (answers, queue) = tokio::sync::mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(OneCall { id, request, .. })) = calls.message().await {
                let (fake, answers) = (Clone::clone(&fake), answers.clone());
                tokio::spawn(async move {
                    let reply = match request {
                        Some(one_call::Request::Commit(r)) => {
                            let reply = Coherence::commit(&fake, Request::new(r)).await.unwrap();
                            one_answer::Reply::Commit(reply.into_inner())
                        }
                        _ => one_answer::Reply::Unread(status::to_unread(&status::unknown_call())),
                    };
                    // The client may be gone.
                    let _ = answers.send(Ok(OneAnswer { id, reply: Some(reply) })).await;
                });
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

type Pieces<R> = std::pin::Pin<Box<dyn Stream<Item = std::result::Result<R, Status>> + Send>>;

#[tonic::async_trait]
impl FileStore for Fake {
    type ReadStream = Pieces<ReadObjectRep>;

    async fn create(&self, r: Request<Streaming<CreateObjectReq>>) -> Answer<CreateObjectRep> {
        let mut stream = r.into_inner();
        let (mut name, mut bytes) = (None, Vec::new());
        while let Some(piece) = stream.message().await? {
            name = name.or(piece.header.and_then(|header| header.name));
            assert_eq!(crc32c::crc32c(&piece.data), piece.crc);
            bytes.extend(piece.data);
        }
        let name = name.unwrap();
        self.answer(|s| {
            if s.full {
                s.refused += 1;
                return Err(FsError::from(Code::NoSpace));
            }
            let old = s.objects.insert((name.ino, name.born, name.n), bytes);
            assert!(old.is_none(), "a name was used twice");
            Ok(CreateObjectRep::default())
        })
    }

    async fn read(&self, r: Request<ReadObjectReq>) -> Answer<Self::ReadStream> {
        let r = r.into_inner();
        let name = r.name.unwrap();
        let reply = match self.lock().objects.get(&(name.ino, name.born, name.n)) {
            None => ReadObjectRep::refuse(&FsError::from(Code::NotFound)),
            Some(object) => {
                let data = object[r.off as usize..(r.off + r.len) as usize].to_vec();
                ReadObjectRep { crc: crc32c::crc32c(&data), data: data.into(), fail: None }
            }
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(reply)))))
    }
}

#[tonic::async_trait]
impl Session for Fake {
    type ControlStream = Pieces<FromServer>;

    async fn establish(&self, _: Request<EstablishReq>) -> Answer<EstablishRep> {
        Ok(Response::new(EstablishRep {
            sid: 1,
            epoch: 1,
            term_ms: 15_000,
            leader_epoch: 1,
            root: 1,
            protocol: 1,
            next_op_id: 1,
            limits: Some(Limits {
                stripe_unit_bytes: self.lock().unit,
                inline_max_bytes: 16 * 1024,
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn control(&self, r: Request<Streaming<FromClient>>) -> Answer<Self::ControlStream> {
        let (to, from) = tokio::sync::mpsc::channel(16);
        let (mut stream, relaxed) = (r.into_inner(), self.lock().relaxed);
        tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                let kind = match message.kind {
                    Some(from_client::Kind::Attach(_)) => from_server::Kind::Attached(Attached {
                        leader_epoch: 1,
                        relaxed,
                        ..Default::default()
                    }),
                    Some(from_client::Kind::Renew(renew)) => {
                        from_server::Kind::RenewAck(RenewAck {
                            echo_ms: renew.send_time_ms,
                            term_ms: 15_000,
                            ..Default::default()
                        })
                    }
                    _ => continue,
                };
                if to.send(Ok(FromServer { kind: Some(kind), push: 0 })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from).map(|m| m))))
    }

    async fn reclaim(&self, _: Request<ReclaimReq>) -> Answer<ReclaimRep> {
        Ok(Response::new(ReclaimRep::default()))
    }
    async fn reclaim_done(&self, _: Request<ReclaimDoneReq>) -> Answer<ReclaimDoneRep> {
        Ok(Response::new(ReclaimDoneRep::default()))
    }
    async fn close(&self, _: Request<CloseReq>) -> Answer<CloseRep> {
        Ok(Response::new(CloseRep::default()))
    }
}
