//! A lease on its way back. As soon as the server has it the next holder may commit, also before the
//! answer is here.

use super::rig::{Rig, flags, root, run};
use crate::client::ContentHooks;
use crate::content::manifest::Manifest;
use dfs_core::Ino;
use dfs_core::limits::REPLY_DATA_MAX;
use dfs_proto::v1;
use std::sync::Arc;
use std::time::Duration;

const NEWER: &[u8] = b"two, longer";

impl Rig {
    /// File 7 with unsaved bytes, and its handle.
    async fn written() -> (Rig, u64) {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"one", false).await.unwrap();
        (rig, fh)
    }

    fn recall(&self, fence: u64) {
        let recall = v1::Recall { grant: fence, fence, ino: 7, hold_ms: 0 };
        ContentHooks::recall(&*self.content, recall);
    }

    /// Somebody wants the lease of file 7 and gets it; the answer to its return waits.
    async fn lose_the_lease(&self) {
        let fence = self.fake.lock().files[&7].held.unwrap();
        {
            let mut store = self.fake.lock();
            (store.slow_releases, store.slow_commits) = (true, true);
        }
        self.recall(fence);
        let file = self.content.find(Ino(7)).unwrap();
        let unsaved = file.lock().has_work();
        let sent = |rig: &Rig| match unsaved {
            true => rig.fake.lock().files[&7].held.is_none(),
            false => file.lock().machine.is_returning(),
        };
        self.until("the return is sent", sent).await;
    }

    /// The answer comes when `work` has begun.
    async fn answer_during<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let begun = tokio::spawn(work);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        {
            let mut store = self.fake.lock();
            (store.slow_releases, store.slow_commits) = (false, false);
        }
        tokio::time::timeout(Duration::from_secs(10), begun).await.expect("in time").unwrap()
    }
}

#[test]
fn recall_of_idle_and_dirty_lease_gives_it_back() {
    run(async {
        let (rig, fh) = Rig::written().await;
        let fence = rig.fake.lock().files[&7].held.unwrap();
        rig.recall(fence);
        rig.until("the lease is back", |rig| rig.fake.lock().files[&7].held.is_none()).await;
        assert_eq!(rig.fake.lock().bytes(7), b"one");
        assert!(rig.fake.lock().commits[0].release);
        // The handle goes on with a new lease, on the newest version.
        rig.fake.lock().put(7, b"somebody else's");
        rig.content.write(fh, 0, b"Some", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(7), b"Somebody else's");
        // A grant nobody knows here is released, the one held is not.
        let stray = v1::Recall { grant: 999, fence: 999, ino: 8, hold_ms: 5000 };
        ContentHooks::recall(&*rig.content, stray);
        rig.until("it is disowned", |rig| rig.client.rpc.counts().contains_key("release")).await;
        assert!(rig.fake.lock().files[&7].held.is_some());
    });
}

/// The commit of the recall finds nothing left to do: the lease must go back nevertheless.
#[test]
fn regression_recall_during_a_commit_gives_the_lease_back() {
    run(async {
        let (rig, fh) = Rig::written().await;
        let fence = rig.fake.lock().files[&7].held.unwrap();
        let recalled = async { rig.recall(fence) };
        let (synced, ()) = tokio::join!(rig.content.fsync(fh), recalled);
        synced.unwrap();
        rig.until("the lease is back", |rig| rig.fake.lock().files[&7].held.is_none()).await;
    });
}

/// What the next holder publishes is heard of before the answer to the return of the lease, under
/// which a file does not move: it moves afterwards.
#[test]
fn regression_reader_follows_a_version_that_overtook_the_return_of_the_lease() {
    run(async {
        let (rig, fh) = Rig::written().await;
        rig.content.flush(fh).await.unwrap();
        rig.open(7, "r").await;
        let fence = rig.fake.lock().files[&7].held.unwrap();
        rig.fake.lock().slow_releases = true;
        rig.recall(fence);
        rig.publish(7, b"two, longer");
        let ver = rig.fake.lock().attr(7).content_ver;
        // Somebody asks for the size: nobody looks after the push any more.
        rig.promise(7);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        rig.fake.lock().slow_releases = false;
        let file = rig.content.find(Ino(7)).unwrap();
        rig.until("the file follows", |_| file.view().working.version() == ver).await;
    });
}

#[test]
fn regression_open_while_a_lease_goes_back_sees_what_the_next_holder_committed() {
    for (unsaved, known) in [(false, false), (false, true), (true, false), (true, true)] {
        run(async {
            let (rig, fh) = Rig::written().await;
            if !unsaved {
                rig.content.flush(fh).await.unwrap();
            }
            rig.lose_the_lease().await;
            rig.publish(7, NEWER);
            if known {
                rig.promise(7);
            }
            let content = Arc::clone(&rig.content);
            let read = rig.answer_during(async move {
                let opened = content.open(&root(), Ino(7), flags("r")).await.unwrap();
                content.read(opened.fh, 0, 100).await.unwrap()
            });
            assert_eq!(read.await, NEWER, "unsaved {unsaved}, attributes known {known}");
        });
    }
}

#[test]
fn regression_size_while_a_lease_goes_back_is_that_of_the_next_holder() {
    run(async {
        let (rig, _) = Rig::written().await;
        let mut before = rig.fake.lock().attr(7);
        assert!(rig.content.overlay(&mut before));
        assert_eq!(before.size, 3);
        rig.lose_the_lease().await;
        rig.publish(7, NEWER);
        let mut attr = rig.fake.lock().attr(7);
        assert!(!rig.content.overlay(&mut attr));
        assert_eq!(attr.size, NEWER.len() as u64);
    });
}

#[test]
fn regression_extents_unknown_while_a_lease_goes_back_are_asked_for_after_the_answer() {
    run(async {
        let rig = Rig::with(|config| config.passthrough = false).await;
        let long = vec![1; REPLY_DATA_MAX as usize + 1];
        rig.fake.lock().put(7, &long);
        let (writer, fh) = (rig.open(7, "rw").await, rig.open(7, "r").await);
        rig.content.write(writer, 0, b"x", false).await.unwrap();
        rig.content.flush(writer).await.unwrap();
        rig.content.release(writer).unwrap();
        rig.lose_the_lease().await;
        rig.publish(7, &vec![2; long.len()]);
        let view = rig.content.find(Ino(7)).unwrap().view();
        *view.manifest() = Manifest::new(view.working.version(), view.working.size());
        let content = Arc::clone(&rig.content);
        let read = rig.answer_during(async move { content.read(fh, 4096, 2).await });
        assert_eq!(read.await.unwrap(), [2, 2]);
    });
}
