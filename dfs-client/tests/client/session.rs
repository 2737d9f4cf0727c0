//! The session of a client against a server that fails in every way: lease, pushes, expiry, restart.

use crate::fake::{Fake, Fate, ROOT, config, run, tree};
use dfs_client::config::Patience;
use dfs_client::kernel::NoKernel;
use dfs_client::vfs::{Found, RecordLock, Vfs};
use dfs_core::access::Credentials;
use dfs_core::lock::Kind;
use dfs_core::{Code, Ino, negotiate};
use dfs_proto::v1::inval_item::What;
use dfs_proto::v1::{self, DirNames, FromServer, Trim, from_server};

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

const DIR: Ino = Ino(ROOT);

fn names(names: &[&str]) -> What {
    let names = names.iter().map(|n| n.as_bytes().to_vec().into()).collect();
    What::DirNames(DirNames { ino: ROOT, names })
}

fn root() -> Credentials {
    Credentials::root()
}

fn ino(found: &Found) -> Option<Ino> {
    match found {
        Found::Entry(entry) => Some(entry.attr.ino),
        Found::Absent { .. } => None,
    }
}

#[test]
fn client_works_over_tcp_and_unix_sockets_and_says_goodbye() {
    run(async {
        let fake = Fake::new();
        let dir = tempfile::tempdir().unwrap();
        for server in [fake.tcp().await, fake.unix(dir.path().join("socket")).await] {
            let config = config(server, dir.path().join("cache"), Patience::Hard);
            let vfs = Vfs::start(config, Arc::new(NoKernel), Handle::current()).await.unwrap();
            assert_eq!(vfs.root(), DIR);
            assert_eq!(vfs.statfs().await.unwrap().inodes, 7);
            vfs.shutdown().await;
        }
        assert_eq!(fake.with(|s| s.closed), 2);
    });
}

#[test]
fn absent_server_is_a_clear_error_in_seconds() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let nobody = dfs_client::config::Address::Unix(dir.path().join("nobody"));
        let config = config(nobody, dir.path().join("cache"), Patience::Hard);
        let began = Instant::now();
        let error = Vfs::start(config, Arc::new(NoKernel), Handle::current()).await.err().unwrap();
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.starts_with("cannot reach server "), "{error}");
        assert!(!error.message.contains('\n'));
        assert!(began.elapsed() < Duration::from_secs(7));
    });
}

#[test]
fn pushed_names_are_forgotten_everywhere_before_the_ack() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names.insert(b"a".to_vec(), 5));
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        let first = vfs.lookup(&root(), DIR, b"a").await.unwrap();
        let Found::Entry(entry) = &first else { panic!("{first:?}") };
        assert!(entry.ttl > Duration::from_secs(10), "{:?}", entry.ttl);
        vfs.lookup(&root(), DIR, b"b").await.unwrap();
        for _ in 0..3 {
            assert_eq!(ino(&vfs.lookup(&root(), DIR, b"a").await.unwrap()), Some(Ino(5)));
            assert_eq!(ino(&vfs.lookup(&root(), DIR, b"b").await.unwrap()), None);
        }
        assert_eq!(vfs.client().rpc.counts()["lookup"], 2);

        let number = fake.push(vec![names(&["a", "c"]), What::Attr(5)]);
        fake.until("the push is acknowledged", |s| s.acks.iter().any(|a| a.number == number)).await;
        assert_eq!(*kernel.attrs.lock().unwrap(), [Ino(5)]);
        let told: Vec<_> =
            kernel.entries.lock().unwrap().iter().map(|e| e.name.to_string()).collect();
        assert_eq!(told, ["a"], "the kernel cannot have c");
        fake.with(|s| s.names.insert(b"a".to_vec(), 6));
        assert_eq!(ino(&vfs.lookup(&root(), DIR, b"a").await.unwrap()), Some(Ino(6)));
        assert_eq!(vfs.client().rpc.counts()["lookup"], 3);
    });
}

#[test]
fn broken_stream_is_attached_again_and_pushes_are_not_lost() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.push(vec![names(&["a"])]);
        fake.until("the push is acknowledged", |s| s.acks.len() == 1).await;
        fake.break_stream();
        let second = fake.push(vec![names(&["b"])]);
        fake.until("the other one as well", |s| s.acks.iter().any(|a| a.number == second)).await;
        let attaches = fake.with(|s| s.attaches.clone());
        assert!(attaches.len() >= 2);
        assert!(attaches.iter().all(|attach| attach.features == negotiate::FEATURES));
        assert!(vfs.client().session.lease_left().is_some(), "a broken stream alone ends no lease");
    });
}

#[test]
fn lease_that_is_not_renewed_closes_the_gate_and_voids_the_caches() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.term = Duration::from_millis(600));
        fake.with(|s| s.names.insert(b"a".to_vec(), 5));
        let patience = Patience::Soft(Duration::from_millis(300));
        let (vfs, kernel, _dir) = tree(&fake, patience).await;
        vfs.lookup(&root(), DIR, b"a").await.unwrap();
        let asked = vfs.client().rpc.counts()["lookup"];
        fake.with(|s| s.renew = false);
        kernel.until_bumped(1).await;
        assert_eq!(vfs.client().session.lease_left(), None);
        assert_eq!(vfs.client().ttl(), Duration::ZERO);
        let error = vfs.lookup(&root(), DIR, b"a").await.unwrap_err();
        assert_eq!(error.code, Code::Io, "a soft mount gives up");
        fake.with(|s| s.renew = true);
        let again = async {
            while vfs.client().session.gate().await.is_err() {}
            vfs.lookup(&root(), DIR, b"a").await
        };
        again.await.unwrap();
        assert_eq!(vfs.client().rpc.counts()["lookup"], asked + 1, "the cache was emptied");
    });
}

#[test]
fn hard_mount_waits_until_the_server_is_back() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.term = Duration::from_millis(400));
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.with(|s| s.renew = false);
        kernel.until_bumped(1).await;
        let lookup = async { vfs.lookup(&root(), DIR, b"a").await };
        let back = async {
            fake.until("the client tries to come back", |s| s.attaches.len() > 2).await;
            fake.with(|s| s.renew = true);
        };
        let (found, ()) = tokio::join!(lookup, back);
        found.unwrap();
    });
}

fn lock(owner: u64, start: u64, end: u64) -> RecordLock {
    RecordLock { owner, kind: Kind::Flock, pid: 77, exclusive: true, start, end }
}

#[test]
fn expired_session_is_replaced_and_reads_go_on() {
    run(async {
        let fake = Fake::new();
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        let lock = lock(1, 0, u64::MAX);
        vfs.setlk(&root(), Ino(5), &lock, false, false).await.unwrap();
        fake.with(|s| s.forgotten = true);
        fake.fate("lookup", Fate::Refuse(Code::SessionExpired));
        vfs.lookup(&root(), DIR, b"a").await.unwrap();
        assert_eq!(vfs.client().session.identity().sid, 2);
        assert!(*kernel.epochs.borrow() > 0);
        assert!(!vfs.client().locks.any(Ino(5), &lock), "locks went with the old session");
        let callers =
            fake.with(|s| s.calls.iter().map(|(_, c)| (c.sid, c.epoch)).collect::<Vec<_>>());
        assert_eq!(callers.last(), Some(&(2, 20)));
    });
}

#[test]
fn restarted_server_is_told_what_is_held() {
    run(async {
        let fake = Fake::new();
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        let lock = lock(9, 10, 19);
        vfs.setlk(&root(), Ino(5), &lock, false, false).await.unwrap();
        fake.with(|s| {
            (s.leader_epoch, s.reclaim) = (2, true);
            s.stream = None;
        });
        fake.until("everything is restated", |s| s.reclaims_done == 1).await;
        let restated = fake.with(|s| s.reclaims[0].clone());
        assert_eq!(restated.caller.unwrap().sid, 1);
        let lock = &restated.locks[0];
        assert_eq!(lock.kind(), v1::LockKind::Flock);
        assert_eq!((lock.ino, lock.owner, lock.pid, lock.start, lock.end), (5, 9, 77, 10, 19));
        assert!(*kernel.epochs.borrow() > 0, "the old server's promises are void");
        vfs.lookup(&root(), DIR, b"a").await.unwrap();
    });
}

#[test]
fn lock_of_an_index_in_use_is_for_one_client_also_when_restated() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names.extend([(b"db-shm".to_vec(), 5), (b"db".to_vec(), 6)]));
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        for name in [&b"db-shm"[..], b"db"] {
            vfs.lookup(&root(), DIR, name).await.unwrap();
        }
        let kind = dfs_core::lock::Kind::Process;
        let lock =
            |byte| RecordLock { owner: 9, kind, pid: 7, exclusive: false, start: byte, end: byte };
        // An inode of which no name is known may be one.
        let cases = [(5, 128, true), (5, 127, false), (6, 128, false), (7, 128, true)];
        for (ino, byte, one_client) in cases {
            vfs.setlk(&root(), Ino(ino), &lock(byte), false, false).await.unwrap();
            let asked = fake.with(|s| s.lock_calls.last().unwrap().one_client);
            assert_eq!(asked, one_client, "byte {byte} of inode {ino}");
        }
        fake.with(|s| {
            (s.leader_epoch, s.reclaim) = (2, true);
            s.stream = None;
        });
        fake.until("everything is restated", |s| s.reclaims_done == 1).await;
        let restated = fake.with(|s| s.reclaims[0].locks.clone());
        let mut found: Vec<_> = restated.iter().map(|l| (l.ino, l.start, l.one_client)).collect();
        found.sort_unstable();
        let mut want = cases.to_vec();
        want.sort_unstable();
        assert_eq!(found, want);
    });
}

#[test]
fn trimmed_promises_are_forgotten_then_acknowledged() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names.insert(b"a".to_vec(), 5));
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        vfs.lookup(&root(), DIR, b"a").await.unwrap();
        fake.with(|s| {
            let kind = Some(from_server::Kind::Trim(Trim { count: 2 }));
            s.say_message(FromServer { kind, push: 1 });
        });
        fake.until("the trim is acknowledged", |s| s.acks.len() == 1).await;
        let forgotten = fake.with(|s| s.forgets.clone());
        assert_eq!(forgotten.iter().flat_map(|f| &f.attrs).collect::<Vec<_>>(), [&5]);
        assert_eq!(forgotten.iter().flat_map(|f| &f.dirs).collect::<Vec<_>>(), [&ROOT]);
        assert_eq!(*kernel.attrs.lock().unwrap(), [Ino(5)]);
        assert_eq!(kernel.entries.lock().unwrap().len(), 1);
    });
}

#[test]
fn client_stops_promptly_though_the_server_is_silent() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.with(|s| (s.renew, s.mute) = (false, true));
        fake.break_stream();
        fake.until("the client comes back", |s| s.attaches.len() > 1).await;
        let began = Instant::now();
        vfs.shutdown().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(fake.with(|s| s.closed), 1);
    });
}
