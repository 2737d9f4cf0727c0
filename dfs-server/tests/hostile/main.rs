//! Requests that no client of ours sends: each is refused with the right code, changes nothing it
//! must not, and the server goes on.

mod content;
#[path = "../harness/mod.rs"]
mod harness;

use bytes::Bytes;
use dfs_core::Code::{self, *};
use dfs_proto::v1::*;
use harness::calls::{Call, code};
use harness::{Client, Running, run};
use tokio_stream::StreamExt;

const MAX: u64 = u64::MAX;
/// Numbers no inode has.
const NO_INODES: [u64; 5] = [0, 999_999, i64::MAX as u64, 1 << 63, MAX];

/// A server, a client with a file under a write grant, and a directory.
struct Scene {
    _dir: tempfile::TempDir,
    server: Running,
    client: Client,
    attr: Attr,
    grant: Grant,
}

impl Scene {
    async fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut client = Client::connect(&server, 1).await;
        let made = client.create("f").await;
        let (attr, grant) = (made.attr.unwrap(), made.grant.unwrap());
        let mkdir = MkdirReq { dir: 1, name: "d".into(), mode: 0o755, ..Default::default() };
        assert_eq!(client.ask_code(mkdir).await, None);
        Scene { _dir: dir, server, client, attr, grant }
    }

    /// Every call is answered as it should be, and the next honest one as well.
    async fn refused(&mut self, cases: Vec<(Call, Option<Code>)>) {
        for (call, expected) in cases {
            let caller = self.client.next_caller();
            let found = self.client.send(call.clone().by(caller)).await;
            assert_eq!(found.expect("an answer"), expected, "{call:?}");
        }
        self.goes_on().await;
    }

    async fn goes_on(&mut self) {
        let found = self.client.lookup("f").await;
        assert_eq!((found.fail, found.attr.map(|attr| attr.ino)), (None, Some(self.attr.ino)));
    }

    fn commit(&self, change: impl FnOnce(&mut CommitReq)) -> Call {
        let mut commit = CommitReq {
            ino: self.attr.ino,
            grant: self.grant.id,
            fence: self.grant.fence,
            size: 10,
            ..CommitReq::default()
        };
        change(&mut commit);
        commit.into()
    }
}

#[test]
fn hostile_names_are_refused_in_every_call_that_takes_one() {
    run(async {
        let mut scene = Scene::new().await;
        let long = [b'x'; 256];
        let bad: [(&[u8], Code); 6] = [
            (b"", Invalid),
            (b".", Invalid),
            (b"..", Invalid),
            (b"a/b", Invalid),
            (b"a\0b", Invalid),
            (&long, NameTooLong),
        ];
        let mut cases: Vec<(Call, Option<Code>)> = Vec::new();
        for (bad, code) in bad {
            let (name, good, ino) = (Bytes::copy_from_slice(bad), Bytes::from("f"), scene.attr.ino);
            let dir = 1;
            let kind = Kind::Fifo.into();
            let rename = |from_name, to_name| RenameReq {
                from_dir: 1,
                from_name,
                to_dir: 1,
                to_name,
                ..Default::default()
            };
            let calls: [Call; 12] = [
                LookupReq { caller: None, dir, name: name.clone() }.into(),
                LookupPathReq { caller: None, dir, components: vec!["d".into(), name.clone()] }
                    .into(),
                CreateReq { dir, name: name.clone(), ..Default::default() }.into(),
                MkdirReq { dir, name: name.clone(), ..Default::default() }.into(),
                MknodReq { dir, name: name.clone(), kind, ..Default::default() }.into(),
                SymlinkReq { caller: None, dir, name: name.clone(), target: "t".into() }.into(),
                LinkReq { ino, dir, name: name.clone(), ..Default::default() }.into(),
                UnlinkReq { dir, name: name.clone(), ..Default::default() }.into(),
                RmdirReq { dir, name: name.clone(), ..Default::default() }.into(),
                rename(name.clone(), good.clone()).into(),
                rename(good, name.clone()).into(),
                LookupPathReq { caller: None, dir, components: vec![name; 1] }.into(),
            ];
            cases.extend(calls.map(|call| (call, Some(code))));
        }
        let components = vec![Bytes::from("d"); 5000];
        cases.push((
            LookupPathReq { dir: 1, components, ..Default::default() }.into(),
            Some(NameTooLong),
        ));
        for (target, code) in [(0, NotFound), (4096, NameTooLong)] {
            let target = vec![b'x'; target].into();
            let symlink = SymlinkReq { dir: 1, name: "s".into(), target, ..Default::default() };
            cases.push((symlink.into(), Some(code)));
        }
        let at = Some(Timestamp { seconds: 1, nanos: 1_000_000_000 });
        let unlink = UnlinkReq { dir: 1, name: "f".into(), at, ..Default::default() };
        let rmdir = RmdirReq { dir: 1, name: "f".into(), at, ..Default::default() };
        cases.extend([(unlink.into(), Some(Invalid)), (rmdir.into(), Some(Invalid))]);
        for kind in [0, 99, i32::MAX, i32::MIN, Kind::Symlink.into()] {
            let mknod = MknodReq { dir: 1, name: "n".into(), kind, ..Default::default() };
            cases.push((mknod.into(), Some(Invalid)));
        }
        scene.refused(cases).await;
    });
}

#[test]
fn hostile_inode_numbers_name_nothing() {
    run(async {
        let mut scene = Scene::new().await;
        let mut cases: Vec<(Call, Option<Code>)> = Vec::new();
        for ino in NO_INODES {
            let (dir, name) = (ino, Bytes::from("x"));
            let set = Some(SetAttr { mode: Some(0), ..SetAttr::default() });
            let size = Some(SetAttr { size: Some(1), ..SetAttr::default() });
            let xattr = Some(Xattr { name: "user.x".into(), value: "v".into() });
            let stale: Vec<Call> = vec![
                LookupReq { dir, name: name.clone(), ..Default::default() }.into(),
                LookupPathReq { dir, components: vec![name.clone()], ..Default::default() }.into(),
                GetAttrReq { caller: None, ino }.into(),
                SetAttrReq { ino, set, ..Default::default() }.into(),
                SetAttrReq { ino, set: size, ..Default::default() }.into(),
                CreateReq { dir, name: name.clone(), lease: true, ..Default::default() }.into(),
                MkdirReq { dir, name: name.clone(), ..Default::default() }.into(),
                LinkReq { ino, dir: 1, name: name.clone(), ..Default::default() }.into(),
                UnlinkReq { dir, name: name.clone(), open: vec![ino, MAX], ..Default::default() }
                    .into(),
                RmdirReq { dir, name: name.clone(), ..Default::default() }.into(),
                GetXattrsReq { caller: None, ino }.into(),
                SetXattrReq { ino, xattr, ..Default::default() }.into(),
                RemoveXattrReq { ino, name: "user.x".into(), ..Default::default() }.into(),
                AccessReq { ino, mask: u32::MAX, ..Default::default() }.into(),
                GetContentReq { ino, ..Default::default() }.into(),
                AcquireReq { ino, write: true, ..Default::default() }.into(),
                RescueReq { ino, ..Default::default() }.into(),
                LockReq { ino, end: 5, ..Default::default() }.into(),
            ];
            cases.extend(stale.into_iter().map(|call| (call, Some(Stale))));
            let fenced: [Call; 3] = [
                ReleaseReq { ino, grant: MAX, fence: MAX, ..Default::default() }.into(),
                NewUploadReq { ino, grant: ino, fence: ino, ..Default::default() }.into(),
                CloneReq { src: scene.attr.ino, dst: ino, len: 1, ..Default::default() }.into(),
            ];
            let last = [Stale, Fenced];
            for call in fenced {
                let code = if matches!(call, Call::CloneReq(_)) { last[0] } else { last[1] };
                cases.push((call, Some(code)));
            }
            cases.push((TestLockReq { ino, end: 5, ..Default::default() }.into(), None));
            cases.push((UnlockReq { ino, end: 5, ..Default::default() }.into(), None));
        }
        scene.refused(cases).await;
    });
}

#[test]
fn hostile_identities_are_no_session() {
    run(async {
        let mut scene = Scene::new().await;
        let (sid, epoch) = (scene.client.rep.sid, scene.client.rep.epoch);
        let ino = scene.attr.ino;
        for (sid, epoch) in [(0, 0), (MAX, MAX), (sid, 0), (sid, epoch + 1), (sid + 1, epoch)] {
            let caller = Caller { sid, epoch, op_id: 99, ..Caller::default() };
            let calls: [Call; 12] = [
                GetAttrReq { caller: None, ino }.into(),
                StatFsReq::default().into(),
                MkdirReq { dir: 1, name: "x".into(), ..Default::default() }.into(),
                GetContentReq { ino, ..Default::default() }.into(),
                AcquireReq { ino, ..Default::default() }.into(),
                ReleaseReq { ino, ..Default::default() }.into(),
                NewUploadReq { ino, ..Default::default() }.into(),
                LockReq { ino, ..Default::default() }.into(),
                scene.commit(|_| {}),
                ReclaimReq::default().into(),
                ReclaimDoneReq::default().into(),
                CloseReq::default().into(),
            ];
            for call in calls {
                let found = scene.client.send(call.clone().by(caller.clone())).await.unwrap();
                assert_eq!(found, Some(SessionExpired), "{call:?}");
            }
        }
        // A change must say which it is, and nothing is restated outside of grace.
        let mkdir = MkdirReq { dir: 1, name: "x".into(), ..Default::default() };
        let zero = Call::from(mkdir).by(scene.client.caller(0));
        assert_eq!(scene.client.send(zero).await.unwrap(), Some(Invalid));
        scene.refused(vec![(ReclaimReq::default().into(), Some(SessionExpired))]).await;
        for (uuid, verifier) in [(0, 16), (15, 16), (16, 17), (16, 0)] {
            let (uuid, verifier) = (vec![1; uuid].into(), vec![1; verifier].into());
            let description = "x".repeat(1 << 20);
            let hello =
                EstablishReq { uuid, verifier, max_protocol: 1, description, ..Default::default() };
            let refused = scene.client.session.establish(hello).await.unwrap().into_inner();
            assert_eq!(code(&refused), Some(Invalid));
        }
        scene.goes_on().await;
    });
}

#[test]
fn hostile_sizes_times_and_attributes_are_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let ino = scene.attr.ino;
        let set = |set| SetAttrReq { ino, set: Some(set), ..Default::default() };
        let size = |size| set(SetAttr { size: Some(size), ..SetAttr::default() });
        let nanos =
            SetTime { now: false, to: Some(Timestamp { seconds: i64::MIN, nanos: u32::MAX }) };
        let xattr = |name: &[u8], len: usize, mode| SetXattrReq {
            ino,
            xattr: Some(Xattr { name: name.to_vec().into(), value: vec![0; len].into() }),
            mode,
            ..Default::default()
        };
        let lock = |start, end| LockReq { ino, start, end, ..Default::default() };
        let long = [&b"user."[..], &[b'x'; 256]].concat();
        let mut cases: Vec<(Call, Option<Code>)> = vec![
            (size(MAX).into(), Some(FileTooBig)),
            (size(1 << 63).into(), Some(FileTooBig)),
            (size(i64::MAX as u64).into(), None),
            (size(0).into(), None),
            (set(SetAttr { mtime: Some(nanos), ..SetAttr::default() }).into(), Some(Invalid)),
            (xattr(b"", 1, 0).into(), Some(OutOfRange)),
            (xattr(&long, 1, 0).into(), Some(OutOfRange)),
            (xattr(b"user.", 1, 0).into(), Some(Invalid)),
            (xattr(b"user.a\0b", 1, 0).into(), Some(Invalid)),
            (xattr(b"other.a", 1, 0).into(), Some(NotSupported)),
            (xattr(b"user.a", 65_537, 0).into(), Some(ArgumentsTooLong)),
            (xattr(b"user.a", 1, 99).into(), Some(Invalid)),
            (SetXattrReq { ino, ..Default::default() }.into(), Some(OutOfRange)),
            (lock(5, 4).into(), Some(Invalid)),
            (lock(MAX, MAX).into(), Some(Invalid)),
            (lock(MAX, 0).into(), Some(Invalid)),
            (lock(0, MAX).into(), None),
            (UnlockReq { ino, start: MAX, end: MAX, ..Default::default() }.into(), Some(Invalid)),
            (TestLockReq { ino, start: MAX, end: MAX, ..Default::default() }.into(), Some(Invalid)),
            (UnlockReq { ino, start: 0, end: MAX, ..Default::default() }.into(), None),
            (AccessReq { ino, mask: u32::MAX, ..Default::default() }.into(), Some(AccessDenied)),
        ];
        for (off, len) in [(MAX, MAX), (MAX, 0), (0, 0), (1 << 63, 1 << 63)] {
            let range = Some(Range { off, len });
            let data_max_bytes = u32::MAX;
            let read = GetContentReq { ino, range, data_max_bytes, ..Default::default() };
            cases.push((read.into(), None));
        }
        scene.refused(cases).await;
        for cookie in [1, 12_345, i64::MAX as u64, 1 << 63, MAX] {
            let caller = Some(scene.client.next_caller());
            let list = ReadDirReq { caller, dir: 1, cookie, want_attrs: true };
            let mut pages = scene.client.meta.read_dir(list).await.unwrap().into_inner();
            let page = pages.next().await.unwrap().unwrap();
            assert!(page.fail.is_none() && page.end && page.entries.len() <= 2, "{page:?}");
        }
    });
}

#[test]
fn hostile_words_on_the_control_stream_do_no_harm() {
    run(async {
        let mut scene = Scene::new().await;
        let mut other = Client::connect(&scene.server, 2).await;
        let numbers = vec![0, 1, 1 << 63, MAX];
        let versions = vec![Version { ino: MAX, ver: MAX }, Version { ino: 1, ver: 0 }];
        let control = other.attach().await;
        for word in [
            from_client::Kind::Ack(Ack {
                number: MAX,
                open: numbers.clone(),
                keep: versions.clone(),
            }),
            from_client::Kind::Progress(Progress { grant: scene.grant.id, bytes: MAX }),
            from_client::Kind::Forget(Forget { attrs: numbers.clone(), dirs: numbers.clone() }),
            from_client::Kind::OpenHold(OpenHold { inos: numbers.clone() }),
            from_client::Kind::Unpin(Unpin { versions }),
            from_client::Kind::OrphanDone(OrphanDone { inos: numbers }),
            from_client::Kind::Renew(Renew { send_time_ms: MAX }),
        ] {
            control.say(word).await;
        }
        let mut control = control;
        assert!(
            matches!(control.next().await, from_server::Kind::RenewAck(ack) if ack.echo_ms == MAX)
        );
        control.say(from_client::Kind::Attach(Attach::default())).await;
        assert!(control.ended().await, "a stream attaches once");
        other.rep.epoch += 1;
        let (_, refused) = other.try_attach().await;
        assert_eq!(code(&refused), Some(SessionExpired));
        scene.goes_on().await;
    });
}

#[test]
fn hostile_claims_in_grace_get_nothing_that_others_hold_or_nobody_had() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect(&server, 1).await;
        let b = Client::connect(&server, 2).await;
        let made = a.create("f").await;
        let (ino, grant) = (made.attr.unwrap().ino, made.grant.unwrap());
        let (honest, liar) = (a.identity, b.identity);
        drop((a, b));
        server.kill().await;
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) =
            (Client::connect_as(&server, honest).await, Client::connect_as(&server, liar).await);
        let own = ReclaimGrant {
            ino,
            grant: grant.id,
            fence: grant.fence,
            write: true,
            ..Default::default()
        };
        let claim = ReclaimReq { grants: vec![own], ..Default::default() };
        let claim = a.ask(claim);
        let rep = a.session.reclaim(claim).await.unwrap().into_inner();
        assert_eq!((rep.fail, rep.lost), (None, vec![]));
        // Another one's, of the future, of two numbers, of no byte.
        let future = |id| ReclaimGrant { grant: id, fence: id, ino: 1, ..own };
        let empty = Some(Range { off: MAX, len: 0 });
        let wrong = vec![
            own,
            future(MAX),
            future(3 << 48),
            ReclaimGrant { grant: 7, ..own },
            ReclaimGrant { range: empty, ..future(5) },
        ];
        let lock = |start, end| ReclaimLock { ino: MAX, start, end, ..Default::default() };
        let name = Some(Version { ino: MAX, ver: MAX });
        let grants = wrong.len();
        let claim = b.ask(ReclaimReq {
            grants: wrong,
            locks: vec![lock(MAX, MAX), lock(5, 4)],
            open: vec![MAX, 0, 1 << 63],
            pins: vec![ReclaimPin { version: name, objects: vec![ObjectName::default(); 3] }],
            uploads: [0, 1 << 40, MAX].map(|ver| ReclaimUpload { ino, ver }).to_vec(),
            ..Default::default()
        });
        let rep = b.session.reclaim(claim).await.unwrap().into_inner();
        assert_eq!((rep.fail, rep.lost.len()), (None, grants + 2));
        for client in [&mut a, &mut b] {
            let done = client.ask(ReclaimDoneReq::default());
            assert_eq!(code(&client.session.reclaim_done(done).await.unwrap().into_inner()), None);
        }
        // The rightful holder still is.
        let attr = a.lookup("f").await.attr.unwrap();
        let commit = a.inline(&attr, &grant, b"mine");
        assert_eq!(code(&a.coherence.commit(commit).await.unwrap().into_inner()), None);
        assert_eq!(b.lookup("f").await.attr.unwrap().size, 4);
    });
}
