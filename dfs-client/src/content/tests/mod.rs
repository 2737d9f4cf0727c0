mod ahead;
mod beside;
mod bytes;
mod close;
mod deferred;
mod fake;
mod given;
mod passthrough;
mod returning;
mod rig;
mod room;
mod sync;
mod telling;

use crate::cache::{Cache, Owner};
use crate::client::ContentHooks;
use crate::config::Reads;
use crate::session::Events;
use crate::vfs::{Fallocate, Seek, Vfs, XattrMode};
use dfs_core::attr::{SetAttr, SetTime};
use dfs_core::time::Timestamp;
use dfs_core::{Code, Fence, Ino};
use dfs_proto::v1;
use rig::{Rig, flags, root, run};
use std::path::Path;
use std::sync::Arc;

#[test]
fn create_write_close_costs_one_commit() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"hello", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        rig.content.release(fh).unwrap();
        assert_eq!(rig.calls(), 1, "{:?}", rig.client.rpc.counts());
        assert_eq!(rig.fake.lock().bytes(7), b"hello");
        // The lease is kept: the next writer asks nobody.
        let fh = rig.open(7, "rw").await;
        rig.content.write(fh, 5, b" there", false).await.unwrap();
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"hello there");
        assert_eq!(rig.calls(), 1);
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.calls(), 2);
        assert_eq!(rig.fake.lock().bytes(7), b"hello there");
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.calls(), 2);
    });
}

#[test]
fn uncached_small_file_costs_one_call_and_none_when_cached() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(3, &[7; 300_000]);
        for promised in [true, false] {
            if promised {
                rig.promise(3);
            }
            let fh = rig.open(3, "r").await;
            assert_eq!(rig.content.read(fh, 100_000, 5).await.unwrap(), [7; 5]);
            assert_eq!(rig.content.read(fh, 299_999, 50).await.unwrap(), [7; 1]);
            rig.content.flush(fh).await.unwrap();
            rig.content.release(fh).unwrap();
            assert_eq!(rig.calls(), 1, "{:?}", rig.client.rpc.counts());
        }
    });
}

#[test]
fn open_handle_follows_a_newer_version() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(3, b"old content");
        rig.promise(3);
        let fh = rig.open(3, "r").await;
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"old content");
        rig.publish(3, b"new");
        let ver = rig.fake.lock().attr(3).content_ver;
        let current = |rig: &Rig| rig.content.find(Ino(3)).unwrap().view().working.version() == ver;
        // The version was published after the push: an eager answer may be one too old.
        rig.content.find(Ino(3)).unwrap().lock().must_reach = ver;
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"new");
        rig.until("the file follows", current).await;
    });
}

/// Nothing is promised any more, so nobody would tell of the next version.
#[test]
fn regression_open_handle_follows_on_after_everything_was_to_be_forgotten() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(3, b"old content");
        rig.promise(3);
        let fh = rig.open(3, "r").await;
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"old content");
        for (number, seq) in [(1, Some(0)), (2, None)] {
            rig.client.drop_all(number, seq);
            assert!(rig.client.metadata.attr(Ino(3)).is_none());
            rig.until("it is promised again", |rig| rig.client.metadata.attr(Ino(3)).is_some())
                .await;
        }
    });
}

/// The answer to a record lock names the version of our own commit before the commit's answer does:
/// that is nobody else's work, and nothing goes to the recovery area.
#[test]
fn regression_record_lock_that_overtakes_the_answer_to_a_commit_loses_nothing() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"one", false).await.unwrap();
        rig.fake.lock().slow_commits = true;
        let lock = async {
            rig.until("it is committed", |rig| !rig.fake.lock().commits.is_empty()).await;
            let attr = rig.fake.lock().attr(7);
            ContentHooks::advance(&*rig.content, &attr).await;
            rig.fake.lock().slow_commits = false;
        };
        let (flushed, ()) = tokio::join!(rig.content.flush(fh), lock);
        flushed.unwrap();
        rig.content.write(fh, 3, b", two", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(7), b"one, two");
        assert_eq!(rig.content.conflict_of(Ino(7)), None);
    });
}

#[test]
fn fenced_bytes_go_to_the_recovery_area_and_fail_their_handle() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"unsaved", false).await.unwrap();
        rig.fake.lock().put(7, b"taken over");
        rig.fake.lock().files.get_mut(&7).unwrap().held = None;
        let error = rig.content.fsync(fh).await.unwrap_err();
        assert_eq!(error.code, Code::Io);
        for _ in 0..2 {
            let error = rig.content.write(fh, 0, b"x", false).await.unwrap_err();
            assert_eq!(error.code, Code::Io);
            assert_eq!(rig.content.flush(fh).await.unwrap_err().code, Code::Io);
        }
        rig.until("it is saved", |rig| rig.content.conflict_of(Ino(7)).is_some()).await;
        let name = rig.content.conflict_of(Ino(7)).unwrap();
        let saved = std::fs::read(rig.content.recovered.data_path(&name)).unwrap();
        assert_eq!(saved, b"unsaved");
        let fresh = rig.open(7, "r").await;
        assert_eq!(rig.content.read(fresh, 0, 100).await.unwrap(), b"taken over");
    });
}

#[test]
fn revoked_lease_on_an_unchanged_base_is_rescued() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"kept", false).await.unwrap();
        let fence = rig.fake.lock().files.get_mut(&7).unwrap().held.take().unwrap();
        let revoked = v1::Revoked { grant: fence, fence, ino: 7 };
        ContentHooks::revoked(&*rig.content, revoked);
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(7), b"kept");
        rig.content.write(fh, 4, b"!", false).await.unwrap();
    });
}

#[test]
fn dirty_file_survives_a_new_session() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"kept", false).await.unwrap();
        rig.fake.lock().files.get_mut(&7).unwrap().held = None;
        ContentHooks::session_replaced(&*rig.content);
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(7), b"kept");
    });
}

/// Work on version `ver` of inode 7, left in the cache by a daemon that died.
fn unsaved_work(dir: &Path, ver: u64) {
    let cache = Cache::open(dir, 1 << 20).unwrap();
    let file = cache.open_file(Ino(7), ver, 10).unwrap();
    let owner = Owner { fence: Fence(1), path: b"x".to_vec(), uid: 0 };
    file.set_owner(owner).unwrap();
    file.write(3, b"work").unwrap();
}

/// A client after a daemon that died with [`unsaved_work`] on `0123456789`, and what the server has since.
async fn after_work(newest: Option<&[u8]>) -> Rig {
    let before = |dir: &Path, fake: &fake::Fake| {
        fake.lock().put(7, b"0123456789");
        unsaved_work(dir, fake.lock().attr(7).content_ver);
        newest.iter().for_each(|bytes| fake.lock().put(7, bytes));
    };
    Rig::build(|_| {}, before).await
}

#[test]
fn unsaved_work_of_an_earlier_life_is_committed_on_the_same_base() {
    run(async {
        let rig = after_work(None).await;
        rig.until("it is committed", |rig| rig.fake.lock().bytes(7) == b"012work789").await;
    });
}

#[test]
fn unsaved_work_of_an_earlier_life_is_put_aside_on_another_base() {
    run(async {
        let rig = after_work(Some(b"newer")).await;
        rig.promise(7);
        rig.until("it is put aside", |rig| rig.content.conflict_of(Ino(7)).is_some()).await;
        assert_eq!(rig.fake.lock().bytes(7), b"newer");
        let fh = rig.open(7, "rw").await;
        assert_eq!(rig.content.read(fh, 0, 9).await.unwrap(), b"newer");
        rig.content.write(fh, 0, b"N", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(7), b"Newer");
    });
}

/// The daemon died when its commit was carried out, before it heard so.
#[test]
fn unsaved_work_of_an_earlier_life_that_was_committed_is_not_put_aside() {
    run(async {
        let rig = after_work(Some(b"012work789")).await;
        let file = rig.content.find(Ino(7)).unwrap();
        rig.until("it is settled", |_| !file.lock().has_work()).await;
        let ver = rig.fake.lock().attr(7).content_ver;
        rig.until("it is given up", |_| file.view().working.version() == ver).await;
        assert_eq!(rig.content.conflict_of(Ino(7)), None);
        let fh = rig.open(7, "r").await;
        assert_eq!(rig.content.read(fh, 0, 99).await.unwrap(), b"012work789");
    });
}

#[test]
fn regression_blocks_of_unsaved_work_leave_holes_out() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 1 << 40, &[1; 5_000], false).await.unwrap();
        let mut attr = rig.client.attr(Ino(7)).await.unwrap();
        assert!(ContentHooks::overlay(&*rig.content, &mut attr));
        assert_eq!((attr.size, attr.blocks), ((1 << 40) + 5_000, 10));
    });
}

#[test]
fn regression_reader_that_truncates_empties_the_file() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"content", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        let reader = rig.open(7, "rt").await;
        assert_eq!(rig.content.read(reader, 0, 9).await.unwrap(), b"");
        assert_eq!(rig.fake.lock().bytes(7), b"");
    });
}

#[test]
fn staged_attributes_ride_on_the_commit() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, b"x", false).await.unwrap();
        let at = Timestamp { seconds: 1000, nanos: 5 };
        let set = SetAttr { mode: Some(0o600), mtime: Some(SetTime::To(at)), ..SetAttr::default() };
        assert!(ContentHooks::stage_attrs(&*rig.content, Ino(7), &set));
        let mut attr = rig.client.attr(Ino(7)).await.unwrap();
        ContentHooks::overlay(&*rig.content, &mut attr);
        assert_eq!((attr.mode, attr.mtime, attr.size), (0o600, at, 1));
        rig.content.flush(fh).await.unwrap();
        let attr = rig.fake.lock().attr(7);
        assert_eq!((attr.mode, attr.mtime, attr.size), (0o600, at, 1));
        assert_eq!(rig.calls(), 1);
        rig.content.release(fh).unwrap();
        assert!(!ContentHooks::stage_attrs(&*rig.content, Ino(7), &set), "nobody would commit it");
    });
}

#[test]
fn regression_capability_given_to_unsaved_writes_stays() {
    run(async {
        let rig = Rig::new().await;
        let vfs = Vfs::over(Arc::clone(&rig.client), Arc::clone(&rig.content)).await.unwrap();
        for (ino, name, commits) in [(7, &b"user.x"[..], 0), (8, b"security.capability", 1)] {
            let fh = rig.create(ino).await;
            rig.content.write(fh, 0, b"program", false).await.unwrap();
            // This server keeps no attributes; what was written before must be there already.
            let set = vfs.setxattr(&root(), Ino(ino), name, b"value", XattrMode::Any).await;
            assert!(set.is_err());
            assert_eq!(rig.fake.lock().commits.len(), commits);
        }
    });
}

#[test]
fn no_space_is_reported_once_per_handle_and_the_bytes_stay() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        let other = rig.open(7, "rw").await;
        rig.content.write(fh, 0, b"bytes", false).await.unwrap();
        rig.fake.lock().refuse = Some(Code::NoSpace);
        assert_eq!(rig.content.fsync(fh).await.unwrap_err().code, Code::NoSpace);
        rig.fake.lock().refuse = None;
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(7), b"bytes");
        assert_eq!(rig.content.fsync(other).await.unwrap_err().code, Code::NoSpace);
        rig.content.fsync(other).await.unwrap();
    });
}

#[test]
fn lease_of_another_client_blocks_writers_but_not_lazy_ones() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(3, b"content");
        rig.promise(3);
        rig.fake.lock().taken = true;
        let refused = rig.content.open(&root(), Ino(3), flags("wn")).await.unwrap_err();
        assert_eq!(refused.code, Code::WouldBlock);
        let refused = rig.content.open(&root(), Ino(3), flags("w")).await.unwrap_err();
        assert_eq!(refused.code, Code::Busy);
        let fh = rig.open(3, "rw").await;
        assert_eq!(rig.content.read(fh, 0, 7).await.unwrap(), b"content");
        assert_eq!(rig.content.write(fh, 0, b"C", false).await.unwrap_err().code, Code::Busy);
        rig.fake.lock().taken = false;
        rig.content.write(fh, 0, b"C", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(3), b"Content");
    });
}

#[test]
fn snapshot_handle_stays_on_its_version() {
    run(async {
        let rig = Rig::with(|config| config.reads = Reads::Snapshot).await;
        rig.fake.lock().put(3, &[1; 2_000_000]);
        rig.promise(3);
        let opened = rig.content.open(&root(), Ino(3), flags("r")).await.unwrap();
        assert!(opened.direct_io);
        rig.publish(3, &[2; 10]);
        assert_eq!(ContentHooks::restate(&*rig.content).pins.len(), 1);
        let fresh = rig.open(3, "r").await;
        assert_eq!(rig.content.read(fresh, 0, 100).await.unwrap(), [2; 10]);
        assert_eq!(rig.content.read(opened.fh, 1_999_999, 100).await.unwrap(), [1]);
        rig.content.release(opened.fh).unwrap();
        rig.content.release(fresh).unwrap();
    });
}

#[test]
fn big_file_travels_as_objects_and_comes_back() {
    run(async {
        let rig = Rig::new().await;
        let fh = rig.create(7).await;
        let bytes: Vec<u8> = (0..9_000_000u32).map(|i| (i % 251) as u8).collect();
        for (n, part) in bytes.chunks(1 << 20).enumerate() {
            rig.content.write(fh, (n as u64) << 20, part, false).await.unwrap();
        }
        rig.content.flush(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == bytes);
        assert_eq!(rig.client.rpc.counts()["create_object"], 3);
        rig.content.cache.remove(Ino(7)).unwrap();
        rig.content.release(fh).unwrap();
        let fh = rig.open(7, "r").await;
        let mut back = Vec::new();
        while back.len() < bytes.len() {
            let part = rig.content.read(fh, back.len() as u64, 128 << 10).await.unwrap();
            assert!(!part.is_empty());
            back.extend(part);
        }
        assert!(back == bytes);
    });
}

#[test]
fn append_truncate_holes_seek_and_copy() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(3, &[b'a'; 100_000]);
        rig.promise(3);
        let opened = rig.content.open(&root(), Ino(3), flags("a")).await.unwrap();
        assert!(opened.direct_io);
        rig.content.write(opened.fh, 0, b"end", false).await.unwrap();
        rig.content.flush(opened.fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(3)[100_000..], *b"end");
        let fh = rig.open(3, "rw").await;
        let hole = Fallocate { keep_size: true, punch_hole: true, zero_range: false };
        rig.content.fallocate(fh, 8192, 4096, hole).await.unwrap();
        assert_eq!(rig.content.lseek(fh, 0, Seek::Hole).await.unwrap(), 8192);
        assert_eq!(rig.content.lseek(fh, 8192, Seek::Data).await.unwrap(), 12_288);
        rig.content.set_size(&root(), Ino(3), Some(fh), 20_000).await.unwrap();
        rig.content.set_size(&root(), Ino(3), Some(fh), 30_000).await.unwrap();
        assert_eq!(rig.content.lseek(fh, 12_288, Seek::Hole).await.unwrap(), 20_000);
        rig.content.fsync(fh).await.unwrap();
        let mut want = vec![b'a'; 20_000];
        want[8192..12_288].fill(0);
        want.resize(30_000, 0);
        assert!(rig.fake.lock().bytes(3) == want);
        let to = rig.create(9).await;
        assert_eq!(rig.content.copy_file_range(fh, 8000, to, 10, 1 << 30).await.unwrap(), 22_000);
        rig.content.fsync(to).await.unwrap();
        assert!(rig.fake.lock().bytes(9)[10..] == want[8000..]);
        // What would become an object is shared at the server.
        rig.fake.lock().put(4, &[b'c'; 200_000]);
        rig.promise(4);
        let (large, to) = (rig.open(4, "r").await, rig.create(10).await);
        assert_eq!(rig.content.copy_file_range(large, 100, to, 0, 150_000).await.unwrap(), 150_000);
        assert!(rig.fake.lock().bytes(10) == [b'c'; 150_000]);
        let trunc = rig.open(9, "wt").await;
        rig.content.flush(trunc).await.unwrap();
        assert!(rig.fake.lock().bytes(9).is_empty());
    });
}
