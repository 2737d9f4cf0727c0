//! Calls against a server that loses them, loses answers, asks to wait or never answers.

use crate::fake::{Fake, Fate, ROOT, config, run, tree};
use dfs_client::config::Patience;
use dfs_client::interrupt::{Interrupt, scope};
use dfs_client::kernel::NoKernel;
use dfs_client::metadata::LISTING_MAX;
use dfs_client::vfs::{Found, RecordLock, Vfs};
use dfs_core::access::Credentials;
use dfs_core::lock::Kind;
use dfs_core::{Code, Ino};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

const DIR: Ino = Ino(ROOT);

fn root() -> Credentials {
    Credentials::root()
}

#[test]
fn lost_answer_is_fetched_with_the_same_number_and_nothing_happens_twice() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.fate("mkdir", Fate::LoseAnswer);
        fake.fate("mkdir", Fate::Lose);
        let made = vfs.mkdir(&root(), DIR, b"d", 0o755.into()).await.unwrap();
        assert_eq!(made.attr.ino, Ino(1001));
        assert_eq!(fake.ops("mkdir"), [1, 1, 1]);
        assert_eq!(fake.with(|s| s.done), 1);
        vfs.mkdir(&root(), DIR, b"e", 0o755.into()).await.unwrap();
        assert_eq!(fake.ops("mkdir"), [1, 1, 1, 2]);
        let below = fake.with(|s| s.calls.last().unwrap().1.done_below);
        assert_eq!(below, 2, "the first answer was received");
    });
}

#[test]
fn recovering_server_is_asked_again_with_the_same_number() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        let soon = Duration::from_millis(20);
        fake.fate("mkdir", Fate::Refuse(Code::Grace(soon)));
        fake.fate("mkdir", Fate::Refuse(Code::Retry(soon)));
        vfs.mkdir(&root(), DIR, b"d", 0o755.into()).await.unwrap();
        assert_eq!(fake.ops("mkdir"), [1, 1, 1]);
        assert_eq!(vfs.client().metrics.repeats.get(), 2);
    });
}

#[test]
fn change_without_answer_in_an_expired_session_is_an_error_and_a_refused_one_is_not() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.with(|s| s.forgotten = true);
        fake.fate("mkdir", Fate::LoseAnswer);
        fake.fate("mkdir", Fate::Refuse(Code::SessionExpired));
        let error = vfs.mkdir(&root(), DIR, b"d", 0o755.into()).await.unwrap_err();
        assert_eq!(error.code, Code::Io);

        fake.with(|s| s.forgotten = true);
        fake.fate("mkdir", Fate::Refuse(Code::SessionExpired));
        vfs.mkdir(&root(), DIR, b"e", 0o755.into()).await.unwrap();
        let last = fake.with(|s| s.calls.last().unwrap().1.clone());
        assert_eq!((last.sid, last.op_id), (3, 1));
    });
}

#[test]
fn soft_mount_gives_up_on_a_server_that_loses_everything() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Soft(Duration::from_millis(50))).await;
        (0..12).for_each(|_| fake.fate("lookup", Fate::Lose));
        let error = vfs.lookup(&root(), DIR, b"a").await.unwrap_err();
        assert_eq!(error.code, Code::Io, "{error}");
        assert!(error.message.contains("gave up"), "{error}");
    });
}

#[test]
fn interrupted_lock_wait_is_given_up_at_the_server() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.fate("lock", Fate::Hang);
        fake.fate("lock", Fate::Refuse(Code::WouldBlock));
        let interrupt = Interrupt::default();
        let lock =
            RecordLock { owner: 3, kind: Kind::Process, pid: 1, exclusive: true, start: 0, end: 9 };
        let who = root();
        let wait = scope(interrupt.clone(), vfs.setlk(&who, Ino(5), &lock, false, true));
        let signal = async {
            fake.until("the lock is waited for", |s| s.lock_calls.len() == 1).await;
            interrupt.raise();
        };
        let (outcome, ()) = tokio::join!(wait, signal);
        assert_eq!(outcome.unwrap_err().code, Code::Interrupted);
        fake.until("the server heard of it", |s| s.cancelled == 1).await;
        assert_eq!(fake.ops("lock"), [1, 1], "asked once more whether it was given after all");
        assert!(!fake.with(|s| s.lock_calls[1].wait));
    });
}

#[test]
fn lock_given_in_the_moment_of_the_interrupt_is_held() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.fate("lock", Fate::Hang);
        let interrupt = Interrupt::default();
        let lock =
            RecordLock { owner: 3, kind: Kind::Process, pid: 1, exclusive: true, start: 0, end: 9 };
        let who = root();
        let wait = scope(interrupt.clone(), vfs.setlk(&who, Ino(5), &lock, false, true));
        let signal = async {
            fake.until("the lock is waited for", |s| s.lock_calls.len() == 1).await;
            interrupt.raise();
        };
        let (outcome, ()) = tokio::join!(wait, signal);
        outcome.unwrap();
        assert!(vfs.client().locks.exclusive(Ino(5), &lock));
        vfs.release_locks(Ino(5), 3).await.unwrap();
        vfs.release_locks(Ino(5), 3).await.unwrap();
        assert_eq!(vfs.client().rpc.counts()["unlock"], 1, "nothing is held any more");
    });
}

#[test]
fn interrupted_change_is_followed_to_its_end() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        vfs.lookup(&root(), DIR, b"d").await.unwrap();
        (0..20).for_each(|_| {
            fake.fate("mkdir", Fate::Refuse(Code::Retry(Duration::from_millis(400))))
        });
        let interrupt = Interrupt::default();
        interrupt.raise();
        let who = root();
        let change = Box::pin(scope(interrupt, vfs.mkdir(&who, DIR, b"d", 0o755.into()))).await;
        assert_eq!(change.unwrap_err().code, Code::Interrupted);
        let found = vfs.lookup(&root(), DIR, b"d").await.unwrap();
        assert!(
            matches!(found, Found::Absent { ttl: Duration::ZERO }),
            "not from the cache: {found:?}"
        );
        fake.with(|s| s.fates.clear());
        fake.until("the directory is made", |s| s.done == 1).await;
        let wait = async {
            while !matches!(vfs.lookup(&root(), DIR, b"d").await.unwrap(), Found::Entry(_)) {}
        };
        wait.await;
    });
}

#[test]
fn own_changes_are_known_without_asking() {
    run(async {
        let fake = Fake::new();
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        let (d, _) = vfs.opendir(&root(), DIR).await.unwrap();
        assert_eq!(vfs.readdir(d, 0, 100, true).await.unwrap().len(), 2);
        assert_eq!(vfs.readdir(d, 2, 100, true).await.unwrap(), []);
        vfs.mkdir(&root(), DIR, b"a", 0o755.into()).await.unwrap();
        vfs.mkdir(&root(), DIR, b"b", 0o755.into()).await.unwrap();
        vfs.unlink(&root(), DIR, b"a").await.unwrap();
        let before = vfs.client().rpc.counts();
        let Found::Absent { ttl } = vfs.lookup(&root(), DIR, b"a").await.unwrap() else {
            panic!("removed")
        };
        assert!(ttl > Duration::ZERO);
        let Found::Entry(b) = vfs.lookup(&root(), DIR, b"b").await.unwrap() else { panic!("made") };
        assert_eq!(b.attr.ino, Ino(1002));
        assert_eq!(vfs.getattr(DIR, None).await.unwrap().attr.dir_ver, 4);
        let listed = vfs.readdir(d, 0, 100, true).await.unwrap();
        let names: Vec<_> = listed.iter().map(|l| l.name.escape_ascii().to_string()).collect();
        assert_eq!(names, [".", "..", "b"]);
        assert!(listed[2].entry.is_some());
        assert_eq!(vfs.client().rpc.counts(), before, "all of it from memory");
    });
}

#[test]
fn listing_survives_a_broken_connection_and_is_then_cached() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names = (0..7).map(|i| (format!("f{i}").into_bytes(), 10 + i)).collect());
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        let list = async |fh: u64, max: usize| {
            let (mut after, mut names) = (0, Vec::new());
            loop {
                let some = vfs.readdir(fh, after, max, true).await.unwrap();
                let Some(last) = some.last() else { return names };
                after = last.cookie;
                names.extend(some.into_iter().map(|l| String::from_utf8(l.name).unwrap()));
            }
        };
        let all = [".", "..", "f0", "f1", "f2", "f3", "f4", "f5", "f6"];
        fake.fate("read_dir", Fate::LoseAnswer);
        let (fh, _) = vfs.opendir(&root(), DIR).await.unwrap();
        assert_eq!(list(fh, 3).await, all);
        assert_eq!(vfs.client().rpc.counts()["read_dir"], 2);
        // Both parts showed one version of the directory, and both were promised.
        let before = vfs.client().rpc.counts();
        assert_eq!(list(fh, 2).await, all);
        assert!(matches!(
            vfs.lookup(&root(), DIR, b"nothing").await.unwrap(),
            Found::Absent { .. }
        ));
        assert_eq!(vfs.client().rpc.counts(), before);
        vfs.releasedir(fh);
        assert_eq!(vfs.readdir(fh, 0, 1, false).await.unwrap_err().code, Code::BadHandle);
    });
}

#[test]
fn regression_seek_back_in_a_listing_too_long_to_keep_leaves_nothing_out() {
    run(async {
        let fake = Fake::new();
        let count = LISTING_MAX as u64 + 1_000;
        fake.with(|s| s.names = (0..count).map(|i| (format!("f{i:06}").into(), 10 + i)).collect());
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        let (fh, _) = vfs.opendir(&root(), DIR).await.unwrap();
        let rest = async |mut after: u64| {
            let mut names = 0;
            loop {
                let some = vfs.readdir(fh, after, 1_000, false).await.unwrap();
                let Some(last) = some.last() else { return names };
                (after, names) = (last.cookie, names + some.len() as u64);
            }
        };
        assert_eq!(rest(0).await, 2 + count);
        // The fake numbers its names from 256.
        for passed in [1_000, 500, 0, count - 10] {
            assert_eq!(rest(255 + passed).await, count - passed, "behind {passed} names");
        }
    });
}

#[test]
fn fsync_of_a_directory_asks_a_relaxed_server_only() {
    run(async {
        for (relaxed, calls) in [(false, 0), (true, 1)] {
            let fake = Fake::new();
            fake.with(|s| s.relaxed = relaxed);
            let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
            vfs.fsyncdir().await.unwrap();
            assert_eq!(vfs.client().rpc.counts().get("flush").copied().unwrap_or(0), calls);
        }
    });
}

#[test]
fn listing_of_two_versions_is_not_kept() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names = (0..7).map(|i| (format!("f{i}").into_bytes(), 10 + i)).collect());
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.fate("read_dir", Fate::Move);
        for questions in [1, 2, 2] {
            let (fh, _) = vfs.opendir(&root(), DIR).await.unwrap();
            let mut after = 0;
            while let Some(last) = vfs.readdir(fh, after, 100, false).await.unwrap().last() {
                after = last.cookie;
            }
            vfs.releasedir(fh);
            assert_eq!(vfs.client().rpc.counts()["read_dir"], questions);
        }
    });
}

#[test]
fn read_only_mount_refuses_every_change() {
    run(async {
        let fake = Fake::new();
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(fake.tcp().await, dir.path().join("cache"), Patience::Hard);
        config.read_only = true;
        let vfs = Vfs::start(config, Arc::new(NoKernel), Handle::current()).await.unwrap();
        let who = root();
        assert_eq!(
            vfs.mkdir(&who, DIR, b"d", 0o755.into()).await.unwrap_err().code,
            Code::ReadOnly
        );
        assert_eq!(vfs.unlink(&who, DIR, b"d").await.unwrap_err().code, Code::ReadOnly);
        assert_eq!(vfs.access(&who, DIR, 2).await.unwrap_err().code, Code::ReadOnly);
        assert_eq!(vfs.removexattr(&who, DIR, b"user.x").await.unwrap_err().code, Code::ReadOnly);
        vfs.lookup(&who, DIR, b"d").await.unwrap();
    });
}

#[test]
fn what_is_known_is_answered_on_the_first_poll() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names.insert(b"a".to_vec(), 5));
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        vfs.lookup(&root(), DIR, b"a").await.unwrap();
        let who = root();
        let at_once = |future: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let mut future = future;
            assert!(future.as_mut().poll(&mut context).is_ready());
        };
        at_once(Box::pin(async { drop(vfs.lookup(&who, DIR, b"a").await.unwrap()) }));
        at_once(Box::pin(async { drop(vfs.getattr(Ino(5), None).await.unwrap()) }));
        at_once(Box::pin(async { drop(vfs.listxattr(&root(), Ino(5)).await.unwrap()) }));
        at_once(Box::pin(async { vfs.access(&who, Ino(5), 4).await.unwrap() }));
    });
}
