//! Removals that are answered when they are sent (`docs/design/0028`).

use crate::fake::{Fake, Fate, ROOT, Recorder, State, asked, run, tree};
use dfs_client::config::Patience;
use dfs_client::vfs::{Found, Vfs};
use dfs_client::waiting::Leave;
use dfs_core::access::Credentials;
use dfs_core::{Code, Ino, Result};
use dfs_proto::v1::StatFsReq;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const DIR: Ino = Ino(ROOT);

fn root() -> Credentials {
    Credentials::root()
}

/// A client with names in a directory that is delegated to it; what it removes next is held.
async fn alone() -> (Fake, Arc<Vfs>, Arc<Recorder>, TempDir) {
    alone_with(Patience::Hard).await
}

async fn alone_with(patience: Patience) -> (Fake, Arc<Vfs>, Arc<Recorder>, TempDir) {
    let fake = Fake::new();
    fake.with(|s| (s.delegates, s.held) = (true, true));
    let (vfs, kernel, dir) = tree(&fake, patience).await;
    let vfs = Arc::new(vfs);
    // The line is opened by a call that somebody waits for.
    let first = Arc::clone(&vfs);
    let first = async move { first.client().rpc.call(&root(), StatFsReq::default()).await };
    asked(Leave::Wait, first).await.unwrap();
    for name in [b"a", b"b", b"c"] {
        vfs.mkdir(&root(), DIR, name, 0o755.into()).await.unwrap();
    }
    fake.fate("unlink", Fate::Held);
    (fake, vfs, kernel, dir)
}

/// unlink(2), on a thread that may send.
fn unlinking(vfs: &Arc<Vfs>, name: &'static [u8]) -> JoinHandle<Result<()>> {
    let vfs = Arc::clone(vfs);
    tokio::spawn(asked(Leave::Send, async move { vfs.unlink(&root(), DIR, name).await }))
}

async fn unlink(vfs: &Arc<Vfs>, name: &'static [u8]) {
    unlinking(vfs, name).await.unwrap().unwrap();
}

fn names(fake: &Fake) -> Vec<Vec<u8>> {
    fake.with(|s| s.names.keys().cloned().collect())
}

/// Polls a call; true: it waits, although everything sent since has been answered.
async fn waits(vfs: &Vfs, call: &mut (impl Future<Output = impl Sized> + Unpin)) -> bool {
    let round_trips = async {
        for _ in 0..3 {
            let request = StatFsReq::default();
            vfs.client().rpc.call(&root(), request).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = call => false,
        () = round_trips => true,
    }
}

async fn is_there(vfs: &Vfs, name: &[u8]) -> bool {
    matches!(vfs.lookup(&root(), DIR, name).await.unwrap(), Found::Entry(_))
}

#[test]
fn removal_is_answered_when_it_is_sent_and_over_before_anything_is_asked() {
    run(async {
        let (fake, vfs, _kernel, _dir) = alone().await;
        unlink(&vfs, b"a").await;
        let arrived = |s: &State| s.calls.last().is_some_and(|(verb, _)| *verb == "unlink");
        fake.until("it arrived", arrived).await;
        assert_eq!(names(&fake), [b"a", b"b", b"c"], "it is not carried out");
        assert!(!is_there(&vfs, b"a").await && is_there(&vfs, b"b").await);
        unlink(&vfs, b"b").await;
        fake.until("the other one is carried out", |s| s.names.len() == 2).await;
        let who = root();
        let mut made = Box::pin(vfs.mkdir(&who, DIR, b"a", 0o755.into()));
        assert!(waits(&vfs, &mut made).await && fake.ops("mkdir").len() == 3, "it comes after");
        fake.with(|s| s.held = false);
        made.await.unwrap();
        assert_eq!(names(&fake), [b"a", b"c"]);
        assert!(is_there(&vfs, b"a").await && !is_there(&vfs, b"b").await);
        vfs.fsyncdir().await.unwrap();
        assert_eq!(fake.ops("flush").len(), 1, "removals may not be flushed");
    });
}

#[test]
fn removal_waits_for_a_server_that_does_not_answer() {
    run(async {
        let (fake, vfs, _kernel, _dir) = alone().await;
        fake.with(|s| s.fates.clear());
        // Over the line, and the usual way.
        fake.fate("unlink", Fate::Lose);
        fake.fate("unlink", Fate::Lose);
        fake.fate("unlink", Fate::Held);
        unlink(&vfs, b"a").await;
        let sent = |s: &State| s.calls.iter().filter(|(verb, _)| *verb == "unlink").count();
        fake.until("it is sent again", |s| sent(s) == 3).await;
        let mut removed = unlinking(&vfs, b"b");
        assert!(waits(&vfs, &mut removed).await && fake.with(|s| sent(s)) == 3);
        fake.with(|s| s.held = false);
        removed.await.unwrap().unwrap();
        // It was answered when it was sent.
        fake.until("both are carried out", |s| s.names.len() == 1).await;
        assert_eq!(names(&fake), [b"c"]);
    });
}

#[test]
fn removal_of_a_soft_mount_waits_for_its_answer() {
    run(async {
        let (fake, vfs, _kernel, _dir) = alone_with(Patience::Soft(Duration::from_secs(9))).await;
        let mut removed = unlinking(&vfs, b"a");
        assert!(waits(&vfs, &mut removed).await);
        fake.with(|s| s.held = false);
        removed.await.unwrap().unwrap();
        assert_eq!(names(&fake), [b"b", b"c"]);
    });
}

#[test]
fn directory_is_given_back_when_its_removals_are_over() {
    run(async {
        let (fake, vfs, _kernel, _dir) = alone().await;
        unlink(&vfs, b"a").await;
        fake.directory_is_given_back_behind_what_is_held().await;
        assert_eq!(names(&fake), [b"b", b"c"]);
        fake.with(|s| (s.delegates, s.held) = (false, true));
        fake.fate("unlink", Fate::Held);
        let mut removed = unlinking(&vfs, b"b");
        assert!(waits(&vfs, &mut removed).await, "somebody else may look");
        fake.with(|s| s.held = false);
        removed.await.unwrap().unwrap();
        assert_eq!(names(&fake), [b"c"]);
    });
}

#[test]
fn removal_that_is_refused_is_undone_and_the_kernel_hears_of_it() {
    run(async {
        let (fake, vfs, kernel, _dir) = alone().await;
        fake.with(|s| s.fates.clear());
        fake.fate("unlink", Fate::Refuse(Code::AccessDenied));
        unlink(&vfs, b"a").await;
        // Asks, and so comes after the refusal.
        vfs.mkdir(&root(), DIR, b"d", 0o755.into()).await.unwrap();
        assert!(kernel.attrs.lock().unwrap().contains(&DIR));
        assert!(is_there(&vfs, b"a").await && is_there(&vfs, b"d").await);
        // One whose answer is lost happens once.
        fake.fate("unlink", Fate::Lose);
        unlink(&vfs, b"a").await;
        vfs.mkdir(&root(), DIR, b"e", 0o755.into()).await.unwrap();
        let ops = fake.ops("unlink");
        assert_eq!((ops.len(), ops[1]), (3, ops[2]), "it is sent again under its number");
        assert_eq!(names(&fake), [b"b", b"c", b"d", b"e"]);
    });
}
