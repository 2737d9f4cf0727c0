//! Uploads before the commit that names them.

use super::rig::{Rig, root, run};
use crate::client::ContentHooks;
use dfs_core::limits::{AHEAD_AT_ONCE, AHEAD_STRIPES};
use dfs_core::{Code, Ino};
use dfs_proto::v1;

/// Stripes of the server, in bytes.
const UNIT: u64 = 64 * 1024;
/// Bytes of one write.
const STEP: usize = 16 * 1024;

async fn rig() -> Rig {
    Rig::build(|_| {}, |_, fake| fake.lock().unit = UNIT).await
}

fn bytes(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 9001) as u8).collect()
}

/// Writes from front to back, with pauses in which uploads go on.
async fn write(rig: &Rig, fh: u64, from: u64, bytes: &[u8]) {
    for (n, part) in bytes.chunks(STEP).enumerate() {
        let at = from + (n * STEP) as u64;
        match rig.content.write_now(fh, at, part, false) {
            Some(written) => assert_eq!(written.unwrap(), part.len()),
            None => assert_eq!(rig.content.write(fh, at, part, false).await.unwrap(), part.len()),
        }
        tokio::task::yield_now().await;
    }
}

async fn until_stored(rig: &Rig, objects: usize) {
    rig.until("objects are stored", |rig| rig.fake.lock().objects.len() >= objects).await;
    let idle =
        |rig: &Rig| rig.content.ahead_slots.available_permits() == dfs_core::limits::AHEAD_OF_ALL;
    rig.until("uploads end", idle).await;
}

fn count(rig: &Rig, verb: &str) -> u64 {
    rig.client.rpc.counts().get(verb).copied().unwrap_or(0)
}

#[test]
fn ahead_of_the_commit_whole_stripes_are_stored_and_the_rest_follows() {
    run(async {
        let rig = rig().await;
        let fh = rig.create(7).await;
        let mut want = bytes(10 * UNIT + 1000);
        write(&rig, fh, 0, &want).await;
        until_stored(&rig, 10).await;
        assert!(rig.fake.lock().commits.is_empty());
        // Of what changes again the old object is of no use.
        want[3 * UNIT as usize + 5] ^= 1;
        let at = 3 * UNIT as usize + 5;
        rig.content.write(fh, at as u64, &want[at..=at], false).await.unwrap();
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == want);
        assert_eq!((count(&rig, "new_upload"), count(&rig, "commit")), (1, 1));
        assert_eq!(rig.fake.lock().objects.len(), 11, "ten, and one of them again");
        // What is local is known to be what was committed.
        let calls = rig.calls();
        let read = rig.open(7, "r").await;
        let now = rig.content.read(read, 0, want.len() as u32).await.unwrap();
        assert!(now == want && rig.calls() == calls);
        assert!(rig.content.find(Ino(7)).unwrap().lock().uploading.is_empty());
    });
}

#[test]
fn ahead_of_the_commit_nothing_is_uploaded_of_small_files_or_scattered_writes() {
    run(async {
        let rig = rig().await;
        let fh = rig.create(7).await;
        write(&rig, fh, 0, &bytes(AHEAD_STRIPES * UNIT - 1)).await;
        for at in (0..20).rev() {
            write(&rig, fh, at * UNIT, &bytes(UNIT)).await;
        }
        assert_eq!(count(&rig, "new_upload"), 0);
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(count(&rig, "new_upload"), 1);
    });
}

#[test]
fn ahead_of_the_commit_a_truncation_takes_objects_back() {
    run(async {
        let rig = rig().await;
        let fh = rig.create(7).await;
        let mut want = bytes(6 * UNIT);
        write(&rig, fh, 0, &want).await;
        until_stored(&rig, 6).await;
        for size in [2 * UNIT + 7, 5 * UNIT] {
            rig.content.set_size(&root(), Ino(7), Some(fh), size).await.unwrap();
            want.resize(size as usize, 0);
        }
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == want);
    });
}

/// Objects of a grant that is gone may be collected: a commit under the next one names none of them.
#[test]
fn ahead_of_the_commit_objects_of_a_lost_lease_are_not_named() {
    run(async {
        let rig = rig().await;
        let fh = rig.create(7).await;
        let want = bytes(6 * UNIT);
        write(&rig, fh, 0, &want).await;
        until_stored(&rig, 6).await;
        let fence = rig.fake.lock().files.get_mut(&7).unwrap().held.take().unwrap();
        rig.fake.lock().objects.clear();
        ContentHooks::revoked(&*rig.content, v1::Revoked { grant: fence, fence, ino: 7 });
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == want);
        assert!(rig.content.find(Ino(7)).unwrap().lock().uploading.is_empty());
    });
}

#[test]
fn ahead_of_the_commit_a_full_server_fails_the_commit_and_not_the_writes() {
    run(async {
        let rig = rig().await;
        let fh = rig.create(7).await;
        let want = bytes(12 * UNIT);
        write(&rig, fh, 0, &want[..4 * UNIT as usize]).await;
        until_stored(&rig, 4).await;
        rig.fake.lock().full = true;
        write(&rig, fh, 4 * UNIT, &want[4 * UNIT as usize..]).await;
        let refused = |rig: &Rig| rig.fake.lock().refused > 0;
        rig.until("an upload is refused", refused).await;
        assert_eq!(rig.content.fsync(fh).await.unwrap_err().code, Code::NoSpace);
        let refused = rig.fake.lock().refused;
        assert!(refused <= 2 * AHEAD_AT_ONCE as u64, "{refused} were tried");
        rig.fake.lock().full = false;
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == want);
    });
}

/// Uploads go on while a commit is sent; each commit names what was written before it.
#[test]
fn ahead_of_several_commits_each_object_is_in_one() {
    run(async {
        let rig = rig().await;
        let fh = rig.create(7).await;
        let want = bytes(24 * UNIT);
        let (first, second) = want.split_at(11 * UNIT as usize + 300);
        write(&rig, fh, 0, first).await;
        rig.fake.lock().slow_commits = true;
        let later = async {
            rig.until("it is committed", |rig| !rig.fake.lock().commits.is_empty()).await;
            let stored = rig.fake.lock().objects.len();
            write(&rig, fh, first.len() as u64, second).await;
            until_stored(&rig, stored + 3).await;
            rig.fake.lock().slow_commits = false;
        };
        let (synced, ()) = tokio::join!(rig.content.fsync(fh), later);
        synced.unwrap();
        assert!(rig.fake.lock().bytes(7) == first);
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == want);
        let store = rig.fake.lock();
        let named = |commit: &v1::CommitReq| commit.extents.len();
        assert_eq!(store.commits.iter().map(named).collect::<Vec<_>>(), [12, 13]);
        assert_eq!(store.objects.len(), 24, "the inline rest of one stripe, and 24 objects");
    });
}
