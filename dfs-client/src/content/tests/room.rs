//! A cache without room: unsaved work is committed early, reads go past the cache.

use super::rig::{Rig, root, run};
use crate::client::ContentHooks;
use dfs_core::{Code, Ino};

const KIB: usize = 1024;

async fn with_cache(kib: u64) -> Rig {
    Rig::with(|config| config.cache_bytes = kib * KIB as u64).await
}

fn content(ino: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u64 * 7 + ino * 13) as u8).collect()
}

#[test]
fn cache_full_of_unsaved_work_is_committed_early() {
    run(async {
        let rig = with_cache(1024).await;
        let mut open = Vec::new();
        for ino in 1..=10 {
            let fh = rig.create(ino).await;
            let written = rig.content.write(fh, 0, &content(ino, 200 * KIB), false).await;
            assert_eq!(written.unwrap(), 200 * KIB);
            assert!(rig.content.cache.stats().used_bytes <= 1024 * KIB as u64);
            open.push((ino, fh));
        }
        assert!(rig.fake.lock().bytes(1) == content(1, 200 * KIB), "committed before its time");
        for (ino, fh) in open {
            rig.content.flush(fh).await.unwrap();
            assert!(rig.fake.lock().bytes(ino) == content(ino, 200 * KIB));
        }
    });
}

#[test]
fn cache_smaller_than_a_write_takes_it_in_parts() {
    run(async {
        let rig = with_cache(300).await;
        let fh = rig.create(7).await;
        let bytes = content(7, 1024 * KIB);
        assert_eq!(rig.content.write(fh, 0, &bytes, false).await.unwrap(), bytes.len());
        rig.content.flush(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == bytes);
        assert!(rig.content.cache.stats().used_bytes <= 300 * KIB as u64);
    });
}

#[test]
fn cache_full_of_work_that_cannot_be_saved_says_no_space_and_keeps_it() {
    run(async {
        let rig = with_cache(512).await;
        let fh = rig.create(7).await;
        rig.content.write(fh, 0, &content(7, 200 * KIB), false).await.unwrap();
        rig.fake.lock().refuse = Some(Code::NoSpace);
        let other = rig.create(8).await;
        let refused = rig.content.write(other, 0, &[1; 400 * KIB], false).await;
        // What still fits may be taken; the rest is refused, and so is the next write.
        assert!(refused.is_err() || refused.unwrap() < 400 * KIB);
        let refused = rig.content.write(other, 1 << 20, &[1; 400 * KIB], false).await;
        assert_eq!(refused.unwrap_err().code, Code::NoSpace);
        let reader = rig.open(7, "r").await;
        assert!(rig.content.read(reader, 0, 1 << 20).await.unwrap() == content(7, 200 * KIB));
        rig.fake.lock().refuse = None;
        let written = rig.content.write(other, 0, &[2; 400 * KIB], false).await;
        assert_eq!(written.unwrap(), 400 * KIB);
        // The refusal was the last word on these bytes; now they are saved.
        assert_eq!(rig.content.fsync(fh).await.unwrap_err().code, Code::NoSpace);
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(7) == content(7, 200 * KIB));
    });
}

#[test]
fn reads_without_room_come_past_the_cache_with_unsaved_work_over_them() {
    run(async {
        let rig = with_cache(100).await;
        let mut want = content(3, 600 * KIB);
        rig.fake.lock().put(3, &want);
        rig.promise(3);
        let fh = rig.open(3, "rw").await;
        let read = |off: usize, len: u32| rig.content.read(fh, off as u64, len);
        assert!(read(10, 128 << 10).await.unwrap() == want[10..10 + (128 << 10)]);
        assert!(read(599 * KIB, 128 << 10).await.unwrap() == want[599 * KIB..]);
        rig.content.write(fh, 70_000, b"unsaved", false).await.unwrap();
        want[70_000..70_007].copy_from_slice(b"unsaved");
        assert!(read(65_000, 128 << 10).await.unwrap() == want[65_000..65_000 + (128 << 10)]);
        // Cut and grown again: the base has nothing to say about the end any more.
        rig.content.set_size(&root(), Ino(3), Some(fh), 100_000).await.unwrap();
        rig.content.set_size(&root(), Ino(3), Some(fh), 150_000).await.unwrap();
        want.truncate(100_000);
        want.resize(150_000, 0);
        assert!(read(0, 1 << 20).await.unwrap() == want);
        assert!(rig.content.cache.stats().used_bytes <= 100 * KIB as u64);
        rig.content.fsync(fh).await.unwrap();
        assert!(rig.fake.lock().bytes(3) == want);
        assert!(ContentHooks::is_open(&*rig.content, Ino(3)));
    });
}
