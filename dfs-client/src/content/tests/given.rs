//! Small files whose pages the kernel is given when they are opened.

use super::rig::{Kernel, Rig, flags, root, run};
use dfs_core::Ino;
use dfs_core::limits::PAGES_GIVEN_MAX;
use std::sync::Arc;

/// A client with a kernel, and the files 7 and 8, which are here and closed.
async fn with_files() -> (Rig, Arc<Kernel>) {
    let kernel = Arc::new(Kernel::default());
    let rig = Rig::under(kernel.clone(), |_| {}, |_, _| {}).await;
    for (ino, bytes) in [(7, b"seven"), (8, b"eight")] {
        let fh = rig.create(ino).await;
        rig.content.write(fh, 0, bytes, false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        rig.content.release(fh).unwrap();
    }
    assert!(kernel.given().is_empty(), "nobody reads them yet");
    (rig, kernel)
}

/// The file 12, which another client made and this one has read.
async fn of_others(rig: &Rig, kernel: &Kernel) {
    rig.fake.lock().put(12, b"twelve");
    rig.promise(12);
    let fh = rig.open(12, "r").await;
    assert!(kernel.given().is_empty(), "its bytes are not here");
    assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"twelve");
    rig.content.release(fh).unwrap();
}

async fn open_and_close(rig: &Rig, ino: u64, how: &str) {
    let fh = rig.open(ino, how).await;
    rig.content.release(fh).unwrap();
}

#[test]
fn pages_are_given_once_and_again_when_they_may_be_gone() {
    run(async {
        let (rig, kernel) = with_files().await;
        open_and_close(&rig, 7, "w").await;
        assert!(kernel.given().is_empty(), "a writer reads nothing");
        open_and_close(&rig, 7, "r").await;
        assert_eq!(kernel.given(), [b"seven"]);
        open_and_close(&rig, 7, "r").await;
        assert!(kernel.given().is_empty(), "it has them");
        let fh = rig.open(7, "r").await;
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"seven");
        rig.content.release(fh).unwrap();
        open_and_close(&rig, 7, "r").await;
        assert_eq!(kernel.given(), [b"seven"], "it had dropped them");
        let fh = rig.open(7, "w").await;
        rig.content.write(fh, 0, b"other", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        let reader = rig.open(7, "r").await;
        assert!(kernel.given().is_empty(), "a read may be under way while it is open");
        rig.content.release(fh).unwrap();
        rig.content.release(reader).unwrap();
        open_and_close(&rig, 7, "r").await;
        assert_eq!(kernel.given(), [b"other"]);
    });
}

#[test]
fn pages_of_an_older_version_are_dropped_before_new_ones_are_given() {
    run(async {
        let (rig, kernel) = with_files().await;
        of_others(&rig, &kernel).await;
        open_and_close(&rig, 12, "r").await;
        assert_eq!(kernel.given(), [b"twelve"]);
        rig.publish(12, b"shorter");
        let opened = rig.opened(12, "r").await;
        assert!(!opened.keep_cache && kernel.given().is_empty());
        rig.content.release(opened.fh).unwrap();
        let opened = rig.opened(12, "r").await;
        assert!(opened.keep_cache);
        assert_eq!(kernel.given(), [b"shorter"]);
    });
}

#[test]
fn pages_are_not_given_to_who_copies_without_them() {
    run(async {
        let (rig, kernel) = with_files().await;
        let to = rig.create(9).await;
        let from = rig.open(7, "r").await;
        assert_eq!(kernel.given(), [b"seven"]);
        assert_eq!(rig.content.copy_file_range(from, 0, to, 0, 100).await.unwrap(), 5);
        rig.content.release(from).unwrap();
        open_and_close(&rig, 8, "r").await;
        assert!(kernel.given().is_empty());
        let fh = rig.open(8, "r").await;
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"eight");
        rig.content.release(fh).unwrap();
        open_and_close(&rig, 7, "r").await;
        assert!(kernel.given().is_empty(), "a copy asks for no pages, so it still has them");
        open_and_close(&rig, 8, "r").await;
        assert_eq!(kernel.given(), [b"eight"]);
    });
}

#[test]
fn pages_of_large_files_are_left_to_the_reader() {
    run(async {
        let (rig, kernel) = with_files().await;
        for (ino, size, given) in [(10, PAGES_GIVEN_MAX, 1), (11, PAGES_GIVEN_MAX + 1, 0)] {
            let fh = rig.create(ino).await;
            rig.content.write(fh, 0, &vec![1; size as usize], false).await.unwrap();
            rig.content.flush(fh).await.unwrap();
            rig.content.release(fh).unwrap();
            open_and_close(&rig, ino, "r").await;
            assert_eq!(kernel.given().len(), given, "{size} bytes");
        }
    });
}

#[test]
fn readers_of_what_is_here_are_let_in_at_once_and_writers_are_not() {
    run(async {
        let (rig, kernel) = with_files().await;
        of_others(&rig, &kernel).await;
        let now = |how| rig.content.open_now(&root(), Ino(12), flags(how));
        let opened = now("r").unwrap();
        assert!(opened.keep_cache && !opened.flush);
        assert_eq!(kernel.given(), [b"twelve"]);
        assert_eq!(rig.content.read(opened.fh, 0, 100).await.unwrap(), b"twelve");
        for how in ["w", "rw", "rt", "a"] {
            assert!(now(how).is_none(), "{how}");
        }
        assert!(rig.content.open_now(&root(), Ino(99), flags("r")).is_none(), "not known");
        rig.publish(12, b"other");
        assert!(now("r").is_none(), "another client changed it");
        let fh = rig.open(12, "r").await;
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"other");
    });
}
