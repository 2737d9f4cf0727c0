//! Directories that are made when they are sent (`docs/design/0041`).

use crate::fake::{Fake, Fate, ROOT, Recorder, asked, run, tree};
use dfs_client::config::Patience;
use dfs_client::vfs::{Entry, Found, Vfs};
use dfs_client::waiting::Leave;
use dfs_core::access::Credentials;
use dfs_core::{Code, Ino, Result};
use dfs_proto::v1::StatFsReq;
use std::sync::Arc;
use tempfile::TempDir;

const DIR: Ino = Ino(ROOT);

/// A client with numbers, and a directory that is delegated to it; the next one that it makes is held.
async fn alone() -> (Fake, Arc<Vfs>, Arc<Recorder>, TempDir) {
    let fake = Fake::new();
    fake.with(|s| (s.delegates, s.makes, s.held) = (true, true, true));
    let (vfs, kernel, dir) = tree(&fake, Patience::Hard).await;
    let vfs = Arc::new(vfs);
    let first = Arc::clone(&vfs);
    let first =
        async move { first.client().rpc.call(&Credentials::root(), StatFsReq::default()).await };
    asked(Leave::Wait, first).await.unwrap();
    // The first one is asked for and brings the directory, the second one asks for numbers.
    for name in [b"a", b"b"] {
        mkdir(&vfs, name).await.unwrap();
    }
    fake.until("numbers are drawn", |s| s.calls.iter().any(|(verb, _)| *verb == "reserve")).await;
    // Behind that answer.
    vfs.client().rpc.call(&Credentials::root(), StatFsReq::default()).await.unwrap();
    fake.fate("mkdir", Fate::Held);
    (fake, vfs, kernel, dir)
}

/// mkdir(2), on a thread that may send. The kernel has looked for the name.
async fn mkdir(vfs: &Arc<Vfs>, name: &'static [u8]) -> Result<Entry> {
    assert_eq!(found(vfs, name).await, None);
    let vfs = Arc::clone(vfs);
    let work = async move { vfs.mkdir(&Credentials::root(), DIR, name, 0o755.into()).await };
    asked(Leave::Send, work).await
}

async fn found(vfs: &Vfs, name: &[u8]) -> Option<Ino> {
    match vfs.lookup(&Credentials::root(), DIR, name).await.unwrap() {
        Found::Entry(entry) => Some(entry.attr.ino),
        Found::Absent { .. } => None,
    }
}

#[test]
fn directory_is_made_when_it_is_sent_and_not_given_back_before_it_is_answered() {
    run(async {
        let (fake, vfs, _kernel, _dir) = alone().await;
        let made = mkdir(&vfs, b"c").await.unwrap().attr;
        assert!(made.ino.0 >= 5000 && made.parent == DIR, "{made:?}");
        assert!(!fake.with(|s| s.names.contains_key(&b"c"[..])), "it is not carried out");
        assert_eq!(found(&vfs, b"c").await, Some(made.ino));
        assert!(vfs.client().metadata.is_delegated(made.ino));
        fake.directory_is_given_back_behind_what_is_held().await;
        assert_eq!(fake.with(|s| s.names[&b"c"[..]]), made.ino.0);
        assert!(vfs.client().metadata.is_delegated(made.ino), "nobody looks into this one");
    });
}

#[test]
fn directory_that_the_answer_does_not_give_is_not_this_clients() {
    run(async {
        let (fake, vfs, kernel, _dir) = alone().await;
        let made = mkdir(&vfs, b"c").await.unwrap().attr.ino;
        fake.with(|s| (s.delegates, s.held) = (false, false));
        vfs.fsyncdir().await.unwrap();
        assert!(!vfs.client().metadata.is_delegated(made));
        assert!(kernel.attrs.lock().unwrap().contains(&made), "the kernel has forgotten it");
        assert_eq!(found(&vfs, b"c").await, Some(made));
    });
}

#[test]
fn directory_that_is_refused_is_gone_and_the_kernel_hears_of_it() {
    run(async {
        let (fake, vfs, kernel, _dir) = alone().await;
        fake.with(|s| s.fates.clear());
        fake.fate("mkdir", Fate::Refuse(Code::AccessDenied));
        let made = mkdir(&vfs, b"c").await.unwrap().attr.ino;
        vfs.fsyncdir().await.unwrap();
        let told = kernel.attrs.lock().unwrap().clone();
        assert!(told.contains(&DIR) && told.contains(&made), "{told:?}");
        assert_eq!(found(&vfs, b"c").await, None);
        assert!(!vfs.client().metadata.is_delegated(made));
    });
}
